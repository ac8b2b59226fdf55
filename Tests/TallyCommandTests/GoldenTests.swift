import Foundation
import Testing

/// The text that a person sees is part of what the command promises: compared with
/// `fixtures/golden`, and recorded again only on purpose, with `TALLY_RECORD=1`.
///
/// `fixtures/golden/small.jsonl` is the log of a foreign system, written by hand: shard `a` sends
/// five messages to `b`. The first is acknowledged, the second timed out, the third was answered
/// and the answer is lost, the fourth is owed, the fifth never arrived and is overdue; `a` has sent
/// the last three again. `b` sends one to `a`, which expired there without `b` knowing. No
/// identity, no heads: the import makes both, always the same.
@Suite("Golden output")
struct GoldenTests {
    static let directory = Tally.repository + "/fixtures/golden"
    static let small = directory + "/small.jsonl"
    static let isRecording = ProcessInfo.processInfo.environment["TALLY_RECORD"] == "1"

    /// The runs of each file, one after the other; a `$` line says which.
    static let files: [(name: String, runs: [[String]])] = [
        ("info", [["info", "small"]]),
        ("log", [["log", "small"], ["log", "small", "--message", "a/b/3", "--reverse"]]),
        (
            "show",
            [["show", "small", "a@2"], ["show", "small", "a@9"], ["show", "small", "b@5"]]
        ),
        (
            "trace",
            ["a/b/1", "a/b/2", "a/b/3", "a/b/4", "a/b/5", "b/a/1"].map { ["trace", "small", $0] }
        ),
        ("state", [["state", "small"], ["state", "small", "--at", "-5s", "--shard", "a"]]),
        ("pending", [["pending", "small"]]),
        (
            "orphans",
            [
                ["orphans", "small"], ["orphans", "small", "--json"],
                ["orphans", "small", "--summary"],
            ]
        ),
        ("verify", [["verify", "small"], ["verify", "small", "--level", "chain"]]),
        ("replay", [["replay", "small"], ["replay", "small", "--at", "a@4,b@5"]]),
        (
            "json",
            [
                ["info", "small"], ["log", "small", "--limit", "3"], ["show", "small", "a@9"],
                ["trace", "small", "a/b/3"], ["state", "small"], ["pending", "small"],
                ["orphans", "small", "--summary"], ["verify", "small"], ["replay", "small"],
                ["snapshot", "list", "small"], ["copy", "small", "clone"],
            ].map { $0 + ["--json"] }
        ),
        (
            "make",
            [
                ["init", "fresh", "--shards", "a,b"], ["log", "fresh"], ["orphans", "fresh"],
                ["verify", "fresh"], ["export", "small", "-o", "lines"],
                ["import", "lines", "again"], ["copy", "small", "clone"],
                ["snapshot", "list", "small"], ["snapshot", "create", "small"],
            ]
        ),
        ("export", [["export", "small"]]),
        (
            "recover",
            [
                ["recover", "plan", "small", "-o", "plan"],
                ["recover", "apply", "small", "plan", "--reason", "a try"],
                ["recover", "force", "small", "a/b/5", "--reason", "a try"],
                ["recover", "accept", "small", "a", "--reason", "a try"],
            ]
        ),
        (
            "errors",
            [
                ["info", "nowhere"], ["show", "small", "c@1"], ["show", "small", "a@99"],
                ["trace", "small", "a/b"], ["trace", "small", "a/b/9"],
                ["log", "small", "--kind", "lost"], ["log", "small", "--since", "yesterday"],
                ["state", "small", "--at", "a@99"], ["init", "small", "--shards", "a"],
                ["init", "new", "--shards", "A,B"], ["verify", "small", "--level", "all"],
                ["copy", "small", "small"], ["import", "nothing", "new"], ["orphan", "small"],
                ["snap"], ["frobnicate", "small"],
                ["log"],
            ]
        ),
        (
            "help",
            [[]] + HelpTests.verbs.map { ["help"] + $0.split(separator: " ").map(String.init) }
        ),
    ]

    /// The time a replay took, and how many pages a file has, are this machine's own.
    private func stable(_ output: String) -> String {
        output.split(separator: "\n", omittingEmptySubsequences: false)
            .filter { !$0.contains(" events in ") }
            .map { $0.replacing(/[0-9]+ pages/, with: "N pages") }
            .map {
                $0.replacing(/"level":"structure","checked":true,"items":[0-9]+/) { _ in
                    "\"level\":\"structure\",\"checked\":true,\"items\":N"
                }
            }
            .map { $0.replacing(/"seconds":[0-9.]+/, with: "\"seconds\":N") }
            .joined(separator: "\n")
    }

    @Test("is what was recorded, byte for byte", arguments: files.indices)
    func golden(_ index: Int) throws {
        let (name, runs) = Self.files[index]
        let scratch = try Scratch()
        let imported = try scratch.clean("import", Self.small, "small")
        #expect(imported.output.contains("17 events of 2 shards into small"))
        var text = ""
        for arguments in runs {
            let outcome = try scratch.tally(arguments)
            text += "$ tally \(arguments.joined(separator: " "))\n" + stable(outcome.output)
            // What goes to standard error stands behind the rest.
            for line in outcome.errorLines { text += "! \(line)\n" }
            text += "[\(outcome.status)]\n"
        }
        let path = Self.directory + "/\(name).txt"
        if Self.isRecording { try Data(text.utf8).write(to: URL(fileURLWithPath: path)) }
        let recorded = Scratch.text(path).split(separator: "\n", omittingEmptySubsequences: false)
        let printed = text.split(separator: "\n", omittingEmptySubsequences: false)
        #expect(printed == recorded, "\(path); to record it again: TALLY_RECORD=1")
    }
}

@Suite("Help")
struct HelpTests {
    static let verbs = [
        "demo", "venue", "venue run", "venue check", "info", "log", "show", "trace", "state",
        "pending", "export", "replay", "orphans", "verify", "init", "copy", "import", "recover",
        "recover plan", "recover apply", "recover force", "recover accept", "snapshot",
        "snapshot create", "snapshot list", "snapshot remove", "completions", "manual",
    ]

    @Test("every verb says in one sentence what it does, and every argument what it is")
    func verbs() throws {
        let scratch = try Scratch()
        for verb in Self.verbs {
            let words = verb.split(separator: " ").map(String.init)
            let help = try scratch.tally(["help"] + words)
            #expect(help.status == 0)
            #expect(help.error.isEmpty)
            let first = try #require(help.lines.first)
            #expect(first.hasPrefix("OVERVIEW: ") && first.count > 30, "\(verb): \(first)")
            #expect(help.output.contains("USAGE: tally \(verb)"))
            #expect(try scratch.tally(words + ["--help"]).output == help.output)
            // An option without a text ends its line with its name or its default.
            for line in help.lines where line.hasPrefix("  -") || line.hasPrefix("  <") {
                let isAlone = !line.dropFirst(2).contains("  ")
                let next = help.lines.drop { $0 != line }.dropFirst().first ?? ""
                #expect(!isAlone || next.hasPrefix("        "), "\(verb): \(line)")
            }
        }
    }

    @Test("tally alone, tally help and tally --help list every verb and end well")
    func root() throws {
        let scratch = try Scratch()
        let alone = try scratch.clean()
        #expect(try scratch.clean("help").output == alone.output)
        #expect(try scratch.clean("--help").output == alone.output)
        for verb in Self.verbs where !verb.contains(" ") {
            #expect(alone.lines.contains { $0.hasPrefix("  \(verb) ") }, "\(verb)")
        }
        #expect(
            alone.output.contains("Exit codes: 0 clean") || alone.output.contains("Exit\ncodes"))
        #expect(try scratch.clean("--version").output == "0.1.0\n")
    }

    @Test("a reader who goes away ends the command quietly")
    func closedPipe() throws {
        let scratch = try Scratch()
        try scratch.clean("venue", "run", "ledger", "--trades", "300")
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/bin/sh")
        let log = "'\(Tally.executable)' log ledger 2>errors; echo $? >status"
        process.arguments = ["-c", "{ \(log); } | head -n 1 >first"]
        process.currentDirectoryURL = URL(fileURLWithPath: scratch.path)
        try process.run()
        process.waitUntilExit()
        #expect(Scratch.text(scratch("first")).contains("opened"))
        #expect(Scratch.text(scratch("errors")).isEmpty)
        #expect(Scratch.text(scratch("status")) == "0\n")
    }
}
