public import TallyCore
public import TallyStore

/// The orphans of a ledger, as asked for.
public struct OrphanList: Sendable {
    /// An orphan with its age.
    public struct Entry: Equatable, Sendable {
        /// The message, its class and its evidence.
        public var orphan: Orphan
        /// Nanoseconds from its send to the ledger's latest timestamp.
        public var age: UInt64
        /// What settles it.
        public var action: String { orphan.class.action }
    }

    /// By message name.
    public var entries: [Entry]
    /// Pending messages of live shards that are younger than asked for.
    public var younger: Int
    /// The receiver's side: unsent, conflicting, overruled, unfounded, and what was lost.
    public var findings: [HalfFinding]
    /// Counts per channel, in order.
    public var channels: [(channel: Channel, summary: ChannelSummary)]
    /// Shards that could not be read, and why.
    public var problems: [(shard: ShardID, problem: StoreError)]
    /// The ledger's latest timestamp: ages count from it.
    public var latest: Timestamp

    /// How long a message of a live shard may be pending before it counts as an orphan: 10 s.
    public static let olderThanDefault: UInt64 = 10_000_000_000

    /// Finds the orphans of a ledger.
    ///
    /// - Parameters:
    ///   - audit: The ledger.
    ///   - cut: `nil`: everything there is.
    ///   - olderThan: Nanoseconds; `nil`: 10 s for messages whose origin has a running writer, none
    ///     for the others.
    ///   - comparesBytes: See ``Join/run(_:at:comparesBytes:progress:)``.
    ///   - progress: Called now and then with the events read so far.
    public init(
        _ audit: AuditLedger, at cut: Cut? = nil, olderThan: UInt64? = nil,
        comparesBytes: Bool = true, progress: ((UInt64) -> Void)? = nil
    ) throws {
        let joined = try Join.run(
            audit, at: cut, comparesBytes: comparesBytes, progress: progress)
        self.init(joined, audit, olderThan: olderThan)
    }

    /// Finds the orphans in halves that were joined already.
    public init(_ joined: Joined, _ audit: AuditLedger, olderThan: UInt64? = nil) {
        let all = joined.orphans.map { orphan in
            Entry(orphan: orphan, age: joined.latest.nanoseconds(since: orphan.since))
        }
        entries = all.filter { entry in
            let isLive = audit[entry.orphan.message.channel.origin].isLive
            return entry.age >= olderThan ?? (isLive ? Self.olderThanDefault : 0)
        }
        younger = all.count - entries.count
        findings = joined.findings
        channels = joined.channels
        problems = joined.problems
        latest = joined.latest
    }
}
