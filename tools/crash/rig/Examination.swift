import Foundation
import TallyCore
import TallyRuntime
import TallyStore
import TallyVenue

/// Opens what a crash has left through the door of production, and holds it to what was promised.
///
/// Per shard: the structure check of the whole file has no complaint; the door opens; every released
/// commit is there with its position and head; nothing is there that was not begun; offsets have no
/// gap and each commit follows the one before it; a snapshot and the log behind it fold to the state that
/// the whole log folds to; a session can be appended, and a second opening finds exactly that.
enum Examination {
    /// `check DIR LINES...`: examines a ledger against the lines in these files.
    static func run(_ arguments: [String]) throws -> Int32 {
        let arguments = try Arguments(arguments)
        let directory = try arguments.name(0, "the ledger's directory")
        var promises = Promises()
        for path in arguments.names.dropFirst() {
            let text = String(decoding: try Files.read(path, max: 1 << 30), as: UTF8.self)
            for line in text.split(separator: "\n") { promises.take(line) }
        }
        let findings = examine(directory, promises)
        for finding in findings { Lines.say("finding \(finding)") }
        Lines.say(findings.isEmpty ? "sound" : "unsound")
        return findings.isEmpty ? 0 : 1
    }

    /// Examines a whole ledger.
    ///
    /// - Parameter shards: Where nothing was promised there may be nothing: then it has to be possible
    ///   to make the ledger, with these shards, in the same place.
    /// - Returns: One line per broken promise; empty when all is well.
    static func examine(
        _ directory: String, _ promises: Promises, made shards: [String] = []
    ) -> [String] {
        // Killed before there was one.
        if !promises.isMade, shards.isEmpty, !Files.exists(directory) { return [] }
        let ledger: Ledger
        do {
            ledger =
                promises.isMade || shards.isEmpty
                ? try Ledger(directory)
                : try Ledger.open(directory, for: Venue.self, shards: shards)
        } catch {
            return ["the ledger is refused: \(error)"]
        }
        return ledger.shards.all.flatMap { examine($0, of: ledger, promises) }
    }

    /// Examines one shard; it has one more session afterwards.
    static func examine(
        _ shard: ShardID, of ledger: Ledger, _ promises: Promises
    ) -> [String] {
        judge(shard, of: ledger, promises).lines
    }

    /// What became of one shard.
    struct Verdict {
        /// Why the door, or the fold behind it, refused.
        var refusal: (any Error)?
        /// What is wrong although nothing was refused.
        var findings: FindingList
        /// The log's end as the door found it.
        var end: LogPosition?

        /// One line per broken promise; a refusal is one.
        var lines: [String] {
            guard let refusal else { return findings.lines }
            let code = (refusal as? StoreError)?.code.rawValue ?? "error"
            return findings.lines + ["\(findings.name): \(code): \(refusal)"]
        }
    }

    /// Examines one shard; it has one more session afterwards.
    ///
    /// - Parameters:
    ///   - marked: An offset that a mark which was flushed names; the shard's mark has to name it or a
    ///     later one.
    ///   - isWhole: Whether the structure check reads the whole file first; the door does the edges.
    static func judge(
        _ shard: ShardID, of ledger: Ledger, _ promises: Promises, marked: Offset = .none,
        isWhole: Bool = true
    ) -> Verdict {
        var verdict = Verdict(findings: FindingList(ledger.shards.name(of: shard)))
        do {
            let mark = Mark.read(ledger.markPath(of: shard))?.position.offset ?? .none
            if mark < marked {
                verdict.findings.add(
                    "its mark names \(mark.rawValue), but one that names \(marked.rawValue) was"
                        + " flushed")
            }
            if isWhole { _ = try ledger.checkStructure(shard) }
            let appended = try open(shard, of: ledger, promises, &verdict)
            let again = try ledger.openForWriting(shard, durability: .power)
            if again.end != appended {
                verdict.findings.add(
                    "the second opening ends at \(again.end.offset.rawValue) \(again.end.head), the"
                        + " first left it at \(appended.offset.rawValue) \(appended.head)")
            }
            if !again.wasClean {
                verdict.findings.add("closed in good order, it is found unclean")
            }
            try again.log.close()
        } catch {
            verdict.refusal = error
        }
        return verdict
    }

    /// - Returns: The end after a session was opened and closed.
    private static func open(
        _ shard: ShardID, of ledger: Ledger, _ promises: Promises, _ verdict: inout Verdict
    ) throws -> LogPosition {
        let writable = try ledger.openForWriting(shard, durability: .power)
        verdict.end = writable.end
        let state = try ShardState<Venue>.opened(ledger, shard, writable.log) { _ in }
        if state.position != writable.end {
            verdict.findings.add("the fold ends elsewhere than the log")
        }
        if !Snapshot.offsets(in: ledger, of: shard).isEmpty {
            var whole = ShardState<Venue>(
                context: ledger.context(shard), manifest: ledger.manifest)
            try whole.fold(writable.log)
            if whole.messagingDigest != state.messagingDigest
                || whole.applicationDigest != state.applicationDigest
            {
                verdict.findings.add("a snapshot and the log behind it fold to another state")
            }
        }
        let promise = promises.shards[ledger.shards.name(of: shard)] ?? Promises.Shard()
        if promise.isClosed, !writable.wasClean {
            verdict.findings.add(
                "it was closed in good order, and is found unclean: its mark is lost")
        }
        try walk(writable.log, from: ledger, shard, promise, promises.knowsAll, &verdict.findings)
        let time = state.position.timestamp
        let now = Now(wall: Timestamp(time.rawValue + 1_000_000), ticks: 2_000_000_000)
        let engine = ShardEngine(
            state: state, store: writable.log, mark: writable.markFile, options: MachineOptions())
        _ = try engine.take(.open(nonce: Files.random16(), clean: writable.wasClean), now: now)
        _ = try engine.flush(now: now)
        if engine.end.offset.rawValue != state.position.offset.rawValue + 1 {
            verdict.findings.add("a session was opened, and the log did not grow by one event")
        }
        try engine.close(now: now)
        return engine.end
    }

    /// Holds a log, commit by commit, to what was promised of it.
    static func walk(
        _ log: LMDBLog, from ledger: Ledger, _ shard: ShardID, _ promise: Promises.Shard,
        _ knowsAll: Bool, _ findings: inout FindingList
    ) throws {
        var head = Hashing.seed(ledger: ledger.manifest.id, shard: shard)
        var next: UInt64 = 1
        var kept = 0
        try log.forEachCommit(from: Offset(1)) { commit in
            if commit.firstOffset.rawValue != next { findings.add("a gap before \(next)") }
            if commit.previousHead != head { findings.add("the chain breaks at \(next)") }
            head = commit.head
            let last = commit.lastOffset.rawValue
            if let released = promise.released[last] {
                if released == head {
                    kept += 1
                } else {
                    findings.add("the released commit that ends at \(last) is another one")
                }
            }
            if knowsAll, promise.begun[last]?.contains(head) != true,
                promise.released[last] != head
            {
                findings.add("the commit that ends at \(last) was never begun")
            }
            next = last + 1
            return true
        }
        if kept != promise.released.count {
            findings.add(
                "released through \(promise.releasedThrough), \(promise.released.count) ends;"
                    + " \(kept) of them are there, the log ends at \(next - 1)", isLoss: true)
        }
    }
}

/// What is wrong with one shard, without end.
struct FindingList {
    let name: String
    private(set) var lines: [String] = []
    /// Whether what is wrong is only that something is missing, the rest being as it was written.
    private(set) var isLossOnly = true

    init(_ name: String) { self.name = name }

    mutating func add(_ text: String, isLoss: Bool = false) {
        isLossOnly = isLossOnly && isLoss
        // A log that is wrong once is wrong at every commit.
        if lines.count < 4 { lines.append("\(name): \(text)") }
    }
}
