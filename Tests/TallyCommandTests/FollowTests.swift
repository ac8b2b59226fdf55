import Foundation
import Testing

@Suite("tally log --follow")
struct FollowTests {
    private let scratch: Scratch

    init() throws {
        scratch = try Scratch()
        try scratch.clean("venue", "run", "ledger", "--trades", "20")
    }

    /// A follower whose lines are read from a file as they come.
    private final class Follower {
        let process = Process()
        private let path: String

        init(_ scratch: Scratch, _ arguments: [String]) throws {
            path = scratch("followed")
            process.executableURL = URL(fileURLWithPath: "/bin/sh")
            process.arguments =
                [
                    "-c",
                    "exec '\(Tally.executable)' log ledger --follow \"$@\" >followed 2>errors",
                    "sh",
                ] + arguments
            process.currentDirectoryURL = URL(fileURLWithPath: scratch.path)
            try process.run()
        }

        var lines: [String] { Scratch.text(path).split(separator: "\n").map(String.init) }

        /// - Returns: The exit code.
        func interrupt() -> Int32 {
            process.interrupt()
            process.waitUntilExit()
            return process.terminationReason == .exit ? process.terminationStatus : -1
        }

        deinit { if process.isRunning { kill(process.processIdentifier, SIGKILL) } }
    }

    @Test("prints the last ten, waits for a writer to come, and then every event in time order")
    func everything() throws {
        let before = try scratch.clean("log", "ledger", "--json").lines
        let follower = try Follower(scratch, ["--json"])
        try waitUntil("the first lines") { follower.lines.count == 10 }
        #expect(follower.lines == before.suffix(10))
        // Nobody writes; the ledger's logs are opened again with a slot when somebody does. Twice.
        for trades in ["400", "30"] {
            try scratch.clean("venue", "run", "ledger", "--trades", trades, "--delay", "1")
        }
        let after = try scratch.clean("log", "ledger", "--json").lines
        let expected = after.count - before.count + 10
        try waitUntil("every event") { follower.lines.count >= expected }
        #expect(follower.interrupt() == 0)
        let shown = follower.lines
        #expect(Scratch.text(scratch("errors")).isEmpty)
        #expect(shown.count == expected)
        #expect(shown.sorted() == after.suffix(expected).sorted())
        // In time order: in practice, that is, on a machine that may stand still for a moment.
        let times = try shown.map { try OrderedJSON($0)["time"]?.text ?? "" }
        let inversions = zip(times, times.dropFirst()).count { $0 > $1 }
        #expect(inversions * 200 <= shown.count, "\(inversions) of \(shown.count)")
    }

    @Test("filters and the limit hold for what there is and for what comes")
    func filtered() throws {
        let arguments = ["--kind", "acknowledged", "--shard", "trades-0"]
        let before = try scratch.clean(
            "log", "ledger", "--kind", "acknowledged", "--shard", "trades-0")
        let follower = try Follower(scratch, arguments)
        let limited = try Scratch()
        try waitUntil("what there is") { follower.lines.count == before.lines.count }
        #expect(follower.lines == before.lines)
        try scratch.clean("venue", "run", "ledger", "--trades", "30")
        let after = try scratch.clean(
            "log", "ledger", "--kind", "acknowledged", "--shard", "trades-0")
        #expect(after.lines.count > before.lines.count)
        try waitUntil("what came") { follower.lines.count >= after.lines.count }
        #expect(follower.lines == after.lines)
        #expect(follower.interrupt() == 0)
        _ = limited

        let last = try Follower(scratch, arguments + ["--limit", "3"])
        try waitUntil("the last three") { last.lines.count == 3 }
        #expect(last.lines == after.lines.suffix(3))
        #expect(last.interrupt() == 0)
    }

    @Test("an idle ledger costs next to nothing to follow")
    func idle() throws {
        let follower = try Follower(scratch, [])
        try waitUntil("the first lines") { follower.lines.count == 10 }
        let stat = "/proc/\(follower.process.processIdentifier)/stat"
        /// Ticks of the processor, a hundred a second.
        func ticks() -> Int {
            let fields = Scratch.text(stat).split(separator: " ")
            return fields.count > 14 ? (Int(fields[13]) ?? 0) + (Int(fields[14]) ?? 0) : 0
        }
        guard FileManager.default.fileExists(atPath: stat) else { return }
        let before = ticks()
        usleep(2_000_000)
        #expect(ticks() - before <= 10)
        #expect(follower.interrupt() == 0)
    }

    @Test("a reader who goes away ends the following quietly, also when nothing comes")
    func closedPipe() throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/bin/sh")
        let log = "'\(Tally.executable)' log ledger -f 2>errors; echo $? >status"
        process.arguments = ["-c", "{ \(log); } | head -n 1 >first"]
        process.currentDirectoryURL = URL(fileURLWithPath: scratch.path)
        try process.run()
        process.waitUntilExit()
        #expect(!Scratch.text(scratch("first")).isEmpty)
        #expect(Scratch.text(scratch("errors")).isEmpty)
        #expect(Scratch.text(scratch("status")) == "0\n")
    }

    @Test("on a sealed copy it says that nothing will follow, and ends")
    func sealed() throws {
        try scratch.clean("import", GoldenTests.small, "small")
        let outcome = try scratch.tally("log", "small", "-f")
        #expect(outcome.status == 0)
        #expect(outcome.lines == (try scratch.clean("log", "small").lines.suffix(10)))
        #expect(outcome.errorLines.count == 1)
        #expect(outcome.error.contains("nothing will follow"))
    }

    @Test(
        "what contradicts following is a usage error",
        arguments: [["--reverse"], ["--until", "-1s"]])
    func usage(_ option: [String]) throws {
        let outcome = try scratch.tally(["log", "ledger", "--follow"] + option)
        #expect(outcome.status == 2)
        #expect(outcome.output.isEmpty)
        #expect(outcome.error.contains(option[0]) && outcome.errorLines.count == 1)
    }

    @Test("a follower does not make the ledger that is written grow")
    func growth() throws {
        func size(_ name: String) -> Int {
            ["trades-0", "trades-1", "collateral-0", "collateral-1"].reduce(0) { sum, shard in
                let path = scratch("\(name)/shards/\(shard)/data.mdb")
                let size = try? FileManager.default.attributesOfItem(atPath: path)[.size] as? Int
                return sum + (size ?? 0)
            }
        }
        let arguments = ["--trades", "1500", "--seed", "7"]
        try scratch.copy("ledger", to: "alone")
        for name in ["alone", "ledger"] {
            let follower = name == "ledger" ? try Follower(scratch, ["--json"]) : nil
            if let follower { try waitUntil("the first lines") { follower.lines.count == 10 } }
            #expect(try scratch.tally(["venue", "run", name] + arguments).status == 0)
            if let follower { #expect(follower.interrupt() == 0) }
        }
        #expect(Double(size("ledger")) < 1.25 * Double(size("alone")))
    }
}
