public import TallyCore
public import TallyStore

/// The fold of one shard's log, for a person to compare.
public struct ReplayedShard: Sendable {
    /// The shard.
    public var shard: ShardID
    /// Its name.
    public var name: String
    /// Events folded, those before a snapshot included.
    public var events: UInt64 = 0
    /// Commits folded, those before a snapshot included.
    public var commits: UInt64 = 0
    /// The last offset folded.
    public var offset = Offset.none
    /// The head of the last whole commit folded.
    public var head = Digest.none
    /// The timestamp of the last commit folded.
    public var timestamp = Timestamp.none
    /// SHA-256 of the messaging state's canonical bytes.
    public var messagingDigest = Digest.none
    /// `nil` without a program.
    public var stateDigest: Digest?
    /// How often the log breaks a law of the protocol.
    public var anomalyCount: UInt64 = 0
    /// The first of them.
    public var anomalies: [Anomaly] = []
    /// Why the log was not folded, or not as far as asked.
    public var problem: StoreError?
    /// What a person should know, one line each: snapshots that were not used.
    public var notes: [String] = []
}

/// The folds of every shard of a ledger at one cut.
public struct Replayed<P: Program>: Sendable {
    /// In the manifest's order.
    public var shards: [ReplayedShard]
    /// As far as each could be folded; `nil` where there is no log.
    public var states: [ShardState<P>?]
    /// Events folded, of all shards.
    public var events: UInt64
    /// How long it took.
    public var seconds: Double

    /// Whether a shard could not be folded as far as asked.
    public var isPartial: Bool { shards.contains { $0.problem != nil } }
}

/// Folds logs again, from zero or from a snapshot. Emits nothing and writes nothing.
public enum Replay {
    /// Where a fold begins.
    public enum Start: Sendable {
        /// Before the first event.
        case zero
        /// The newest snapshot that counts and does not lie behind the position; zero without one.
        case snapshot
    }

    /// Folds every shard, several at once.
    ///
    /// - Parameters:
    ///   - program: `Opaque` folds the messaging state alone.
    ///   - audit: The ledger.
    ///   - cut: `nil`: everything there is.
    ///   - start: Where each fold begins.
    ///   - checksChain: Whether every commit's head is computed and compared.
    ///   - progress: Called now and then, one call at a time, with the events folded so far.
    public static func run<P: Program>(
        _ program: P.Type, _ audit: AuditLedger, at cut: Cut? = nil, from start: Start = .zero,
        checksChain: Bool = false, progress: ((UInt64) -> Void)? = nil
    ) throws -> Replayed<P> {
        let clock = ContinuousClock()
        let began = clock.now
        let counter = ProgressCounter(progress)
        let cut = cut ?? audit.cut
        let folded = try audit.reading {
            let shards = audit.shards
            return Parallel.map(shards.count) { index in
                fold(
                    P.self, audit, shards[index], cut.through(shards[index].shard), start,
                    checksChain, counter)
            }
        }
        let duration = began.duration(to: clock.now).components
        return Replayed(
            shards: folded.map { $0.result }, states: folded.map { $0.state },
            events: folded.reduce(0) { $0 + $1.result.events },
            seconds: Double(duration.seconds) + Double(duration.attoseconds) / 1e18)
    }

    private static func fold<P: Program>(
        _ program: P.Type, _ audit: AuditLedger, _ shard: AuditShard, _ through: Offset,
        _ start: Start, _ checksChain: Bool, _ counter: ProgressCounter
    ) -> (result: ReplayedShard, state: ShardState<P>?) {
        var result = ReplayedShard(shard: shard.shard, name: shard.name)
        result.problem = shard.problem
        guard let log = shard.log else { return (result, nil) }
        var state = ShardState<P>(
            context: audit.context(shard.shard), manifest: audit.manifest)
        if start == .snapshot, let ledger = audit.ledger {
            let snapshot = Snapshot.newest(
                P.self, in: ledger, of: shard.shard, log: log, through: through
            ) { result.notes.append($0) }
            if let snapshot { state = snapshot }
        }
        let skipped = state.eventCount
        var told: UInt64 = skipped
        do {
            try state.fold(log, to: .offset(through), checksChain: checksChain) { events in
                counter.add(events - told)
                told = events
            }
            if through != Cut.unbounded, state.messaging.offset < through {
                throw StoreError(
                    .damaged,
                    "the log of \(shard.name) ends at"
                        + " \(shard.name)@\(state.messaging.offset.rawValue) and not at"
                        + " \(shard.name)@\(through.rawValue); run: tally verify DIR")
            }
        } catch {
            result.problem = StoreError(wrapping: error, shard.name)
        }
        counter.add(state.eventCount - told)
        result.take(state)
        return (result, state)
    }
}

extension ReplayedShard {
    fileprivate mutating func take<P: Program>(_ state: ShardState<P>) {
        events = state.eventCount
        commits = state.commitCount
        offset = state.messaging.offset
        head = state.position.head
        timestamp = state.messaging.timestamp
        messagingDigest = state.messagingDigest
        stateDigest = state.applicationDigest
        anomalyCount = state.messaging.anomalyCount
        anomalies = state.messaging.anomalies
    }
}
