import Foundation
import TallySimulator
import Testing

/// Histories as text, `fixtures/scenarios`: run by the engine of the simulator, compared line by line,
/// and recorded again only on purpose, with `TALLY_RECORD=1`.
@Suite("Scenarios")
struct ScenarioTests {
    static let directory = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent()
        .appendingPathComponent("fixtures/scenarios")
    static let isRecording = ProcessInfo.processInfo.environment["TALLY_RECORD"] == "1"
    static let names =
        ((try? FileManager.default.contentsOfDirectory(atPath: directory.path)) ?? [])
        .filter { $0.hasSuffix(".txt") }.sorted()

    private func text(_ name: String) throws -> String {
        try String(contentsOf: Self.directory.appendingPathComponent(name), encoding: .utf8)
    }

    @Test("a scenario goes as recorded, line by line", arguments: names)
    func asRecorded(_ name: String) throws {
        let recorded = try text(name)
        if Self.isRecording {
            let printed = try Scenario.run(recorded, name: name)
            try Data(printed.utf8).write(to: Self.directory.appendingPathComponent(name))
            return
        }
        do {
            try Scenario.check(recorded, name: name)
        } catch {
            Issue.record("\(error)\nto record it again: TALLY_RECORD=1")
        }
    }

    @Test("there are at least forty, and no two tell the same story")
    func stories() throws {
        #expect(Self.names.count >= 40)
        let stories = try Self.names.map { try text($0).prefix { $0 != "\n" } }
        #expect(Set(stories).count == stories.count)
    }

    @Test("the same scenario runs the same, every time")
    func deterministic() throws {
        for name in Self.names.prefix(8) {
            let text = try text(name)
            #expect(try Scenario.run(text, name: name) == Scenario.run(text, name: name))
        }
    }

    static let story = "# A message arrives and is answered.\n"
    static let good =
        story + """
            send trades-0 collateral-0 "reserve 100"
            deliver collateral-0
            ---
            trades-0@3 commanded
            trades-0@4 sent trades-0/collateral-0/1 "reserve 100"
            collateral-0@3 received trades-0/collateral-0/1 applied
            collateral-0@4 answered trades-0/collateral-0/1 accepted

            """

    @Test("comments between blocks stay where they are")
    func comments() throws {
        let commented =
            Self.story + "\n" + Self.good.dropFirst(Self.story.count)
            + "\n# The answer is lost.\ndrop trades-0\n---\n"
        try Scenario.check(commented, name: "commented")
    }

    @Test("a good one passes; with any line of its transcript changed, missing or doubled it fails")
    func transcripts() throws {
        try Scenario.check(Self.good, name: "good")
        let lines = Self.good.split(separator: "\n", omittingEmptySubsequences: false)
        for index in 4..<8 {
            var changed = lines
            changed[index] += "?"
            var missing = lines
            missing.remove(at: index)
            var doubled = lines
            doubled.insert(lines[index], at: index)
            for variant in [changed, missing, doubled] {
                let error = #expect(throws: Scenario.Failure.self) {
                    try Scenario.check(variant.joined(separator: "\n"), name: "bad")
                }
                #expect(error?.text.contains("otherwise than recorded") == true)
            }
        }
        let error = #expect(throws: Scenario.Failure.self) {
            try Scenario.check(Self.good.replacing("accepted", with: "rejected"), name: "bad")
        }
        #expect(error?.line == 8)
        #expect(
            error?.text.hasSuffix(
                "\n- collateral-0@4 answered trades-0/collateral-0/1 rejected"
                    + "\n+ collateral-0@4 answered trades-0/collateral-0/1 accepted") == true)
    }

    /// What is no scenario, the line that is named, and a part of what is said.
    static let misuses: [(text: String, line: Int, says: String)] = [
        ("", 1, "begins with its story"),
        ("send trades-0 collateral-0 \"x\"\n", 1, "begins with its story"),
        (story, 1, "nothing happens"),
        (story + "\n# And nothing more.\n", 1, "nothing happens"),
        (story + "hold trades-0\nhold trades-0\n", 3, "is held already"),
        (story + "hold trades-0\nsettle\n", 3, "flush it first"),
        (story + "sned trades-0 collateral-0 \"x\"\n", 2, "no directive 'sned'"),
        (story + "send trades-9 collateral-0 \"x\"\n", 2, "a shard of this scenario"),
        (story + "send trades-0 collateral-0 x\n", 2, "a \"text\" is expected"),
        (story + "send trades-0 collateral-0 \"x\n", 2, "a quotation mark is missing"),
        (story + "send trades-0 collateral-0 \"x\" deadline 5\n", 2, "a duration"),
        (story + "send trades-0 collateral-0 \"x\" reply maybe\n", 2, "reject or later"),
        (story + "send trades-0 collateral-0 \"x\" at once\n", 2, "what is 'at'?"),
        (story + "deliver collateral-0\n", 2, "no such envelope waits"),
        (story + "crash trades-0 before-append\n", 2, "nothing to append"),
        (story + "crash trades-0\ncrash trades-0\n", 3, "is down"),
        (story + "restart trades-0\n", 2, "is up"),
        (story + "restore trades-0 to 9\n", 2, "last offset of a commit"),
        (story + "restore trades-0 to 2\n", 2, "where the log ends"),
        (story + "accept trades-0\n", 2, "has not stopped"),
        (story + "crash trades-0\naccept trades-0\n", 3, "not behind its mark"),
        (story + "again trades-0\n", 2, "asked for nothing yet"),
        (story + "answer trades-0\n", 2, "does not owe"),
        (story + "flush trades-0\n", 2, "is not held"),
        (story + "old news\n", 2, "the name of a copy"),
        (
            story + "crash trades-0\nrestart trades-0\ncopy one collateral-0\nforge one \"x\"\n", 5,
            "one message"
        ),
        (story + "force trades-0/collateral-0/1\n", 2, "not pending"),
        (story + "wait long\n", 2, "a duration"),
        (story + "settle\nshards a b\n", 3, "before all other directives"),
        (story + "shards a a\n", 2, "each once"),
        (story + "shards a b unordered b\n", 2, "a channel"),
        (story + "---\ntrades-0@3 commanded\n", 2, "without directives"),
    ]

    @Test("a misuse is an error with its line", arguments: misuses.indices)
    func misuse(_ index: Int) throws {
        let (text, line, says) = Self.misuses[index]
        let error = #expect(throws: Scenario.Failure.self) {
            try Scenario.run(text, name: "misuse")
        }
        #expect(error?.line == line)
        #expect(error?.text.contains(says) == true, "\(error.map { "\($0)" } ?? "none")")
    }

    @Test("a broken law fails, whatever the transcript says")
    func laws() throws {
        // The destination gets other bytes than were sent before it has seen the right ones.
        let forged =
            Self.story + """
                send trades-0 collateral-0 "reserve 100"
                copy one collateral-0
                forge one "reserve 999"
                old one

                """
        let error = #expect(throws: Scenario.Failure.self) {
            try Scenario.run(forged, name: "forged")
        }
        #expect(error?.text.contains("a law is broken: receipt") == true)
    }
}
