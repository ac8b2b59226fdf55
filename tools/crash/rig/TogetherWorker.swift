import TallyAudit
import TallyCore
import TallyStore
import TallyVenue

/// All shards of a ledger after one loss of power, each in a crash image of its own: they are opened
/// together, confirm their sessions, send again what is pending, and settle. No shard may stop, every
/// message has to settle, the program's law has to hold, nothing released may be lost, and `verify` has
/// to be clean at every level.
struct TogetherWorker {
    private var walk: RecordWalk
    private var tally = Tally()
    private var random: SplitMix64
    private var instants: UInt64 = 0

    /// `together-worker WORKLOAD RECORD ROOT SHARE SHARES`
    static func run(_ arguments: [String]) throws -> Int32 {
        let arguments = try Arguments(arguments, options: ["--samples", "--disk"])
        let walk = try RecordWalk(arguments)
        let samples = try arguments.number("--samples", default: 4)
        var worker = TogetherWorker(walk: walk, random: SplitMix64(seed: 0x70_6E &+ walk.share))
        try worker.run(samples)
        worker.tally.say()
        return worker.tally["bad"] == 0 ? 0 : 1
    }

    private init(walk: RecordWalk, random: SplitMix64) {
        self.walk = walk
        self.random = random
    }

    private mutating func run(_ samples: Int) throws {
        for entry in walk.entries {
            try walk.take(entry)
            var isInstant = false
            switch entry {
            case .write(let file, _, _, true):
                isInstant = walk.shard(ofLog: file) != nil
                // Half of the instants before the flush, half behind it.
                if random.next() & 1 == 0 { walk.flushed(file) }
                if isInstant { try crash(samples) }
                walk.flushed(file)
                continue
            case .line(let line): isInstant = line.hasPrefix("released ")
            default: continue
            }
            if isInstant { try crash(samples) }
        }
    }

    private mutating func crash(_ samples: Int) throws {
        guard walk.isWorking, walk.promises.isMade,
            walk.workload.shards.allSatisfy({
                walk.model.inode(RecordWalk.path($0) + "/data.mdb") != nil
            })
        else { return }
        instants += 1
        guard instants % walk.shares == walk.share else { return }
        tally.add("instants")
        let scopes = try walk.workload.shards.map {
            try CrashScope(walk.model, RecordWalk.path($0))
        }
        for set in 0..<1 << scopes.count {
            try judge(scopes.enumerated().map { set >> $0 & 1 == 1 ? $1.all : $1.none }, scopes)
        }
        for _ in 0..<samples {
            var images: [CrashImage] = []
            for scope in scopes { images.append(scope.random(&random)) }
            try judge(images, scopes)
        }
    }

    private mutating func judge(_ images: [CrashImage], _ scopes: [CrashScope]) throws {
        tally.add("images")
        var shards: [(name: String, contents: [(path: String, bytes: [UInt8]?)])] = []
        for (scope, image) in zip(scopes, images) {
            shards.append((scope.name, scope.contents(image, variant: random.next())))
        }
        let ledger = try walk.hold(shards)
        try walk.disk.write(
            Array("instant \(instants) of \(walk.workload.rawValue), shards together".utf8),
            to: walk.disk.root + ".last")
        var lines: [String]
        do { lines = try findings(in: ledger) } catch { lines = ["\(error)"] }
        guard !lines.isEmpty else { return }
        tally.add("bad")
        guard tally["bad"] <= 3 else { return }
        for line in lines.prefix(4) {
            Lines.say("finding \(walk.workload.rawValue) instant \(instants): \(line)")
        }
    }

    private func findings(in ledger: Ledger) throws -> [String] {
        let runner = try Runner(ledger, isQuiet: true)
        try runner.settle()
        var lines = Venue.law(runner.states)
        try runner.close()
        for shard in ledger.shards.all {
            var findings = FindingList(ledger.shards.name(of: shard))
            try Examination.walk(
                ledger.openForReading(shard), from: ledger, shard,
                walk.promises.shards[findings.name] ?? Promises.Shard(), false, &findings)
            lines += findings.lines
        }
        let report = try Verify.run(Venue.self, AuditLedger(ledger))
        lines += report.findings.map(\.text)
        if !report.isClean, report.findings.isEmpty {
            lines.append("verify did not check: " + report.notChecked.joined(separator: "; "))
        }
        return lines
    }
}
