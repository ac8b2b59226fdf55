public import TallyCore
public import TallyStore

/// Reads on where a query ended: the events that writers append, of all shards in the order of time.
///
/// Each log is read in order, but commits of different logs become visible at different moments. So
/// an event is held back until no log can show an earlier one any more: every other log has been read
/// to a later time, or nobody writes it. A writer that is idle would hold back all others, so an
/// event waits for ``holdNanoseconds`` at most; a commit that becomes visible later than that comes
/// out of order.
///
/// Between two polls nothing is held: no transaction, so the ledger can reuse its pages, and no more
/// events than ``heldMax`` and a page of each log. An idle log costs a look at the number of its last
/// transaction.
///
/// Not thread-safe.
public final class EventFollower {
    /// How long an event waits for other logs at most: 500 ms from when it was first seen.
    public static let holdNanoseconds: UInt64 = 500_000_000
    /// How many events wait at most.
    public static let heldMax = 65_536

    private let query: EventQuery
    private let audit: AuditLedger
    private var tails: [LogTail] = []
    /// What can not be read on, each shard once.
    public private(set) var problems: [(shard: ShardID, problem: StoreError)] = []

    /// Begins behind a cut.
    ///
    /// - Parameters:
    ///   - query: Its filters. `limit`, `isReverse` and `until` mean nothing here.
    ///   - audit: The ledger to follow.
    ///   - cut: `nil`: behind ``AuditLedger/cut``.
    public init(_ query: EventQuery, _ audit: AuditLedger, after cut: Cut? = nil) {
        self.query = query
        self.audit = audit
        let cut = cut ?? audit.cut
        for found in audit.shards where query.shard == nil || found.shard == query.shard {
            if let channel = query.message?.channel, found.shard != channel.origin,
                found.shard != channel.destination
            {
                continue
            }
            let end = cut.through(found.shard)
            // A log that cannot be read to its end cannot be followed behind it.
            guard found.log != nil, found.problem == nil, end != Cut.unbounded else { continue }
            tails.append(
                LogTail(found.shard, after: end, at: found.end?.timestamp ?? .none, query))
        }
    }

    /// Whether there is a log that can be read on.
    public var isFollowing: Bool { tails.contains(where: \.isFollowed) }

    /// Whether there is more to read at once, without waiting.
    public var isBehind: Bool { tails.contains(where: \.isBehind) }

    /// What may be shown now, in the order of time.
    ///
    /// - Parameter now: Nanoseconds of a clock that never goes back.
    /// - Throws: Nothing about a log: what is wrong with one is in ``problems``, and it is left out
    ///   from then on.
    /// - Complexity: O(1) for a log that has not moved; else one page of it.
    public func poll(now: UInt64) -> [RecordedEvent] {
        for tail in tails where tail.isFollowed {
            do {
                guard try tail.hasMoved(audit) else { continue }
                // Whoever has moved it may write on: then its pages are safe with a slot only.
                try audit.takeSlot(tail.shard)
                let place = tail.place
                try audit.reading {
                    tail.place = place
                    try tail.read(audit, now: now)
                }
            } catch {
                tail.stop()
                problems.append(
                    (tail.shard, StoreError(wrapping: error, audit[tail.shard].name)))
            }
        }
        return release(now)
    }

    /// What is still held back, in the order of time: for a follower that ends.
    public func drain() -> [RecordedEvent] {
        var events: [RecordedEvent] = []
        while let tail = earliest { events.append(tail.take()) }
        return events
    }

    private var earliest: LogTail? {
        tails.filter { $0.head != nil }.min { left, right in
            (left.headTime, left.shard) < (right.headTime, right.shard)
        }
    }

    private func release(_ now: UInt64) -> [RecordedEvent] {
        var events: [RecordedEvent] = []
        var held = tails.reduce(0) { $0 + $1.count }
        var live: [ShardID: Bool] = [:]
        while let next = earliest {
            let isOld = now >= next.headSeenAt + Self.holdNanoseconds
            let isFree = tails.allSatisfy { tail in
                if tail === next || tail.head != nil || tail.readThrough >= next.headTime {
                    return true
                }
                // What stands in the log already is waited for, however long it takes.
                if tail.isBehind { return held >= Self.heldMax }
                guard !isOld, held < Self.heldMax, tail.isFollowed else { return true }
                if let known = live[tail.shard] { return !known }
                let isLive = audit.hasWriter(tail.shard)
                live[tail.shard] = isLive
                return !isLive
            }
            guard isFree else { break }
            events.append(next.take())
            held -= 1
        }
        return events
    }
}

/// The growing end of one log.
private final class LogTail {
    let shard: ShardID
    private let query: EventQuery
    private var next: Offset
    /// The time of the last commit read.
    private(set) var readThrough = Timestamp.none
    /// Whether the last page did not reach the log's end.
    private(set) var isBehind = false
    private(set) var isFollowed = true
    private var mark: LogMark?
    private var buffer: [(event: RecordedEvent, seenAt: UInt64)] = []
    private var index = 0

    /// Offsets of one page, and bytes after which a page ends early.
    private static let pageOffsets: UInt64 = 4096
    private static let pageBytes = 8 << 20

    init(_ shard: ShardID, after end: Offset, at time: Timestamp, _ query: EventQuery) {
        self.shard = shard
        readThrough = time
        self.query = query
        next = Offset(end.rawValue + 1)
    }

    var count: Int { buffer.count - index }
    var head: RecordedEvent? { index < buffer.count ? buffer[index].event : nil }
    var headTime: Timestamp { head?.record.timestamp ?? .greatest }
    var headSeenAt: UInt64 { index < buffer.count ? buffer[index].seenAt : 0 }

    func take() -> RecordedEvent {
        index += 1
        return buffer[index - 1].event
    }

    func stop() { (isFollowed, isBehind) = (false, false) }

    /// Everything that a pass changes, so that it can be repeated.
    var place: Place {
        get { Place(next: next, readThrough: readThrough, isBehind: isBehind, count: buffer.count) }
        set {
            (next, readThrough, isBehind) = (newValue.next, newValue.readThrough, newValue.isBehind)
            buffer.removeLast(buffer.count - newValue.count)
        }
    }

    struct Place {
        var next: Offset
        var readThrough: Timestamp
        var isBehind: Bool
        var count: Int
    }

    /// Whether the log has something that was not read; looks at no page of it.
    func hasMoved(_ audit: AuditLedger) throws -> Bool {
        if index > 0 {
            buffer.removeFirst(index)
            index = 0
        }
        // As much as is allowed waits already; the log keeps the rest.
        guard count < EventFollower.heldMax else { return false }
        let now = try audit.mark(of: shard)
        // Taken before the pages are read: what comes meanwhile moves it again.
        defer { mark = now }
        return isBehind || mark != now
    }

    func read(_ audit: AuditLedger, now: UInt64) throws {
        var bytes = 0
        let first = next
        isBehind = false
        try audit[shard].log?.forEachCommit(from: first) { commit in
            commit.forEach { view in
                guard query.isFollowed(view, at: commit.timestamp, in: shard) else { return }
                buffer.append((RecordedEvent(view, of: commit, in: shard), now))
            }
            next = Offset(commit.lastOffset.rawValue + 1)
            readThrough = commit.timestamp
            bytes += commit.length
            guard next.rawValue - first.rawValue < Self.pageOffsets, bytes < Self.pageBytes else {
                isBehind = true
                return false
            }
            return true
        }
    }
}

/// What moves when a log grows.
enum LogMark: Equatable {
    case transaction(UInt64)
    case end(Offset)
}

extension AuditLedger {
    /// Looks at no page of a log on LMDB.
    fileprivate func mark(of shard: ShardID) throws -> LogMark {
        guard let log = self[shard].log else { return .end(.none) }
        if let log = log as? LMDBLog { return .transaction(try log.transactionNumber()) }
        return .end(try log.end().offset)
    }

    /// Whether a writer of a shard runs now.
    fileprivate func hasWriter(_ shard: ShardID) -> Bool {
        ledger.map { $0.writer(of: shard) != nil } ?? self[shard].isLive
    }
}

extension EventQuery {
    /// Whether the query names an event that was appended while it ran.
    fileprivate func isFollowed(_ view: EventView, at time: Timestamp, in shard: ShardID) -> Bool {
        if let since, time < since { return false }
        if let offsets, !offsets.contains(view.offset.rawValue) { return false }
        return matches(view, in: shard)
    }
}
