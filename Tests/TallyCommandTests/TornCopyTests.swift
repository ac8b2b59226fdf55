import Foundation
import Testing

/// What `cp -r` makes of a ledger that runs.
@Suite("Torn copies")
struct TornCopyTests {
    static let verbs = ["info", "log", "state", "pending", "replay", "orphans", "verify", "export"]

    @Test("a copy by other means of a running ledger is read as far as it is whole, or named")
    func recursive() throws {
        let scratch = try Scratch()
        let running = try CopyTests.busy(scratch)
        defer { running.kill() }
        for number in 1...4 {
            try scratch.copy("ledger", to: "torn-\(number)")
            usleep(150_000)
        }
        running.kill()
        _ = running.wait()
        let whole = Set(try scratch.clean("export", "ledger").lines.dropFirst())
        for number in 1...4 {
            let ledger = "torn-\(number)"
            let before = scratch.bytes(ledger)
            let info = try scratch.tally("info", ledger, "--json")
            #expect([0, 4].contains(info.status), "\(info.error)")
            let torn = try info.json["shards"]?.items.filter { $0["problem"] != nil } ?? []
            #expect((info.status == 4) == !torn.isEmpty)
            for verb in Self.verbs {
                let outcome = try scratch.tally(verb, ledger)
                // Findings come first: logs copied one after the other are no cut.
                let expected: Set<Int32> =
                    switch verb {
                    case "verify", "orphans": torn.isEmpty ? [0, 1] : [1, 4]
                    case "export": torn.isEmpty ? [0] : [3]
                    default: torn.isEmpty ? [0] : [4]
                    }
                #expect(expected.contains(outcome.status), "\(verb): \(outcome.error)")
                for shard in torn where verb != "orphans" {
                    let name = shard["shard"]?.text ?? "?"
                    #expect((outcome.error + outcome.output).contains(name), "\(verb)")
                }
            }
            // What is shown was there.
            let log = try scratch.tally("log", ledger, "--json").lines
            #expect(log.allSatisfy(whole.contains))
            #expect(log.isEmpty == (torn.count == 4))
            #expect(changes(before, scratch.bytes(ledger)) == [])
        }
    }

    @Test("pages of two moments in one file: the shard is named, the others are read")
    func spliced() throws {
        let scratch = try Scratch()
        let data = "ledger/shards/trades-0/data.mdb"
        try scratch.clean("venue", "run", "ledger", "--trades", "400", "--loss", "0.05")
        try scratch.copy(data, to: "early")
        try scratch.clean("venue", "run", "ledger", "--trades", "400", "--loss", "0.05")
        let early = try #require(FileManager.default.contents(atPath: scratch("early")))
        let late = try #require(FileManager.default.contents(atPath: scratch(data)))
        let page = 4096
        var blank = late
        blank.replaceSubrange(4 * page..<12 * page, with: Data(repeating: 0, count: 8 * page))
        let spoilt: [(name: String, bytes: Data)] = [
            ("early metas, late pages", early.prefix(2 * page) + late.dropFirst(2 * page)),
            ("late metas, early pages", late.prefix(2 * page) + early.dropFirst(2 * page)),
            ("half and half", early.prefix(early.count / 2) + late.dropFirst(early.count / 2)),
            ("cut short", late.prefix(late.count - 3 * page)),
            ("cut inside a page", late.prefix(late.count - 100)),
            ("pages of zeros", blank),
        ]
        for (name, bytes) in spoilt {
            try bytes.write(to: URL(fileURLWithPath: scratch(data)))
            // Such a file may be a whole older log by chance; then its mark tells. A part of a page at
            // the end, which nothing names, is what a write that was cut short leaves.
            let verified = try scratch.tally("verify", "ledger").output
            if verified.contains("structure clean") {
                #expect(
                    verified.contains("behind-mark") || name == "cut inside a page",
                    "\(name): \(verified)")
                continue
            }
            for verb in Self.verbs {
                let outcome = try scratch.tally(verb, "ledger")
                let expected: Set<Int32> =
                    switch verb {
                    case "export": [3]
                    case "verify": [1]
                    case "orphans": [1, 4]
                    default: [4]
                    }
                #expect(expected.contains(outcome.status), "\(name), \(verb): \(outcome.error)")
                #expect((outcome.error + outcome.output).contains("trades-0"), "\(name), \(verb)")
                if verb == "info" {
                    for other in ["trades-1", "collateral-0", "collateral-1"] {
                        #expect(outcome.output.contains(other), "\(name)")
                    }
                }
            }
            try Mistake("copy ledger new", 3, "trades-0 is damaged", "nothing was copied")
                .expectRefused(in: scratch)
        }
    }
}
