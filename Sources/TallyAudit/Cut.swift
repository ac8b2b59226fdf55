public import TallyCore
public import TallyStore

/// How far each log of a ledger is read: one position per shard.
public struct Cut: Equatable, Sendable {
    /// By shard id, 0 unused. A log whose end cannot be read has no bound here.
    var through: [Offset]
    /// Until when each log was read without a gap: `greatest` for one that is read to its end.
    var readThrough: [Timestamp]
    /// The greatest timestamp in the cut: what ages and deadlines count from, so that the same cut
    /// gives the same answers.
    public internal(set) var latest = Timestamp.none

    static let unbounded = Offset(CommitFormat.offsetMax)

    init(shardCount: Int) {
        through = Array(repeating: Self.unbounded, count: shardCount + 1)
        readThrough = Array(repeating: .greatest, count: shardCount + 1)
    }

    /// The last offset read of a shard.
    public func through(_ shard: ShardID) -> Offset { through[Int(shard.rawValue)] }

    func readThrough(_ shard: ShardID) -> Timestamp { readThrough[Int(shard.rawValue)] }

    mutating func set(_ shard: ShardID, through offset: Offset, at time: Timestamp) {
        through[Int(shard.rawValue)] = offset
        latest = max(latest, time)
    }
}

/// A position of a ledger as a person names it.
public enum Position: Equatable, Sendable {
    /// Everything there is.
    case end
    /// Through these events; shards not named are read to their end.
    case offsets([ShardID: Offset])
    /// Through this time.
    case time(Timestamp)
    /// So many nanoseconds before the ledger's latest timestamp.
    case before(nanoseconds: UInt64)

    /// Reads `trades-0@120,collateral-0@88`, an RFC 3339 time, or `-90s`, `-15m`, `-1h`, `-2d`.
    ///
    /// - Throws: ``TallyStore/StoreError/Code/malformed`` or
    ///   ``TallyStore/StoreError/Code/unknown``.
    public init(_ text: String, _ directory: ShardDirectory) throws(StoreError) {
        if text.hasPrefix("-") {
            guard let nanoseconds = Self.span(text.dropFirst()) else {
                throw Self.malformed(text)
            }
            self = .before(nanoseconds: nanoseconds)
            return
        }
        if let time = Timestamp(text) {
            self = .time(time)
            return
        }
        guard text.contains("@") else { throw Self.malformed(text) }
        var offsets: [ShardID: Offset] = [:]
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            let halves = part.split(separator: "@", omittingEmptySubsequences: false)
            guard halves.count == 2, let offset = UInt64(halves[1]),
                offset <= CommitFormat.offsetMax
            else { throw Self.malformed(text) }
            guard let shard = directory.id(of: String(halves[0])) else {
                throw StoreError(
                    .unknown,
                    "there is no shard \(halves[0]); there are "
                        + directory.names.joined(separator: ", ")
                )
            }
            guard offsets.updateValue(Offset(offset), forKey: shard) == nil else {
                throw StoreError(.malformed, "the position \(text) names \(halves[0]) twice")
            }
        }
        self = .offsets(offsets)
    }

    private static func malformed(_ text: String) -> StoreError {
        StoreError(
            .malformed,
            "\(text) is no position; give offsets (trades-0@120,collateral-0@88), a time"
                + " (2026-11-23T12:00:00Z), or a time before the latest (-90s, -15m, -1h, -2d)")
    }

    /// Reads a number and a unit: `90s`, `15m`, `1h`, `2d`.
    ///
    /// - Returns: Nanoseconds; `nil` when the text is no such span or does not fit.
    public static func span(_ text: some StringProtocol) -> UInt64? {
        let units: [Character: UInt64] = ["s": 1, "m": 60, "h": 3600, "d": 86_400]
        guard let last = text.last, let unit = units[last] else { return nil }
        let digits = text.dropLast()
        guard !digits.isEmpty, digits.utf8.allSatisfy({ (48...57).contains($0) }),
            let number = UInt64(digits)
        else { return nil }
        let (nanoseconds, overflow) = number.multipliedReportingOverflow(by: unit * 1_000_000_000)
        return overflow ? nil : nanoseconds
    }
}

extension AuditLedger {
    /// How far each log is read for a position, never farther than ``cut``.
    ///
    /// - Throws: ``TallyStore/StoreError/Code/unknown`` for an offset that a log does not have.
    public func cut(at position: Position) throws(StoreError) -> Cut {
        switch position {
        case .end: return cut
        case .offsets(let offsets): return try cut(through: offsets)
        case .time(let time): return try cut(atOrBefore: time)
        case .before(let nanoseconds):
            let latest = cut.latest.rawValue
            return try cut(
                atOrBefore: Timestamp(latest > nanoseconds ? latest - nanoseconds : 0))
        }
    }

    private func cut(through offsets: [ShardID: Offset]) throws(StoreError) -> Cut {
        var found = Cut(shardCount: shards.count)
        for shard in shards {
            let index = Int(shard.shard.rawValue)
            found.readThrough[index] = cut.readThrough[index]
            guard let log = shard.log, let end = shard.end else { continue }
            guard let offset = offsets[shard.shard], offset != end.offset else {
                found.set(shard.shard, through: end.offset, at: end.timestamp)
                continue
            }
            guard offset < end.offset else {
                throw StoreError(
                    .unknown,
                    "\(directory.address(shard.shard, offset)) is not in the log, which ends at"
                        + " \(directory.address(shard.shard, end.offset))")
            }
            let time: Timestamp
            do {
                time = try log.commit(holding: offset)?.timestamp ?? .none
            } catch {
                throw StoreError(wrapping: error, shard.name)
            }
            found.set(shard.shard, through: offset, at: time)
            found.readThrough[index] = time
        }
        return found
    }

    private func cut(atOrBefore time: Timestamp) throws(StoreError) -> Cut {
        var found = Cut(shardCount: shards.count)
        for shard in shards {
            let index = Int(shard.shard.rawValue)
            found.readThrough[index] = min(time, cut.readThrough[index])
            guard let log = shard.log else { continue }
            do {
                let end = try log.position(
                    atOrBefore: time, through: cut.through(shard.shard), ledger: manifest,
                    shard: shard.shard)
                found.set(shard.shard, through: end.offset, at: end.timestamp)
                if shard.end == end { found.readThrough[index] = cut.readThrough[index] }
            } catch {
                throw StoreError(wrapping: error, shard.name)
            }
        }
        return found
    }
}

/// One commit without its events.
struct CommitPlace {
    var first: Offset
    var last: Offset
    var timestamp: Timestamp
}

extension LogReading {
    /// The commit that holds an offset.
    func commit(holding offset: Offset) throws -> CommitPlace? {
        var place: CommitPlace?
        try forEachCommit(from: offset) { commit in
            if commit.firstOffset <= offset {
                place = CommitPlace(
                    first: commit.firstOffset, last: commit.lastOffset,
                    timestamp: commit.timestamp)
            }
            return false
        }
        return place
    }

    /// The end of the last commit at or before a time.
    ///
    /// - Complexity: O(log n) seeks; O(n) when the log's end is not known.
    func position(
        atOrBefore time: Timestamp, through end: Offset, ledger: Manifest, shard: ShardID
    ) throws -> LogPosition {
        var low = Offset(ledger.first(of: shard).rawValue - 1)
        var high = end
        if end == Cut.unbounded {
            // Damaged at its end: what can be read is read in order.
            high = .none
            try? forEachCommit(from: Offset(1)) { commit in
                guard commit.timestamp <= time else { return false }
                high = commit.lastOffset
                return true
            }
            low = high
        }
        while low < high {
            let middle = Offset((low.rawValue + high.rawValue + 1) / 2)
            guard let place = try commit(holding: middle) else {
                high = Offset(middle.rawValue - 1)
                continue
            }
            if place.timestamp <= time {
                low = min(place.last, end)
            } else {
                high = Offset(place.first.rawValue - 1)
            }
        }
        var found = LogPosition(
            offset: low, head: Hashing.seed(ledger: ledger.id, shard: shard), timestamp: .none)
        guard low >= ledger.first(of: shard) else {
            found.offset = .none
            return found
        }
        try forEachCommit(from: low) { commit in
            found = LogPosition(offset: low, head: commit.head, timestamp: commit.timestamp)
            return false
        }
        return found
    }
}
