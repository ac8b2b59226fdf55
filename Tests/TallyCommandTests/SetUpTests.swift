import Foundation
import Testing

@Suite("Setting the command up", .timeLimit(.minutes(5)))
struct SetUpTests {
    private static func shell(_ script: String, in scratch: Scratch) throws -> String {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/bin/bash")
        process.arguments = ["-c", script]
        process.currentDirectoryURL = URL(fileURLWithPath: scratch.path)
        let pipe = Pipe()
        process.standardOutput = pipe
        process.standardError = pipe
        try process.run()
        let output = try pipe.fileHandleForReading.readToEnd() ?? Data()
        process.waitUntilExit()
        return String(decoding: output, as: UTF8.self)
    }

    @Test(
        "bash completes verbs, and the options of a verb, as they are typed",
        .enabled(if: PseudoTerminal.isAvailable, "no pseudo-terminals here"))
    func bash() throws {
        let scratch = try Scratch()
        let script = try scratch.clean("completions", "bash")
        try scratch.write(script.output, to: "tally.bash")
        let terminal = try PseudoTerminal(
            ["--norc", "--noprofile", "-i"], of: "/bin/bash", environment: ["PS1": "$ "])
        terminal.watch("the prompt") { $0.contains("$ ") }
        terminal.type("source '\(scratch("tally.bash"))' && echo read''y\n")
        terminal.watch("the script is read") { $0.contains("ready") }
        for (typed, completed) in [
            ("tally ver", "tally verify "), ("tally orphans dir --summ", " --summary "),
            ("tally recover ap", "tally recover apply "), ("tally completions f", "ns fish "),
        ] {
            terminal.type(typed + "\t")
            terminal.watch("\(typed) is completed") { $0.contains(completed) }
            terminal.type("\u{15}")
        }
        terminal.type("exit\n")
        _ = terminal.wait()
    }

    @Test("zsh and fish have theirs; another shell is refused by name")
    func others() throws {
        let scratch = try Scratch()
        #expect(try scratch.clean("completions", "zsh").output.hasPrefix("#compdef tally"))
        #expect(try scratch.clean("completions", "fish").output.contains("complete -c 'tally'"))
        let refused = try scratch.tally(["completions", "tcsh"])
        #expect(refused.status == 2)
        #expect(
            refused.error == "error: there are completions for bash, zsh and fish, not for tcsh\n")
    }

    @Test("the manual page holds every verb's help, and roff finds nothing to complain about")
    func manual() throws {
        let scratch = try Scratch()
        let page = try scratch.clean("manual")
        #expect(page.output.hasPrefix(".TH TALLY 1 "))
        for verb in HelpTests.verbs {
            #expect(page.lines.contains(".SS \"tally \(verb)\""), "\(verb)")
        }
        for section in ["NAME", "SYNOPSIS", "EXIT STATUS", "ENVIRONMENT", "FILES"] {
            #expect(page.lines.contains(".SH \(section)"))
        }
        try Data(page.output.utf8).write(to: URL(fileURLWithPath: scratch("tally.1")))
        // Only where roff is installed: it is no part of a bare system.
        let complaints = try Self.shell(
            "command -v groff >/dev/null && groff -man -ww -z -Tutf8 tally.1 2>&1 || true",
            in: scratch)
        #expect(complaints.isEmpty, "\(complaints)")
    }

    @Test("venue run --metrics counts what the logs hold")
    func metrics() throws {
        let scratch = try Scratch()
        let run = try scratch.clean(
            "venue", "run", "ledger", "--trades", "300", "--loss", "0.05", "--metrics")
        #expect(run.lines.first?.hasPrefix("second   commits      events flush p50") == true)
        let total = try #require(run.lines.first { $0.hasPrefix(" total") })
        let cells = total.split(separator: " ")
        let info = try scratch.clean("info", "ledger")
        let events = info.lines.filter { $0.hasPrefix("trades-") || $0.hasPrefix("collateral-") }
            .compactMap { $0.split(separator: " ").dropFirst().first }.compactMap { Int($0) }
        #expect(events.count == 4)
        #expect(cells[2].replacing(",", with: "") == String(events.reduce(0, +)))
        #expect(try scratch.tally(["venue", "run", "l2", "--metrics", "--json"]).status == 2)
    }
}
