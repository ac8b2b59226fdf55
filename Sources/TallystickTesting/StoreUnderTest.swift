internal import TallyCore
internal import TallyStore

/// A log with what it is expected to hold: notes whose payloads number them.
struct StoreUnderTest {
    static let name = "a"
    static let ledger = Bytes16(low: 0x1122_3344_5566_7788, high: 0x99AA_BBCC_DDEE_FF00)
    static let shard = ShardID(1)

    var log: any LogStore
    private(set) var end = LogPosition(
        offset: .none, head: Hashing.seed(ledger: ledger, shard: shard), timestamp: .none)
    /// The payloads of all notes, in log order.
    private(set) var payloads: [[UInt8]] = []
    /// The timestamps of their commits.
    private(set) var times: [Timestamp] = []
    /// The bytes of all commits.
    private(set) var sealed: [[UInt8]] = []

    init(log: any LogStore) { self.log = log }

    /// A sealed commit of notes behind the expected end, or at another offset.
    func seal(count: Int, at first: UInt64? = nil) throws -> CommitBuilder {
        let first = first ?? end.offset.rawValue + 1
        var commit = CommitBuilder()
        commit.open(
            firstOffset: Offset(first), timestamp: end.timestamp.advanced(byNanoseconds: 10),
            epoch: Epoch(1))
        for index in 0..<count {
            let text = "note \(first + UInt64(index)) "
            let repeats = Int(first + UInt64(index)) % 50
            commit.append(
                Event(.noted), payload: Array(String(repeating: text, count: 1 + repeats).utf8))
        }
        commit.seal(previousHead: end.head)
        return commit
    }

    /// Appends notes.
    mutating func append(count: Int) throws {
        let commit = try seal(count: count)
        _ = try log.append(commit, expecting: end.head)
        accept(commit)
    }

    /// Expects a commit from here on.
    mutating func accept(_ commit: CommitBuilder) {
        for index in 0..<commit.eventCount {
            commit.withEvent(index) { view in
                guard view.kind == .noted else { return }
                payloads.append(view.payload)
                times.append(commit.timestamp)
            }
        }
        sealed.append(commit.bytes)
        end = LogPosition(
            offset: commit.lastOffset, head: Hashing.digest(commit.bytes),
            timestamp: commit.timestamp)
    }

    /// The first offsets of the commits that a log shows.
    static func firsts(_ log: any LogStore, from offset: UInt64) throws -> [UInt64] {
        var firsts: [UInt64] = []
        try log.forEachCommit(from: Offset(offset)) { commit in
            firsts.append(commit.firstOffset.rawValue)
            return true
        }
        return firsts
    }

    /// The payloads of the notes that a log shows.
    static func payloads(_ log: any LogStore) throws -> [[UInt8]] {
        var payloads: [[UInt8]] = []
        try log.forEachCommit(from: Offset(1)) { commit in
            commit.forEach { view in
                if view.kind == .noted { payloads.append(view.payload) }
            }
            return true
        }
        return payloads
    }
}
