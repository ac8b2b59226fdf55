import Foundation
import Testing

/// What the product is for: a process that is killed at any moment, and logs that still agree.
@Suite("Killed venues")
struct KillTests {
    /// `TALLY_KILL_ROUNDS`: how many; `TALLY_KILL_SEED`: which moments.
    static let rounds = number("TALLY_KILL_ROUNDS") ?? 4
    static let seed = number("TALLY_KILL_SEED") ?? 20_261_123

    static func number(_ name: String) -> Int? {
        ProcessInfo.processInfo.environment[name].flatMap { Int($0) }
    }

    static let run = [
        "venue", "run", "ledger", "--trades", "20000", "--loss", "0.05", "--repeat", "0.05",
        "--delay", "5", "--released", "released",
    ]

    @Test("killed at any moment, a ledger verifies clean, holds what was released, and goes on")
    func rounds() throws {
        let scratch = try Scratch()
        try scratch.clean("venue", "run", "ledger", "--trades", "20", "--released", "released")
        var generator = SeededGenerator(state: UInt64(Self.seed))
        for round in 1...max(1, Self.rounds) {
            let moment = UInt32.random(in: 50...900, using: &generator)
            let running = try Tally.Running(Self.run, in: scratch.path)
            usleep(moment * 1000)
            #expect(running.process.isRunning, "round \(round): it ended before it was killed")
            running.kill()
            let killed = running.wait()
            let story: Comment =
                "TALLY_KILL_SEED=\(Self.seed), round \(round), killed after \(moment) ms"
            #expect(killed.status == -9, story)
            #expect(killed.error.isEmpty, "\(story): \(killed.error)")

            let verified = try scratch.tally("verify", "ledger", "--json")
            #expect(verified.status == 0, story)
            let report = try verified.json
            #expect(report["clean"]?.truth == true, story)
            #expect(report["findings"]?.items == [], story)
            #expect(report["levels"]?.items.count { $0["checked"]?.truth == true } == 6, story)

            let replayed = try scratch.tally("replay", "ledger", "--json")
            #expect(replayed.status == 0, story)
            let shards = try replayed.json["shards"]?.items ?? []
            #expect(shards.count == 4, story)
            #expect(shards.allSatisfy { $0["anomalies"]?.count == 0 }, story)

            let checked = try scratch.tally("venue", "check", "ledger", "released")
            #expect(checked.status == 0, "\(story): \(checked.output)")
        }
        let settled = try scratch.clean("venue", "run", "ledger", "--trades", "50")
        #expect(settled.output.contains(" 0 open"))
        #expect(settled.output.contains(": conserved"))
        #expect(try scratch.clean("orphans", "ledger").output == "No orphans.\n")
        #expect(try scratch.clean("pending", "ledger").output == "Nothing is pending.\n")
        try scratch.clean("verify", "ledger")
    }

    @Test("a ledger whose writer was killed opens without ceremony")
    func opensAgain() throws {
        let scratch = try Scratch()
        let running = try Tally.Running(
            ["venue", "run", "ledger", "--trades", "20000", "--released", "released"],
            in: scratch.path)
        try waitUntil("released results") { scratch.released() > 50 }
        running.kill()
        _ = running.wait()
        for verb in ["info", "state", "pending", "replay", "verify"] {
            let outcome = try scratch.clean(verb, "ledger")
            #expect(outcome.error.isEmpty, "\(verb): \(outcome.error)")
        }
        let info = try scratch.clean("info", "ledger", "--json").json
        #expect(info["shards"]?.items.allSatisfy { $0["writer"] == nil } == true)
        let again = try scratch.clean("venue", "run", "ledger", "--trades", "5")
        #expect(again.error.isEmpty, "\(again.error)")
    }

    @Test("a second writer is refused, and the one that holds the ledger is named")
    func secondWriter() throws {
        let scratch = try Scratch()
        try scratch.clean("venue", "run", "ledger", "--trades", "5")
        try scratch.clean("recover", "plan", "ledger", "-o", "plan")
        let running = try Tally.Running(
            ["venue", "run", "ledger", "--trades", "1000000", "--released", "released"],
            in: scratch.path)
        defer { running.kill() }
        try waitUntil("released results") { scratch.released() > 20 }
        let holder = "process \(running.process.processIdentifier)"
        for second in [
            ["venue", "run", "ledger", "--trades", "1"],
            ["recover", "plan", "ledger", "-o", "other"],
            ["recover", "accept", "ledger", "trades-0", "--reason", "a test"],
        ] {
            let refused = try scratch.tally(second)
            #expect(refused.status == 3, "\(second)")
            #expect(refused.output.isEmpty, "\(second)")
            #expect(refused.errorLines.count == 1, "\(refused.error)")
            #expect(refused.error.contains(holder), "\(refused.error)")
        }
        #expect(
            try scratch.tally("recover", "apply", "ledger", "plan", "--reason", "x").status >= 2)

        // Reading verbs go on beside it.
        let info = try scratch.clean("info", "ledger", "--json").json
        #expect(info["shards"]?.items.allSatisfy { $0["writer"]?.text == holder } == true)
        try scratch.clean("verify", "ledger")
        let orphans = try scratch.clean("orphans", "ledger")
        #expect(orphans.output.hasPrefix("No orphans"))
        try scratch.clean("export", "ledger", "-o", "lines")
        try scratch.clean("import", "lines", "copy")
        try scratch.clean("verify", "copy")
        #expect(running.process.isRunning)
        running.kill()
        #expect(running.wait().status == -9)
        try scratch.clean("verify", "ledger")
    }
}

extension Scratch {
    /// Lines in `released` so far.
    func released() -> Int { Scratch.text(self("released")).count { $0 == "\n" } }
}
