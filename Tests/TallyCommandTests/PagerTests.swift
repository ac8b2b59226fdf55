import Foundation
import Testing

/// On a real terminal: what is longer than the screen goes through a pager, and colour only where
/// it is wanted.
@Suite("Pager and colour", .enabled(if: PseudoTerminal.isAvailable, "no pseudo-terminals here"))
struct PagerTests {
    private let scratch: Scratch
    private let longLog: [String]

    init() throws {
        scratch = try Scratch()
        try scratch.clean("import", GoldenTests.small, "small")
        try scratch.clean("venue", "run", "ledger", "--trades", "30")
        longLog = ["log", scratch("ledger")]
    }

    /// A pager that keeps what it got.
    private var keeper: String { "cat >'\(scratch("paged"))'; echo kept" }

    private func run(
        _ arguments: [String], rows: UInt16 = 24, _ environment: [String: String] = [:]
    ) throws -> (status: Int32, text: String) {
        let terminal = try PseudoTerminal(arguments, rows: rows, environment: environment)
        let status = terminal.wait()
        return (status, terminal.text)
    }

    @Test("output longer than the screen goes through the pager, whole")
    func long() throws {
        let plain = try scratch.clean("log", "ledger").output
        let paged = try run(longLog, ["TALLY_PAGER": keeper, "PAGER": "false"])
        #expect(paged.status == 0)
        #expect(paged.text == "kept\n")
        #expect(Scratch.text(scratch("paged")) == plain)
        // The same by PAGER, and with the settings less needs unless there are others.
        let less = try run(longLog, ["PAGER": "cat >/dev/null; echo \"$LESS\""])
        #expect(less.text == "FRX\n")
        let own = try run(longLog, ["PAGER": "cat >/dev/null; echo \"$LESS\"", "LESS": "i"])
        #expect(own.text == "i\n")
    }

    @Test("output that fits on the screen does not, and one line more does")
    func short() throws {
        let plain = try scratch.clean("pending", scratch("small")).output
        let count = plain.split(separator: "\n").count
        // No line of it is wider than this screen.
        let arguments = ["pending", scratch("small"), "--no-color"]
        let fits = try run(arguments, rows: UInt16(count + 1), ["TALLY_PAGER": keeper])
        #expect(fits.status == 0 && fits.text == plain)
        let more = try run(arguments, rows: UInt16(count), ["TALLY_PAGER": keeper])
        #expect(more.text == "kept\n")
        #expect(Scratch.text(scratch("paged")) == plain)
    }

    @Test(
        "no pager when it is switched off",
        arguments: [
            ["--no-pager"], ["--json"], ["TALLY_PAGER=cat"], ["TALLY_PAGER="],
        ])
    func off(_ words: [String]) throws {
        var environment = ["PAGER": keeper]
        var options: [String] = []
        for word in words {
            let halves = word.split(separator: "=", omittingEmptySubsequences: false)
            if halves.count == 2 {
                environment[String(halves[0])] = String(halves[1])
            } else {
                options.append(word)
            }
        }
        let plain = try scratch.clean(
            "log", "ledger", words == ["--json"] ? "--json" : "--no-pager")
        let direct = try run(longLog + options, environment)
        #expect(direct.status == 0)
        #expect(direct.text == plain.output)
    }

    @Test("a pager that is quit early ends the verb quietly")
    func quit() throws {
        let head = try run(longLog, ["TALLY_PAGER": "head -n 1"])
        #expect(head.status == 0)
        #expect(head.text.split(separator: "\n").count == 1)
        guard FileManager.default.isExecutableFile(atPath: "/usr/bin/less") else { return }
        let terminal = try PseudoTerminal(longLog)
        terminal.watch("less shows its prompt") { $0.hasSuffix(":\u{1B}[K") }
        terminal.type("\u{3}")
        #expect(terminal.wait(typing: "q") == 0)
        #expect(!terminal.text.contains("error"))
    }

    @Test("a pager that cannot be run costs no line")
    func missing() throws {
        let plain = try scratch.clean("log", "ledger").output
        let direct = try run(longLog, ["TALLY_PAGER": "/nowhere/pager"])
        #expect(direct.status == 0)
        #expect(direct.text.hasSuffix(plain))
        #expect(direct.text.contains("/nowhere/pager"))
    }

    @Test("findings keep their exit code behind a pager, and messages their place")
    func exitCodes() throws {
        let paged = try run(
            ["orphans", scratch("small"), "--no-color"], rows: 3, ["TALLY_PAGER": keeper])
        #expect(paged.status == 1)
        #expect(paged.text == "kept\n")
        #expect(Scratch.text(scratch("paged")) == (try scratch.tally("orphans", "small").output))
        // What could not be read is said behind the results, where the reader is.
        try scratch.remove("small/shards/b/data.mdb")
        let partial = try run(["log", scratch("small")], rows: 5, ["TALLY_PAGER": keeper])
        #expect(partial.status == 4)
        #expect(Scratch.text(scratch("paged")).contains("not read: shard b is missing"))
    }

    @Test("colour on a terminal, unless somebody does not want it; elsewhere when forced")
    func colour() throws {
        let trace = ["trace", scratch("small"), "a/b/1", "--no-pager"]
        let escape = "\u{1B}["
        #expect(try run(trace).text.contains(escape))
        #expect(!(try run(trace + ["--no-color"]).text.contains(escape)))
        #expect(!(try run(trace, ["NO_COLOR": "1"]).text.contains(escape)))
        #expect(!(try run(trace, ["TERM": "dumb"]).text.contains(escape)))
        #expect(!(try run(trace + ["--no-color"], ["CLICOLOR_FORCE": "1"]).text.contains(escape)))
        let pipe = "'\(Tally.executable)' trace '\(scratch("small"))' a/b/1 | cat"
        func piped(_ setting: String) throws -> String {
            let process = Process()
            process.executableURL = URL(fileURLWithPath: "/bin/sh")
            process.arguments = [
                "-c", "env -u NO_COLOR \(setting) sh -c \"$0\" >'\(scratch("out"))'", pipe,
            ]
            try process.run()
            process.waitUntilExit()
            return Scratch.text(scratch("out"))
        }
        #expect(!(try piped("TERM=xterm").contains(escape)))
        #expect(try piped("CLICOLOR_FORCE=1").contains(escape))
        #expect(!(try piped("CLICOLOR_FORCE=0").contains(escape)))
    }

    @Test("every verb has --no-color and --no-pager")
    func flags() throws {
        for verb in HelpTests.verbs where !["venue", "recover", "snapshot"].contains(verb) {
            let help = try scratch.clean("help", verb.split(separator: " ").map(String.init))
            #expect(help.contains("--no-color") && help.contains("--no-pager"), "\(verb)")
        }
    }
}

extension Scratch {
    fileprivate func clean(_ first: String, _ rest: [String]) throws -> String {
        let outcome = try tally([first] + rest)
        #expect(outcome.status == 0)
        return outcome.output
    }
}
