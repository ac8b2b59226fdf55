internal import CoreMetrics
internal import TallyCore

/// What a running shard counts: the table stands at ``RuntimeOptions/metrics``.
struct ShardMetrics {
    private let commits: Counter
    private let events: Counter
    private let flush: Timer
    private let pending: Gauge
    private let owed: Gauge
    private let oldestPending: Gauge
    private let reemissions: Counter
    private let conflicts: Counter
    private let stopped: Gauge
    private var refusals: [Refusal.Code: Counter] = [:]
    private let dimensions: [(String, String)]
    private let factory: any MetricsFactory
    private var sampledAt: UInt64?
    private var reemitted: UInt64
    private var conflicted: UInt64

    static let samplesEvery: UInt64 = 1_000_000_000

    init(
        _ factory: (any MetricsFactory)?, ledger: String, shard: String, _ messaging: MessagingState
    ) {
        let factory = factory ?? MetricsSystem.factory
        let dimensions = [("ledger", ledger), ("shard", shard)]
        func counter(_ label: String) -> Counter {
            Counter(label: label, dimensions: dimensions, factory: factory)
        }
        func gauge(_ label: String) -> Gauge {
            Gauge(label: label, dimensions: dimensions, factory: factory)
        }
        self.factory = factory
        self.dimensions = dimensions
        commits = counter("tally_commits")
        events = counter("tally_events")
        flush = Timer(label: "tally_flush", dimensions: dimensions, factory: factory)
        pending = gauge("tally_pending")
        owed = gauge("tally_owed")
        oldestPending = gauge("tally_oldest_pending_seconds")
        reemissions = counter("tally_reemissions")
        conflicts = counter("tally_conflicts")
        stopped = gauge("tally_stopped")
        (reemitted, conflicted) = Self.counts(messaging)
    }

    static func droppedEnvelopes(
        _ factory: (any MetricsFactory)?, ledger: String, shard: String
    ) -> Counter {
        Counter(
            label: "tally_dropped_envelopes", dimensions: [("ledger", ledger), ("shard", shard)],
            factory: factory ?? MetricsSystem.factory)
    }

    private static func counts(_ messaging: MessagingState) -> (
        reemitted: UInt64, conflicted: UInt64
    ) {
        messaging.peers.reduce((0, 0)) { sum, peer in
            (sum.0 + peer.counts.reemitted, sum.1 + UInt64(peer.conflicts.count))
        }
    }

    func flushed(commits: UInt64, events: UInt64, nanoseconds: UInt64) {
        self.commits.increment(by: commits)
        self.events.increment(by: events)
        flush.recordNanoseconds(Int64(clamping: nanoseconds))
    }

    mutating func refused(_ code: Refusal.Code) {
        if refusals[code] == nil {
            refusals[code] = Counter(
                label: "tally_refusals", dimensions: dimensions + [("code", "\(code)")],
                factory: factory)
        }
        refusals[code]?.increment()
    }

    /// Sets the gauges when a second has passed.
    mutating func sample(
        _ messaging: MessagingState, isStopped: Bool, now: Now, isLast: Bool = false
    ) {
        if let sampledAt, !isLast, now.ticks &- sampledAt < Self.samplesEvery { return }
        sampledAt = now.ticks
        let counts = Self.counts(messaging)
        reemissions.increment(by: counts.reemitted - min(reemitted, counts.reemitted))
        conflicts.increment(by: counts.conflicted - min(conflicted, counts.conflicted))
        (reemitted, conflicted) = counts
        pending.record(messaging.pendingCount)
        owed.record(messaging.owedCount)
        stopped.record(isStopped ? 1 : 0)
        var oldest: Timestamp?
        for peer in messaging.peers {
            guard let sequence = peer.pending.lowest, let first = peer.pending[sequence] else {
                continue
            }
            oldest = min(oldest ?? first.sentAt, first.sentAt)
        }
        let age = oldest.map { now.wall.nanoseconds(since: $0) } ?? 0
        oldestPending.record(Double(age) / 1e9)
    }
}
