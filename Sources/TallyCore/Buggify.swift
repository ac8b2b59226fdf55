/// Places in the code that may act unusually, yet lawfully, when a simulation asks for it.
///
/// A simulation only finds what its runs come across. So the code has places where it may do what is
/// allowed and rare: seal a commit early, send again too soon, ask a second time. Each run enables some
/// of them, and an enabled one fires now and then (the idea and the two rates are FoundationDB's,
/// Zhou et al., SIGMOD 2021). In production there is none of this: the option is `nil`.
public struct Buggify: Sendable {
    /// One place in the code.
    public enum Site: UInt8, CaseIterable, Sendable {
        /// A commit is sealed although it has room.
        case sealEarly
        /// An envelope carries a single item although more could join it.
        case shortRun
        /// What is pending is sent again much sooner than its pace asks for.
        case retrySoon
        /// A peer that is heard is asked for its confirmation again.
        case askAgain
        /// A peer's end is witnessed at once, not once per 1,024 of its offsets.
        case witnessOften
        /// A message that the peer calls owed is sent again all the same.
        case forgetQuiet
        /// A re-emission takes a single message.
        case reemitOne
        /// An answer is said twice.
        case answerTwice
        /// A command is refused for want of room.
        case refuseCommand
        /// Recent commits are read back from the store instead of from memory.
        case forgetRecent
        /// The mark is flushed with every release.
        case flushMark
    }

    /// Of a hundred sites, how many a run enables; of a hundred passes of an enabled one, how many fire.
    public static var percent: UInt64 { 25 }

    private var enabled: UInt32 = 0
    /// The sites that have fired, by raw value.
    public private(set) var fired: UInt32 = 0
    private var random: SplitMix64

    /// Draws which sites are enabled.
    public init(seed: UInt64) {
        random = SplitMix64(seed: seed)
        for site in Site.allCases where random.next() % 100 < Self.percent {
            enabled |= 1 << UInt32(site.rawValue)
        }
    }

    /// Whether a site acts unusually this time.
    public mutating func fires(_ site: Site) -> Bool {
        let bit: UInt32 = 1 << UInt32(site.rawValue)
        guard enabled & bit != 0, random.next() % 100 < Self.percent else { return false }
        fired |= bit
        return true
    }
}
