public import TallyCore

/// One shard's log, for reading: a sequence of valid commits.
///
/// Every commit is checked against the whole validity rule before a closure sees it. Reading reaches
/// only what is durable in the store's sense, and sees one consistent end per call.
public protocol LogReading: AnyObject {
    /// The shard's name, for messages.
    var name: String { get }

    /// The last commit's end; offset zero and the seed when the log is empty.
    ///
    /// - Throws: ``StoreError``.
    func end() throws -> LogPosition

    /// Visits every commit from the one that holds an offset, in order, until the closure returns false.
    ///
    /// - Throws: ``StoreError`` with the place when a commit is not valid, and what the closure throws.
    /// - Complexity: One seek, then sequential reads.
    func forEachCommit(from offset: Offset, _ body: (CommitView) throws -> Bool) throws
}

/// One shard's log, for its one writer.
public protocol LogStore: LogReading {
    /// Appends one sealed commit to the end of the log.
    ///
    /// A decision made on stale state is not a decision: `expecting` is the head the caller folded up to,
    /// and the append is refused when the log has moved on.
    ///
    /// - Returns: The new end. It is not durable until ``flush()`` returns.
    /// - Throws: ``StoreError/Code/moved`` or ``StoreError/Code/full`` and nothing is written;
    ///   ``StoreError/Code/unknownOutcome`` when only opening again can tell.
    func append(_ commit: borrowing CommitBuilder, expecting head: Digest) throws -> LogPosition

    /// Makes everything appended durable.
    func flush() throws

    /// Releases what the store holds.
    func close() throws
}

extension LogReading {
    /// The event at an offset, with its bytes.
    ///
    /// - Returns: `nil` when the log does not reach that far.
    public func record(at offset: Offset) throws -> LogRecord? {
        guard offset >= Offset(1) else { return nil }
        var found: LogRecord?
        try forEachCommit(from: offset) { commit in
            guard commit.firstOffset <= offset, offset <= commit.lastOffset else { return false }
            let time = commit.timestamp
            commit.forEach { view in
                guard view.offset == offset else { return }
                found = LogRecord(
                    event: view.event, timestamp: time, payload: view.payload,
                    result: view.result)
            }
            return false
        }
        return found
    }
}

/// A log in memory, for tests and simulations: the same promises, nothing durable.
public final class MemoryLog: LogStore {
    public let name: String
    private let seed: Digest
    private var commits: [(first: Offset, bytes: [UInt8])] = []
    private var position: LogPosition

    /// An empty log.
    public init(name: String, ledger: Bytes16, shard: ShardID) {
        self.name = name
        seed = Hashing.seed(ledger: ledger, shard: shard)
        position = LogPosition(offset: .none, head: seed, timestamp: .none)
    }

    public func end() -> LogPosition { position }

    public func forEachCommit(
        from offset: Offset, _ body: (CommitView) throws -> Bool
    ) throws {
        var low = 0
        var high = commits.count
        while low < high {
            let middle = (low + high) / 2
            if commits[middle].first <= offset { low = middle + 1 } else { high = middle }
        }
        for index in max(0, low - 1)..<max(commits.count, max(0, low - 1)) {
            let (first, bytes) = commits[index]
            let goesOn = try unsafe bytes.span.bytes.withCommit(key: first) { commit in
                commit.lastOffset < offset ? true : try body(commit)
            }
            if !goesOn { return }
        }
    }

    public func append(
        _ commit: borrowing CommitBuilder, expecting head: Digest
    ) throws -> LogPosition {
        guard head == position.head,
            commit.firstOffset == Offset(position.offset.rawValue + 1)
        else {
            throw StoreError(.moved, "the log of \(name) has moved on; fold it again")
        }
        commits.append((commit.firstOffset, commit.bytes))
        position = LogPosition(
            offset: commit.lastOffset, head: Hashing.digest(commit.bytes),
            timestamp: commit.timestamp)
        return position
    }

    public func flush() {}
    public func close() {}
}
