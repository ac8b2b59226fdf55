import Foundation
import TallyCore
import TallyStore
import Testing

/// One thing that a person may get wrong.
struct Mistake: Sendable, CustomTestStringConvertible {
    var arguments: [String]
    var status: Int32
    /// What the one line has to say: what, where, and what to do next.
    var says: [String]

    init(_ line: String, _ status: Int32, _ says: String...) {
        self.init(line.split(separator: " ").map(String.init), status, says)
    }

    init(_ arguments: [String], _ status: Int32, _ says: [String]) {
        self.arguments = arguments
        self.status = status
        self.says = says
    }

    var testDescription: String { "tally " + arguments.joined(separator: " ") }

    /// Makes it, and expects one line, the exit code, and nothing changed anywhere.
    func expectRefused(in scratch: Scratch, at location: SourceLocation = #_sourceLocation) throws {
        let before = scratch.bytes()
        let outcome = try scratch.tally(arguments)
        #expect(outcome.status == status, "\(outcome.error)", sourceLocation: location)
        #expect(outcome.output.isEmpty, "\(outcome.output)", sourceLocation: location)
        #expect(outcome.errorLines.count == 1, "\(outcome.error)", sourceLocation: location)
        #expect(outcome.error.hasPrefix("error: "), "\(outcome.error)", sourceLocation: location)
        for part in says {
            #expect(
                outcome.error.contains(part), "\(part) in: \(outcome.error)",
                sourceLocation: location)
        }
        #expect(changes(before, scratch.bytes()) == [], sourceLocation: location)
    }
}

@Suite("Bad input")
struct BadInputTests {
    /// A ledger to be wrong about, and a sealed copy of it.
    private static func prepared() throws -> Scratch {
        let scratch = try Scratch()
        try scratch.clean("venue", "run", "good", "--trades", "10")
        try scratch.clean("export", "good", "-o", "lines")
        try scratch.clean("import", "lines", "sealed")
        try scratch.clean("recover", "plan", "good", "-o", "plan")
        return scratch
    }

    static let arguments = [
        Mistake("nonsense", 2, "there is no verb nonsense", "tally help"),
        Mistake("info", 2, "'<dir>'", "tally info --help"),
        Mistake("info good --nonsense", 2, "'--nonsense'", "tally info --help"),
        Mistake("recover nonsense good", 2, "'nonsense'", "--help"),
        Mistake("recover apply good plan", 2, "'--reason <reason>'", "tally recover apply --help"),
        Mistake(["recover", "apply", "good", "lines", "--reason", " "], 2, ["--reason is empty"]),
        Mistake("venue run good --loss 2", 2, "between 0 and 1", "tally venue run --help"),
        Mistake("venue run good --trades x", 2, "'x'", "tally venue run --help"),
        Mistake("venue run good --released no/such/file", 2, "no/such/file"),
        Mistake("venue run good --released good", 2, "cannot write good", "name a file"),
        Mistake("venue run good --json --metrics", 2, "--metrics prints a table", "--json out"),
        Mistake("venue run good --trades=-1", 2, "--trades is at least 0", "venue run --help"),
        Mistake("venue run good --delay=60001", 2, "--delay 0 to 60000", "venue run --help"),
        Mistake("demo good --trades 5", 2, "--trades is at least 100", "tally demo --help"),
        Mistake("completions tcsh", 2, "bash, zsh and fish", "tcsh"),
        Mistake("trace good trades-0/collateral-0/1 --depth=-1", 2, "--depth is at least 0"),
        Mistake("log good --limit=-1", 2, "--limit is at least 0", "tally log --help"),
        Mistake("log good -f --reverse", 2, "leave out --reverse", "tally log --help"),
        Mistake("log good -f --until 2026-11-23T12:00:00Z", 2, "leave out --until"),
        Mistake("snapshot remove good --keep=-1", 2, "--keep is at least 0"),
        Mistake("venue check good nowhere", 3, "nowhere", "No such file"),
        Mistake("venue check good plan", 2, "plan holds no released results", "--released"),
    ]

    static let places = [
        Mistake("info nowhere", 3, "there is no nowhere", "tally init nowhere"),
        Mistake("verify lines", 3, "lines is not a ledger", "ledger.json"),
        Mistake("orphans good/shards", 3, "good/shards is not a ledger", "ledger.json"),
        Mistake("recover plan good -o no/such/plan", 3, "no/such/plan", "directory"),
        Mistake("export good -o no/such/lines", 3, "no/such/lines", "directory"),
        Mistake("demo good", 2, "good exists and is no earlier demo", "another place"),
        Mistake("copy good nowhere/new", 2, "there is no directory nowhere"),
        Mistake("copy good sealed", 2, "sealed exists already", "another place"),
        Mistake("init good --shards a,b", 2, "good exists already", "another place"),
        Mistake("init no/such/place --shards a", 2, "there is no directory no/such"),
        Mistake("import lines sealed", 2, "sealed exists already", "another place"),
        Mistake("import lines no/such/place", 2, "there is no directory no/such"),
        Mistake("import nowhere new", 3, "nowhere", "No such file"),
        Mistake("import good new", 3, "cannot read good", "Is a directory"),
        Mistake(
            ["init", String(repeating: "n", count: 256), "--shards", "a"], 3,
            ["cannot look at", "File name too long"]),
        Mistake("init new --shards a,a", 2, "a,a", "none twice"),
        Mistake("init new --shards A", 2, "shard names A ", "a-z, 0-9 and -"),
        Mistake("init new --shards a,,b", 2, "a,,b", "1 to 64"),
        Mistake("init new --shards a/b", 2, "a/b", "a-z, 0-9 and -"),
        Mistake("init new --shards ..", 2, "..", "a-z, 0-9 and -"),
        Mistake(
            ["init", "new", "--shards", String(repeating: "a", count: 65)], 2, ["1 to 64"]),
        Mistake(["init", "new", "--shards", ""], 2, ["1 to 64"]),
        Mistake("init new --shards a,b --unordered a/c", 2, "a/c is no channel"),
    ]

    static let names = [
        Mistake("log good --shard zz", 2, "zz is no shard of good", "trades-0, trades-1"),
        Mistake("log good --peer zz", 2, "zz is no shard of good", "trades-0, trades-1"),
        Mistake("log good --kind zz", 2, "zz is no kind of event", "acknowledged"),
        Mistake("log good --message trades-0", 2, "trades-0 is no message", "trades-0/trades-1/1"),
        Mistake("log good --from 9 --through 3", 2, "--from 9", "--through 3"),
        Mistake("log good --since today", 2, "today is no time", "2026-11-23T12:00:00Z"),
        Mistake("log good --until 2026-13-01T00:00:00Z", 2, "is no time", "-5m"),
        Mistake("state good --shard zz", 2, "zz is no shard of good", "trades-0"),
        Mistake("pending good --shard zz", 2, "zz is no shard of good", "trades-0"),
        Mistake("recover accept good zz --reason x", 2, "zz is no shard of good", "trades-0"),
        Mistake("show good trades-0@999999", 2, "does not exist", "ends at trades-0@"),
        Mistake("show good trades-0@0", 2, "is no event of good", "trades-0@17"),
        Mistake("show good zz@1", 2, "is no event of good", "trades-0@17"),
        Mistake("show good trades-0", 2, "is no event of good", "trades-0@17"),
        Mistake("show good trades-0@99999999999999999999999", 2, "is no event of good"),
        Mistake(
            "trace good trades-0/collateral-0/9999", 2, "never sent or received", "tally log good"),
        Mistake("trace good trades-0/collateral-0/0", 2, "is no message of good"),
        Mistake("trace good trades-0/zz/1", 2, "is no message of good", "trades-0/trades-1/1"),
        Mistake("trace good 42", 2, "42 is no message of good", "trades-0/trades-1/1"),
        Mistake("recover force good 42 --reason x", 2, "42 is no message of good"),
        Mistake("state good --at never", 2, "never is no position", "-15m"),
        Mistake("state good --at zz@1", 2, "no shard zz", "trades-0"),
        Mistake("replay good --at trades-0@99999", 2, "trades-0@99999", "ends at trades-0@"),
        Mistake("orphans good --at 2026-99-01T00:00:00Z", 2, "is no position", "-15m"),
        Mistake("trace good trades-0/collateral-0/1 --at -1w", 2, "-1w is no position", "-2d"),
        Mistake("orphans good --older-than long", 2, "long is no span of time", "5m"),
        Mistake("replay good --at trades-0@1,trades-0@2", 2, "names trades-0 twice"),
        Mistake("verify good --level deep", 2, "deep is no level", "structure, commits"),
    ]

    static let sealed = [
        Mistake("venue run sealed", 2, "sealed is evidence", "cannot be written"),
        Mistake("snapshot create sealed", 2, "sealed is evidence", "tally copy --writable"),
        Mistake("snapshot remove sealed", 2, "sealed is evidence", "tally copy --writable"),
        Mistake("recover plan sealed -o other", 2, "evidence", "cannot be recovered"),
        Mistake("recover accept sealed trades-0 --reason x", 2, "sealed is evidence"),
        Mistake("recover force sealed trades-0/collateral-0/1 --reason x", 2, "sealed is evidence"),
    ]

    @Test(
        "is refused with one line, the right exit code, and nothing changed",
        arguments: [arguments, places, names, sealed])
    func refused(_ mistakes: [Mistake]) throws {
        let scratch = try Self.prepared()
        for mistake in mistakes { try mistake.expectRefused(in: scratch) }
    }

    @Test("a message that is not pending cannot be timed out by force, and nothing is recorded")
    func forceSettled() throws {
        let scratch = try Self.prepared()
        let before = try scratch.clean("log", "good", "--kind", "timedOut").output
        for sequence in ["1", "9999"] {
            let refused = try scratch.tally(
                "recover", "force", "good", "trades-0/collateral-0/\(sequence)", "--reason", "x")
            #expect(refused.status == 2)
            #expect(refused.errorLines.count == 1)
            #expect(refused.error.contains("is not pending; nothing was changed"))
        }
        #expect(try scratch.clean("log", "good", "--kind", "timedOut").output == before)
    }

    @Test("a plan of another ledger, a changed one and none at all are refused")
    func plans() throws {
        let scratch = try Self.prepared()
        try scratch.clean("venue", "run", "other", "--trades", "5")
        try scratch.clean("recover", "plan", "other", "-o", "foreign")
        try scratch.clean("recover", "plan", "good", "-o", "plan")
        let plan = Scratch.text(scratch("plan"))
        try scratch.write(plan.replacing("\"offset\":", with: "\"offset\":1"), to: "changed")
        try scratch.write(String(plan.dropLast(60)), to: "cut")
        try scratch.write(plan.replacing("\"version\":1", with: "\"version\":2"), to: "newer")
        try scratch.write("no plan\n", to: "junk")
        try scratch.write("", to: "empty")
        let again = "tally recover plan"
        for (name, status, says) in [
            ("foreign", 2, ["foreign was made for another ledger", "\(again) good"]),
            ("changed", 3, ["of the plan", "was changed", again]),
            ("cut", 3, ["of the plan", again]),
            ("newer", 3, ["format version 2", "reads 1"]),
            ("junk", 3, ["line 1 of the plan", again]),
            ("empty", 3, ["line 1 of the plan", again]),
            ("nowhere", 2, ["there is no file nowhere", "\(again) good"]),
        ] as [(String, Int32, [String])] {
            try Mistake(["recover", "apply", "good", name, "--reason", "x"], status, says)
                .expectRefused(in: scratch)
        }
    }

    @Test("a malformed interchange line is refused with its number, and nothing is left behind")
    func interchange() throws {
        let scratch = try Self.prepared()
        let lines = Scratch.text(scratch("lines")).split(separator: "\n").map(String.init)
        func file(_ line: Int, _ text: String) throws {
            var changed = lines
            changed[line - 1] = text
            try scratch.write(changed.joined(separator: "\n") + "\n", to: "bad")
        }
        func expect(_ line: Int, _ says: String...) throws {
            try Mistake(["import", "bad", "new"], 3, ["bad, line \(line): "] + says)
                .expectRefused(in: scratch)
        }
        try file(4, #"{"shard":"#)
        try expect(4, "cut off", "nothing was imported")
        try file(5, #"{"shard":"zz","kind":"noted"}"#)
        try expect(5, "zz")
        try file(7, lines[6].replacing("\"kind\":", with: "\"king\":"))
        try expect(7, "king")
        try file(9, lines[7])
        try expect(9, "offset")
        try file(1, "no header")
        try expect(1, "header")
        try file(1, lines[0].replacing("\"version\":1", with: "\"version\":7"))
        try expect(1, "version 7", "newer tally")
        try scratch.write("", to: "bad")
        try expect(1, "the file is empty")
        try file(lines.count, String(lines[lines.count - 1].dropLast(20)))
        try expect(lines.count, "cut off")
    }

    @Test("a demo that somebody writes is not replaced")
    func demoUnderWay() throws {
        let scratch = try Scratch()
        try scratch.clean("init", "demo", "--shards", "a,b", "--name", "tally demo")
        let ledger = try Ledger(scratch("demo"))
        let lock = try WriterLock(ledger.writerPath(of: ShardID(2)), shard: "b")
        let holder = try #require(ledger.writer(of: ShardID(2)))
        try Mistake(
            ["demo", "demo"], 3, ["demo is being written by \(holder)", "name another place"]
        ).expectRefused(in: scratch)
        withExtendedLifetime(lock) {}
    }

    @Test("a ledger of another program is not run as a venue")
    func otherProgram() throws {
        let scratch = try Scratch()
        try scratch.clean("init", "ledger", "--shards", "a,b", "--program", "other")
        try Mistake("venue run ledger", 2, "program is other").expectRefused(in: scratch)
        for verb in ["info", "state", "pending", "orphans", "replay", "log", "export"] {
            try scratch.clean(verb, "ledger")
        }
        try Mistake("recover accept ledger a --reason x", 2, "program, other", "own tool")
            .expectRefused(in: scratch)
        try Mistake("recover force ledger a/b/1 --reason x", 2, "program, other", "own tool")
            .expectRefused(in: scratch)
        try Mistake("replay ledger --check", 2, "by the program that made them (other)")
            .expectRefused(in: scratch)
        // Nothing checked is a failure, not a success.
        let verified = try scratch.tally("verify", "ledger")
        #expect(verified.status == 4)
        #expect(verified.output.contains("there was nothing to check"))
    }
}
