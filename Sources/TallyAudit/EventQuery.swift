public import TallyCore
public import TallyStore

/// One event with its bytes and its place.
public struct RecordedEvent: Equatable, Sendable {
    /// The shard whose log holds it.
    public var shard: ShardID
    /// Its offset.
    public var offset: Offset
    /// The event with its bytes.
    public var record: LogRecord
    /// The epoch of its commit.
    public var epoch: Epoch
    /// The first offset of its commit.
    public var commit: Offset
    /// The head of its commit, when it is the commit's last event.
    public var head: Digest?

    /// Copies an event out of its log; the last one of a commit costs the hash of the commit.
    package init(_ view: EventView, of commit: CommitView, in shard: ShardID) {
        self.shard = shard
        offset = view.offset
        record = LogRecord(
            event: view.event, timestamp: commit.timestamp, payload: view.payload,
            result: view.result)
        epoch = commit.epoch
        self.commit = commit.firstOffset
        head = view.offset == commit.lastOffset ? commit.head : nil
    }

    /// Whether its commit ends with it.
    public var isLastOfCommit: Bool { head != nil }
    /// Its fields.
    public var event: Event { record.event }
    /// Its place.
    public var evidence: Evidence { Evidence(shard, offset) }

    /// The message this event names; of a `reemitted`, the first of its range.
    public var message: MessageName? {
        switch event.kind {
        case .sent, .acknowledged, .timedOut, .reemitted:
            MessageName(from: shard, to: event.peer, event.sequence)
        case .received, .answered:
            MessageName(from: event.peer, to: shard, event.sequence)
        case .conflicted:
            event.reason == .delivery
                ? MessageName(from: event.peer, to: shard, event.sequence)
                : MessageName(from: shard, to: event.peer, event.sequence)
        case .opened, .commanded, .witnessed, .intervened, .noted:
            nil
        }
    }

    /// Whether this event names a message.
    static func names(_ view: EventView, _ message: MessageName, in shard: ShardID) -> Bool {
        let (origin, destination) = (message.channel.origin, message.channel.destination)
        switch view.kind {
        case .sent, .acknowledged, .timedOut:
            return shard == origin && view.peer == destination && view.sequence == message.sequence
        case .received, .answered:
            return shard == destination && view.peer == origin && view.sequence == message.sequence
        case .reemitted:
            return shard == origin && view.peer == destination
                && view.sequence <= message.sequence && message.sequence <= view.event.through
        case .conflicted:
            guard view.sequence == message.sequence else { return false }
            return view.reason == .delivery
                ? shard == destination && view.peer == origin
                : shard == origin && view.peer == destination
        case .opened, .commanded, .witnessed, .intervened, .noted:
            return false
        }
    }
}

/// Which events of a ledger to show, and in which order.
public struct EventQuery: Sendable {
    /// `nil`: all shards, merged by time.
    public var shard: ShardID?
    /// `nil`: all kinds.
    public var kinds: Set<EventKind>?
    /// Only events that name this other shard.
    public var peer: ShardID?
    /// Only events of this message.
    public var message: MessageName?
    /// Commits at or behind this time.
    public var since: Timestamp?
    /// Commits at or before this time.
    public var until: Timestamp?
    /// Of each shard read.
    public var offsets: ClosedRange<UInt64>?
    /// At most so many events.
    public var limit: Int?
    /// The latest first.
    public var isReverse = false

    /// A query for everything.
    public init() {}

    /// Visits the events that the query names, until the closure returns false.
    ///
    /// Shards are merged by (timestamp, shard, offset). No transaction is open while the closure
    /// runs.
    ///
    /// - Parameters:
    ///   - audit: The ledger.
    ///   - cut: `nil`: everything there is.
    ///   - body: Is handed one event at a time; false ends the visit.
    /// - Returns: Shards that could not be read to the end of what was asked.
    /// - Complexity: One seek per shard, then what is visited, in pages.
    @discardableResult
    public func run(
        _ audit: AuditLedger, at cut: Cut? = nil, _ body: (RecordedEvent) throws -> Bool
    ) throws -> [(shard: ShardID, problem: StoreError)] {
        let cut = cut ?? audit.cut
        if let limit, limit <= 0 { return [] }
        var problems: [(shard: ShardID, problem: StoreError)] = []
        var cursors: [EventCursor] = []
        for found in audit.shards where shard == nil || found.shard == shard {
            if let message, found.shard != message.channel.origin,
                found.shard != message.channel.destination
            {
                continue
            }
            if let problem = found.problem { problems.append((found.shard, problem)) }
            guard let log = found.log else { continue }
            do {
                cursors.append(
                    try EventCursor(
                        self, found.shard, log, through: cut.through(found.shard), audit))
            } catch {
                problems.append((found.shard, StoreError(wrapping: error, found.name)))
            }
        }
        var shown = 0
        while true {
            var best: EventCursor?
            for cursor in cursors {
                if cursor.isEmpty, !cursor.isDone {
                    // A pass that is repeated begins where it began.
                    let place = cursor.place
                    try audit.reading {
                        cursor.place = place
                        cursor.refill()
                    }
                }
                guard let head = cursor.head else { continue }
                guard let known = best?.head else {
                    best = cursor
                    continue
                }
                // In reverse, of equal times the later shard comes first.
                let isBefore =
                    isReverse
                    ? head.record.timestamp >= known.record.timestamp
                    : head.record.timestamp < known.record.timestamp
                if isBefore { best = cursor }
            }
            guard let best, let event = best.take() else { break }
            shown += 1
            guard try body(event), shown < limit ?? Int.max else { break }
        }
        for cursor in cursors {
            guard let problem = cursor.problem else { continue }
            if !problems.contains(where: { $0.shard == cursor.shard }) {
                problems.append((cursor.shard, problem))
            }
        }
        return problems.sorted { $0.shard < $1.shard }
    }

    func matches(_ view: EventView, in shard: ShardID) -> Bool {
        if let kinds, !kinds.contains(view.kind) { return false }
        if let peer, view.peer != peer { return false }
        if let message, !RecordedEvent.names(view, message, in: shard) { return false }
        return true
    }
}

/// Pages through one shard's events, forward or backward.
private final class EventCursor {
    let shard: ShardID
    private let query: EventQuery
    private let audit: AuditLedger
    private var low: Offset
    private var high: Offset
    private var buffer: [RecordedEvent] = []
    private var index = 0
    private(set) var isDone = false
    private(set) var problem: StoreError?

    /// Offsets of one page, and bytes after which a page ends early.
    private static let pageOffsets: UInt64 = 1024
    private static let pageBytes = 8 << 20

    init(
        _ query: EventQuery, _ shard: ShardID, _ log: any LogReading, through: Offset,
        _ audit: AuditLedger
    ) throws {
        self.query = query
        self.shard = shard
        self.audit = audit
        low = Offset(max(1, query.offsets?.lowerBound ?? 1))
        high = Offset(min(through.rawValue, query.offsets?.upperBound ?? UInt64.max))
        if let until = query.until {
            let end = try log.position(
                atOrBefore: until, through: through, ledger: audit.manifest, shard: shard)
            high = min(high, end.offset)
        }
        if let since = query.since, since > Timestamp(1) {
            let before = try log.position(
                atOrBefore: Timestamp(since.rawValue - 1), through: through, ledger: audit.manifest,
                shard: shard)
            low = max(low, Offset(before.offset.rawValue + 1))
        }
        if high == Cut.unbounded, query.isReverse {
            // Damaged at its end: what can be read is looked for from the front.
            var last = Offset.none
            do {
                try log.forEachCommit(from: low) { commit in
                    last = commit.lastOffset
                    return true
                }
            } catch {
                problem = StoreError(wrapping: error, log.name)
            }
            high = last
        }
        isDone = high < low
    }

    /// Where the next page begins, and whether there is one.
    var place: Place {
        get { Place(low: low, high: high, isDone: isDone, problem: problem) }
        set {
            (low, high, isDone, problem) = (
                newValue.low, newValue.high, newValue.isDone, newValue.problem
            )
        }
    }

    struct Place {
        fileprivate var low: Offset
        fileprivate var high: Offset
        fileprivate var isDone: Bool
        fileprivate var problem: StoreError?
    }

    var isEmpty: Bool { index == buffer.count }
    var head: RecordedEvent? { isEmpty ? nil : buffer[index] }

    func take() -> RecordedEvent? {
        guard let head else { return nil }
        index += 1
        return head
    }

    func refill() {
        guard let log = audit[shard].log else { return }
        buffer.removeAll(keepingCapacity: true)
        index = 0
        while buffer.isEmpty, !isDone {
            if query.isReverse { pageBack(log) } else { page(log) }
            isDone = isDone || high < low
        }
    }

    private func page(_ log: any LogReading) {
        var bytes = 0
        var isAtEnd = true
        let first = low
        do {
            try log.forEachCommit(from: first) { commit in
                guard commit.firstOffset <= high else { return false }
                take(commit, first, high)
                low = Offset(commit.lastOffset.rawValue + 1)
                bytes += buffer.isEmpty ? 0 : commit.length
                // What stands behind is not asked for: it may be damaged.
                if low > high { return false }
                guard low.rawValue - first.rawValue >= Self.pageOffsets || bytes >= Self.pageBytes
                else { return true }
                isAtEnd = false
                return false
            }
        } catch {
            problem = StoreError(wrapping: error, log.name)
        }
        if isAtEnd { isDone = true }
    }

    private func pageBack(_ log: any LogReading) {
        let first = max(
            low.rawValue,
            high.rawValue >= Self.pageOffsets ? high.rawValue - Self.pageOffsets + 1 : 1)
        let last = high
        do {
            try log.forEachCommit(from: Offset(first)) { commit in
                guard commit.firstOffset <= last else { return false }
                take(commit, Offset(first), last)
                return commit.lastOffset < last
            }
        } catch {
            // What stands before the damage is shown all the same, the latest first.
            problem = StoreError(wrapping: error, log.name)
        }
        buffer.reverse()
        high = Offset(first - 1)
    }

    private func take(_ commit: CommitView, _ first: Offset, _ last: Offset) {
        commit.forEach { view in
            guard view.offset >= first, view.offset <= last, query.matches(view, in: shard) else {
                return
            }
            buffer.append(RecordedEvent(view, of: commit, in: shard))
        }
    }
}
