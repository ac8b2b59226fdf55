import TallyCore
import TallyStore

/// A disk that says it has flushed, and has not: the flushes of the last n commits of one log were
/// ignored when the power went, and the pages that they covered are lost, all or some.
///
/// Nothing on such a disk can be promised. What can be asked is who notices: the mark beside the log,
/// the checks of the log's structure and fold, or a peer that has seen more.
struct LyingWorker {
    private var walk: RecordWalk
    private var tally = Tally()
    private var random: SplitMix64
    /// For each shard the log and the mark as they were at each commit's flush.
    private var logs: [String: [[UInt8]]] = [:]
    private var marks: [String: [[UInt8]]] = [:]
    private var instants: UInt64 = 0

    /// Ignored flushes, counted in commits.
    private static let depths = [1, 2, 3, 5, 8]

    /// `lying-worker WORKLOAD RECORD ROOT SHARE SHARES`
    static func run(_ arguments: [String]) throws -> Int32 {
        let arguments = try Arguments(arguments, options: ["--disk"])
        let walk = try RecordWalk(arguments)
        var worker = LyingWorker(walk: walk, random: SplitMix64(seed: 0x11E5 &+ walk.share))
        try worker.run()
        worker.tally.say()
        return worker.tally.counts.keys.contains { $0.contains("UNSEEN") } ? 1 : 0
    }

    private init(walk: RecordWalk, random: SplitMix64) {
        self.walk = walk
        self.random = random
    }

    private mutating func run() throws {
        for entry in walk.entries {
            try walk.take(entry)
            switch entry {
            case .write(let file, _, _, true):
                walk.flushed(file)
                guard let shard = walk.shard(ofLog: file), let log = walk.model.files[file] else {
                    continue
                }
                logs[shard, default: []].append(log.durable)
                marks[shard, default: []].append(mark(of: shard)?.latest ?? [])
            case .line(let line) where walk.isWorking && line.hasPrefix("released "):
                let words = line.split(separator: " ")
                instants += 1
                guard words.count == 4, instants % walk.shares == walk.share else { continue }
                for depth in Self.depths { try lie(to: String(words[1]), depth) }
            default: continue
            }
        }
    }

    private func mark(of shard: String) -> DiskModel.File? {
        walk.model.inode(RecordWalk.path(shard) + "/mark").flatMap { walk.model.files[$0] }
    }

    private mutating func lie(to shard: String, _ depth: Int) throws {
        guard let history = logs[shard], history.count > depth, let mark = mark(of: shard) else {
            return
        }
        let old = history[history.count - 1 - depth]
        let new = history[history.count - 1]
        let oldMark = marks[shard].map { $0[$0.count - 1 - depth] } ?? []
        try judge(shard, old, mark.latest, "pages lost, mark written")
        try judge(shard, old, mark.durable, "pages lost, mark flushed now and then")
        for _ in 0..<4 {
            try judge(shard, some(of: new, old), mark.latest, "some pages lost, mark written")
        }
        try judge(shard, old, oldMark, "pages and mark lost")
    }

    /// The old file with some of the new one's pages.
    private mutating func some(of new: [UInt8], _ old: [UInt8]) -> [UInt8] {
        var bytes = old
        DiskModel.apply(.size(new.count), to: &bytes)
        for number in 0..<new.count / DiskModel.pageLength where random.next() & 1 == 1 {
            let page = CrashScope.page(new, number)
            DiskModel.apply(.write(offset: number * DiskModel.pageLength, page), to: &bytes)
        }
        return bytes
    }

    private mutating func judge(
        _ shard: String, _ log: [UInt8], _ mark: [UInt8], _ what: String
    ) throws {
        let scope = try CrashScope(walk.model, RecordWalk.path(shard))
        let rest = scope.contents(scope.all, variant: 3)
        let contents =
            rest.filter { $0.path != "data.mdb" && $0.path != "mark" }
            + [("data.mdb", log), ("mark", mark)]
        let ledger = try walk.hold(contents, of: shard)
        try walk.disk.write(
            Array("a lying disk, \(what): \(shard) in \(walk.workload.rawValue)".utf8),
            to: walk.disk.root + ".last")
        guard let id = ledger.shards.id(of: shard) else { return }
        let verdict = Examination.judge(id, of: ledger, walk.promises)
        if let refusal = verdict.refusal as? StoreError {
            let who = refusal.code == .behindMark ? "the mark" : "the checks of the log"
            tally.add("\(what): seen by \(who)")
            return
        }
        guard !verdict.lines.isEmpty else {
            tally.add("\(what): harmless")
            return
        }
        if verdict.findings.isLossOnly, try isSeenByPeer(shard, contents, what) { return }
        // Where the last mark is on the disk, nothing may be lost unseen.
        let isAllowed = !what.hasSuffix("mark written") && verdict.findings.isLossOnly
        tally.add("\(what): \(isAllowed ? "not seen by anyone" : "UNSEEN")")
        if !isAllowed {
            for line in verdict.lines.prefix(2) { Lines.say("finding \(what): \(line)") }
        }
    }

    /// Has all shards run together, the others as their flushes left them.
    private mutating func isSeenByPeer(
        _ shard: String, _ contents: [(path: String, bytes: [UInt8]?)], _ what: String
    ) throws -> Bool {
        guard walk.workload.shards.count > 1 else { return false }
        var shards: [(name: String, contents: [(path: String, bytes: [UInt8]?)])] = []
        for name in walk.workload.shards {
            guard name != shard else {
                shards.append((name, contents))
                continue
            }
            let scope = try CrashScope(walk.model, RecordWalk.path(name))
            shards.append((name, scope.contents(scope.all, variant: 3)))
        }
        let runner = try Runner(walk.hold(shards), isQuiet: true)
        let hasSeenMore = runner.hasSeenMore
        for _ in 0..<40 where runner.stop == nil {
            do { try runner.exchange() } catch is UsageError { break }
        }
        let isSeen = runner.stop != nil
        if isSeen { tally.add("\(what): seen by a peer") }
        if hasSeenMore, !isSeen {
            tally.add("\(what): UNSEEN by a peer that had seen more")
        }
        return isSeen
    }
}
