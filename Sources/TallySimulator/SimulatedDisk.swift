internal import TallyCore
internal import TallyStore

/// The power failed: the process is gone, and with it what was not flushed.
struct PowerLoss: Error {}

/// What the next operation of a disk comes to.
enum DiskFault: Equatable {
    /// An append fails and leaves nothing.
    case appendError
    /// An append reports an error although the commit is there.
    case appendErrorAfterEffect
    /// There is no room for an append.
    case full
    /// A flush fails; what was appended may be there or not.
    case flushError
    /// A flush reports an error although it did its work.
    case flushErrorAfterEffect
    /// The power fails before the append, behind it, before the flush, behind it, in the writing of the
    /// mark.
    case powerBeforeAppend, powerAfterAppend, powerBeforeFlush, powerAfterFlush, powerInMark
}

/// One shard's log as LMDB keeps it on a disk: an append is in the page cache, a flush makes it durable,
/// and power loss leaves some whole prefix of the commits that reaches at least as far as the last flush.
///
/// LMDB's copy-on-write makes it so: a commit is visible once one of the two meta pages names its tree,
/// metas are written behind the pages they name, and a torn meta leaves the other one. That this is true
/// of the files is what the crash rig checks; here it is what a shard has to live with.
final class SimulatedDisk: LogStore, MarkStore {
    let name: String
    private let seed: Digest
    private(set) var commits: [(first: Offset, bytes: [UInt8], end: LogPosition)] = []
    /// Commits that survive power loss.
    private(set) var kept = 0
    /// Commits that a flush has called durable: more than `kept` once a flush has lied.
    private(set) var flushed = 0
    var isLying = false
    var fault: DiskFault?
    /// How often a fault came to pass, by the driver's count.
    private(set) var faultsMet = 0
    /// Told of each commit that is appended.
    var onAppend: ((CommitView, LogPosition) -> Void)?

    /// The mark as the page cache holds it, and as the disk does.
    private(set) var mark: Mark?
    private var markKept: Mark?

    init(name: String, ledger: Bytes16, shard: ShardID) {
        self.name = name
        seed = Hashing.seed(ledger: ledger, shard: shard)
    }

    // MARK: The log

    func end() -> LogPosition { end(through: commits.count) }

    func end(through count: Int) -> LogPosition {
        count > 0
            ? commits[count - 1].end : LogPosition(offset: .none, head: seed, timestamp: .none)
    }

    /// How far a flush has promised that the log is durable.
    var durableEnd: LogPosition { end(through: flushed) }

    func forEachCommit(
        from offset: Offset, _ body: (CommitView) throws -> Bool
    ) throws {
        var low = 0
        var high = commits.count
        while low < high {
            let middle = (low + high) / 2
            if commits[middle].end.offset < offset { low = middle + 1 } else { high = middle }
        }
        for index in low..<max(low, commits.count) {
            let (first, bytes, _) = commits[index]
            // Sound: the array outlives the call.
            guard try unsafe bytes.span.bytes.withCommit(key: first, body) else { return }
        }
    }

    private func takes(_ some: DiskFault) -> Bool {
        guard fault == some else { return false }
        fault = nil
        faultsMet += 1
        return true
    }

    func append(
        _ commit: borrowing CommitBuilder, expecting head: Digest
    ) throws -> LogPosition {
        let before = end()
        guard head == before.head,
            commit.firstOffset == Offset(before.offset.rawValue + 1)
        else {
            throw StoreError(.moved, "the log of \(name) has moved on; fold it again")
        }
        if takes(.powerBeforeAppend) { throw PowerLoss() }
        if takes(.full) { throw StoreError(.full, "the disk of \(name) is full") }
        if takes(.appendError) {
            throw StoreError(.unknownOutcome, "an append to \(name) failed; open it again")
        }
        let bytes = commit.bytes
        let position = LogPosition(
            offset: commit.lastOffset, head: Hashing.digest(bytes), timestamp: commit.timestamp)
        commits.append((commit.firstOffset, bytes, position))
        if let onAppend {
            // Sound: the array outlives the call.
            _ = try unsafe bytes.span.bytes.withCommit(key: commit.firstOffset) {
                onAppend($0, position)
            }
        }
        if takes(.powerAfterAppend) { throw PowerLoss() }
        if takes(.appendErrorAfterEffect) {
            throw StoreError(.unknownOutcome, "an append to \(name) failed; open it again")
        }
        return position
    }

    func flush() throws {
        if takes(.powerBeforeFlush) { throw PowerLoss() }
        if takes(.flushError) {
            throw StoreError(.unknownOutcome, "a flush of \(name) failed; open it again")
        }
        flushed = commits.count
        if !isLying { kept = flushed }
        if takes(.powerAfterFlush) { throw PowerLoss() }
        if takes(.flushErrorAfterEffect) {
            throw StoreError(.unknownOutcome, "a flush of \(name) failed; open it again")
        }
    }

    func close() {}

    /// Makes everything durable: what opening a log again does first.
    func settle() {
        kept = commits.count
        flushed = commits.count
    }

    // MARK: The mark

    func write(_ mark: Mark, isFlushed: Bool) throws(StoreError) {
        if takes(.powerInMark) {
            isPowerDue = true
            throw StoreError(.system, "the power failed")
        }
        self.mark = mark
        if isFlushed { markKept = mark }
    }

    /// Whether a write of the mark met power loss: its error cannot say so.
    private(set) var isPowerDue = false

    func loseMark() {
        mark = nil
        markKept = nil
    }

    // MARK: Losses

    /// Power loss: a prefix of the commits stays, at least what was flushed.
    ///
    /// - Returns: How many commits are gone that a flush had called durable.
    func losePower(keeping extra: Int, keepsMark: Bool) -> Int {
        fault = nil
        isPowerDue = false
        let count = min(commits.count, kept + extra)
        let promised = max(0, flushed - count)
        truncate(to: count)
        if !keepsMark { mark = markKept }
        return promised
    }

    /// An older copy of the log is put into place.
    func restore(to count: Int, withMark: Bool, epoch: Epoch) {
        fault = nil
        isPowerDue = false
        truncate(to: count)
        guard withMark else { return }
        mark = count == 0 ? nil : Mark(position: end(), epoch: epoch, isClean: false)
        markKept = mark
    }

    private func truncate(to count: Int) {
        commits.removeLast(commits.count - count)
        kept = min(kept, count)
        flushed = min(flushed, count)
    }
}
