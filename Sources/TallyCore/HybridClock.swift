/// The hybrid logical clock, as pure functions (Kulkarni et al., "Logical Physical Clocks", 2014; here
/// one 64-bit number of nanoseconds). Safety never depends on it; order in time does.
public enum HybridClock {
    /// The timestamp of a commit that opens now.
    ///
    /// - Returns: max(wall clock, own last + 1, highest received + 1), at most ``Timestamp/greatest``.
    public static func timestamp(
        wall: Timestamp, last: Timestamp, received: Timestamp
    ) -> Timestamp {
        max(wall, max(last.advanced(byNanoseconds: 1), received.advanced(byNanoseconds: 1)))
    }

    /// How far a peer's time lies ahead of what this shard can follow.
    ///
    /// - Returns: Nanoseconds ahead of max(wall clock, own last), when above `skewMax`; else `nil`.
    public static func skew(
        of received: Timestamp, wall: Timestamp, last: Timestamp, skewMax: UInt64
    ) -> UInt64? {
        let ahead = received.nanoseconds(since: max(wall, last))
        return ahead > skewMax ? ahead : nil
    }
}
