public import TallyCore
public import TallyStore

/// A log in memory that tells what was flushed from what was only appended, and can lose the latter.
///
/// ``TallyStore/MemoryLog`` keeps everything that was appended. A disk does not: until a flush returns,
/// power loss takes commits away from the end. This store keeps such commits apart; its own writer reads
/// them, whoever reads ``durable`` does not.
///
/// ```swift
/// let log = VolatileLog(name: "a", ledger: id, shard: ShardID(1))
/// _ = try log.append(commit, expecting: log.end().head)
/// log.lose()                              // as if it had never been appended
/// ```
public final class VolatileLog: LogStore {
    public let name: String
    private let ledger: Bytes16
    private let shard: ShardID
    /// What was flushed.
    public private(set) var durable: MemoryLog
    private var tail: [CommitBuilder] = []
    private var tailEnd: LogPosition?
    /// Whether ``flush()`` does nothing: a disk that takes its time.
    public var holdsFlushes = false

    public init(name: String, ledger: Bytes16, shard: ShardID) {
        self.name = name
        self.ledger = ledger
        self.shard = shard
        durable = MemoryLog(name: name, ledger: ledger, shard: shard)
    }

    public func end() -> LogPosition { tailEnd ?? durable.end() }

    /// How many commits would be lost.
    public var unflushedCount: Int { tail.count }

    public func forEachCommit(
        from offset: Offset, _ body: (CommitView) throws -> Bool
    ) throws {
        var goesOn = true
        let behind = tail
        try durable.forEachCommit(from: offset) { commit in
            goesOn = try body(commit)
            return goesOn
        }
        for commit in behind where goesOn && commit.lastOffset >= offset {
            // Sound: the builder outlives the call, and its bytes have no padding.
            goesOn = try unsafe commit.bytes.span.bytes.withCommit(
                key: commit.firstOffset, body)
        }
    }

    public func append(
        _ commit: borrowing CommitBuilder, expecting head: Digest
    ) throws -> LogPosition {
        let before = end()
        guard head == before.head,
            commit.firstOffset == Offset(before.offset.rawValue + 1)
        else {
            throw StoreError(.moved, "the log of \(name) has moved on; fold it again")
        }
        let position = LogPosition(
            offset: commit.lastOffset, head: Hashing.digest(commit.bytes),
            timestamp: commit.timestamp)
        tail.append(copy commit)
        tailEnd = position
        return position
    }

    public func flush() throws {
        if !holdsFlushes { try keep() }
    }

    /// Makes everything appended durable, whether flushes are held or not.
    public func keep() throws {
        for commit in tail { _ = try durable.append(commit, expecting: durable.end().head) }
        lose()
    }

    /// Loses what was not flushed.
    public func lose() {
        tail.removeAll()
        tailEnd = nil
    }

    /// Loses every commit that ends behind an offset, flushed or not: what a disk that lied, or an
    /// old backup, leaves.
    ///
    /// - Complexity: O(the log).
    public func lose(after offset: Offset) throws {
        try keep()
        let shorter = MemoryLog(name: name, ledger: ledger, shard: shard)
        var builder = CommitBuilder()
        try durable.forEachCommit(from: Offset(1)) { commit in
            guard commit.lastOffset <= offset else { return false }
            builder.open(
                firstOffset: commit.firstOffset, timestamp: commit.timestamp,
                epoch: commit.epoch)
            commit.forEach { view in
                builder.append(view.event, payload: view.payload, result: view.result)
            }
            builder.seal(previousHead: commit.previousHead)
            _ = try shorter.append(builder, expecting: commit.previousHead)
            return true
        }
        durable = shorter
    }

    public func close() {}
}
