import Foundation
import Synchronization
import TallyStore

/// `faults`: every call fails, in every way a system has for it: once, and from then on for ever; and
/// every allocation of liblmdb's comes back empty.
///
/// Whatever fails, the process ends by itself, in time, with success or with one line that says what and
/// where; what it had released is there; and once the fault is gone the ledger opens and goes on.
enum FaultPoints {
    /// How calls fail. A storm of EINTR, or of writes cut in half, is no fault that lasts.
    private static let modes: [(name: String, lasts: [String])] = [
        ("EIO", ["once", "ever"]), ("ENOSPC", ["once", "ever"]), ("EDQUOT", ["once", "ever"]),
        ("EROFS", ["once", "ever"]), ("EMFILE", ["once", "ever"]), ("ENOMEM", ["once", "ever"]),
        ("after", ["once", "ever"]), ("alloc", ["once", "ever"]), ("EINTR", ["once"]),
        ("short", ["once"]),
    ]

    private struct Point: Sendable {
        var mode: String
        var call: Int
        var last: String
        var plan: String { "\(mode):\(call):\(last)" }
    }

    /// What was said, with its numbers taken out, and one of the points where.
    private typealias Texts = [String: (count: Int, example: String)]

    static func run(_ arguments: [String]) throws -> Int32 {
        let arguments = try Arguments(arguments, options: FaultOptions.names + ["--texts"])
        let options = try FaultOptions(arguments)
        defer { Files.removeTree(options.scratch) }
        let tally = FaultTally()
        let texts = Mutex<Texts>([:])
        for workload in options.workloads { try run(workload, options, tally, texts) }
        let points = tally.counted("points")
        Lines.say(
            "faults: \(points) runs in \(Int(tally.seconds)) s,"
                + " \(Int(Double(points) / tally.seconds)) a second: "
                + tally.counts("ended ").map { "\($0.count) \($0.name)" }.joined(separator: ", ")
                + "; the slowest took \(Int(tally.slowest * 1000)) ms;"
                + " \(tally.failureCount) broke a promise")
        let said = texts.withLock { $0 }
        Lines.say("faults: \(said.count) different errors were said")
        if let path = arguments.text("--texts") {
            let lines = said.sorted { $0.key < $1.key }.map {
                "\($0.value.count) \($0.key)  [\($0.value.example)]\n"
            }
            try Scratch.write(Array(lines.joined().utf8), to: path)
        }
        return tally.failureCount == 0 && points > 0 ? 0 : 1
    }

    private static func run(
        _ workload: Workload, _ options: FaultOptions, _ tally: FaultTally,
        _ texts: borrowing Mutex<Texts>
    ) throws {
        let began = Date()
        let counting = try FaultBench(options, workload, 0)
        var all: [Point] = []
        for (mode, lasts) in modes {
            let calls = try counting.calls(mode)
            guard !calls.isEmpty else {
                throw UsageError(description: "\(workload.rawValue): \(mode) strikes nothing")
            }
            for index in calls.indices {
                for last in lasts {
                    all.append(Point(mode: mode, call: index + 1, last: last))
                }
            }
        }
        let next = Atomic(0)
        let points = all
        try options.onEveryWorker { number in
            let bench = try FaultBench(options, workload, number + 1)
            if let at = options.at {
                let words = at.split(separator: ":").map(String.init)
                guard number == 0 else { return }
                guard words.count == 3, let call = Int(words[1]) else {
                    throw UsageError(description: "--at takes ERROR:CALL:once or :ever")
                }
                let point = Point(mode: words[0], call: call, last: words[2])
                try strike(point, workload, bench, tally, texts)
                return Lines.say("what was said:\n" + bench.record)
            }
            while true {
                let index = next.wrappingAdd(1, ordering: .relaxed).oldValue
                guard index < points.count else { return }
                guard index % options.part.count == options.part.index else { continue }
                try strike(points[index], workload, bench, tally, texts)
            }
        }
        Lines.say(
            "faults \(workload.rawValue): \(all.count) points, "
                + "\(String(format: "%.1f", Date().timeIntervalSince(began))) s")
    }

    private static func strike(
        _ point: Point, _ workload: Workload, _ bench: FaultBench, _ tally: FaultTally,
        _ texts: borrowing Mutex<Texts>
    ) throws {
        try bench.begin()
        let began = Date()
        let ended = try bench.work(point.plan)
        let struck = bench.struck
        let call = struck.map { "\($0.kind) \($0.path)" } ?? "no call"
        let name = "faults --only \(workload.rawValue) --at \(point.plan) (\(call))"
        tally.took(Date().timeIntervalSince(began))
        tally.count("points")
        func note(_ text: String) {
            let text = "\(point.mode) \(struck?.kind ?? "unreached"): \(text)"
            let example = "\(workload.rawValue) \(point.plan)"
            texts.withLock { $0[text, default: (0, example)].count += 1 }
        }
        switch ended {
        case .exit(0):
            tally.count("ended well")
            note("ended well")
            // A live ledger goes on without a snapshot, and closes without its mark; its log says so.
            if let struck, point.mode == "EIO", mustBeSaid(struck), bench.errors.isEmpty {
                tally.fail("\(name): nothing was said of it")
            }
        case .exit(3):
            let said = bench.complaint
            // "crash rig: work: CODE: TEXT"; a live ledger's log may stand behind it.
            let last = bench.errors.last { $0.hasPrefix("crash rig: ") } ?? ""
            let words = last.split(separator: " ", maxSplits: 4)
            let code = words.count > 3 ? String(words[3].dropLast()) : ""
            tally.count("ended with \(code)")
            if code == "untyped" || code.isEmpty {
                tally.fail("\(name): no error of the store's: \(said)")
            }
            let isPlaced =
                workload.shards.contains { said.contains("shard \($0)") } || said.contains("/")
                || said.contains(" ledger") || said.contains(" .:") || code == "stopped"
            if !isPlaced { tally.fail("\(name): the error names no place: \(said)") }
            note(generic(said))
        default:
            return tally.fail("\(name): \(ended.text): \(bench.complaint)")
        }
        try bench.forgetComplaint()
        let recovered = try bench.recover("none")
        if recovered != .exit(0) {
            tally.fail(
                "\(name): once the fault was gone, \(recovered.text): \(bench.complaint)")
        }
    }

    /// Whether a run must not end well when this fails: all on which a promise rests. Who writes (the
    /// file `writer`), what is looked up and what is only asked for (room on the disk, a snapshot, stale
    /// readers) may fail in silence; a mark may not.
    private static func mustBeSaid(_ call: FaultBench.Call) -> Bool {
        switch call.kind {
        case "read" where call.path.contains("/snapshots/"): return false
        case "write", "sync", "rename", "mkdir", "create", "allocate", "map", "read": return true
        default: return call.path.hasSuffix("/mark")
        }
    }

    /// A text without what differs from run to run: numbers, and words that look like identities.
    private static func generic(_ text: String) -> String {
        text.split(separator: " ", omittingEmptySubsequences: false).map { word in
            let digits = word.filter(\.isNumber).count
            return digits > 8 ? "HEX" : String(word.map { $0.isNumber ? "0" : $0 })
        }.joined(separator: " ")
    }
}
