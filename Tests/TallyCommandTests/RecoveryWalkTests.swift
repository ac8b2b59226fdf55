import Foundation
import Testing

/// A venue that was killed with messages of every kind in flight.
private func killed(in scratch: Scratch) throws {
    let running = try Tally.Running(
        [
            "venue", "run", "ledger", "--trades", "20000", "--loss", "0.2", "--delay", "5",
            "--released", "released",
        ], in: scratch.path)
    try waitUntil("released results") { scratch.released() > 400 }
    running.kill()
    _ = running.wait()
}

@Suite("The walk from a kill to a settled ledger")
struct RecoveryWalkTests {
    private let scratch: Scratch

    init() throws {
        scratch = try Scratch()
        try killed(in: scratch)
    }

    private func orphans(_ ledger: String = "ledger") throws -> [OrderedJSON] {
        try scratch.tally("orphans", ledger, "--json").jsonLines
    }

    private func names(_ orphans: [OrderedJSON], _ kind: String) -> [String] {
        orphans.filter { $0["class"]?.text == kind }.compactMap { $0["message"]?.text }
    }

    @Test("orphans and their summary have the shapes of issue 2 and agree with each other")
    func shapes() throws {
        let before = scratch.bytes("ledger")
        let listed = try scratch.tally("orphans", "ledger", "--json")
        #expect(listed.status == 1)
        #expect(listed.error.isEmpty)
        let orphans = try listed.jsonLines
        #expect(orphans.count > 10)
        let actions = [
            "undelivered": "re-emit", "unacknowledged": "re-emit", "expired": "re-emit",
            "owed": "wait",
        ]
        for orphan in orphans {
            #expect(orphan.keys == Shape.orphan)
            let kind = try #require(orphan["class"]?.text)
            #expect(orphan["action"]?.text == actions[kind])
            #expect(orphan["overdue"]?.truth != nil)
            #expect(orphan["since"]?.text?.hasSuffix("Z") == true)
            #expect((orphan["ageSeconds"]?.real ?? -1) >= 0)
            let evidence = orphan["evidence"]?.items.compactMap(\.text) ?? []
            #expect(evidence.count >= (kind == "undelivered" ? 1 : 2))
            #expect(evidence.allSatisfy { $0.contains("@") })
        }

        let summed = try scratch.tally("orphans", "ledger", "--summary", "--json")
        #expect(summed.status == 1)
        let summary = try summed.json
        #expect(!summary.keys.isEmpty)
        var counted: [String: Int] = [:]
        for channel in summary.keys {
            let counts = try #require(summary[channel])
            #expect(counts.keys == Shape.channel, "\(channel)")
            func of(_ name: String) -> Int { counts[name]?.count ?? -1 }
            #expect(of("sent") == of("matched") + of("undelivered"))
            #expect(of("received") == of("matched"))
            #expect(of("sent") == of("acknowledged") + of("timedOut") + of("pending"))
            let classes = ["undelivered", "owed", "unacknowledged", "expired", "unknown"]
            #expect(of("pending") == classes.reduce(0) { $0 + of($1) })
            for name in ["unsent", "conflicting", "repeated", "overruled", "unfounded", "outside"] {
                #expect(of(name) == 0, "\(channel) \(name)")
            }
            for name in classes { counted[name, default: 0] += of(name) }
        }
        for (kind, count) in counted { #expect(names(orphans, kind).count == count, "\(kind)") }
        #expect(changes(before, scratch.bytes("ledger")) == [])
    }

    @Test("each orphan's trace says its class, and its evidence is what the logs hold")
    func traces() throws {
        let orphans = try orphans()
        for kind in ["undelivered", "owed", "unacknowledged", "expired"] {
            for orphan in orphans.filter({ $0["class"]?.text == kind }).prefix(2) {
                let message = try #require(orphan["message"]?.text)
                let trace = try scratch.clean("trace", "ledger", message, "--json").json
                #expect(trace["verdict"]?.text == kind)
                let steps = trace["steps"]?.items.compactMap { $0["event"]?.text } ?? []
                let evidence = orphan["evidence"]?.items.compactMap(\.text) ?? []
                #expect(Set(evidence).isSubset(of: steps), "\(message)")
                let text = try scratch.clean("trace", "ledger", message).output
                #expect(text.hasPrefix("\(message)  \(kind)  began "))
                #expect(text.contains(" sent  \(message) "))
                #expect(text.contains(" received  ") == (kind != "undelivered"))
            }
        }
    }

    @Test(
        "a plan is deterministic, its application settles all but what is owed, twice is harmless")
    func apply() throws {
        let before = scratch.bytes("ledger")
        try scratch.clean("recover", "plan", "ledger", "-o", "plan")
        try scratch.clean("recover", "plan", "ledger", "-o", "plan2")
        #expect(Scratch.text(scratch("plan")) == Scratch.text(scratch("plan2")))
        #expect(changes(before, scratch.bytes("ledger")) == [])
        let planned = Scratch.text(scratch("plan"))
        for orphan in try orphans() {
            #expect(planned.contains("\"\(orphan["message"]?.text ?? "?")\""))
        }

        let applied = try scratch.clean(
            "recover", "apply", "ledger", "plan", "--reason", "the process was killed")
        #expect(applied.output.contains(" 0 still pending"))
        let left = try orphans()
        #expect(left.allSatisfy { $0["class"]?.text == "owed" })
        let reemissions = try scratch.clean(
            "log", "ledger", "--kind", "reemitted", "--limit", "1000000")
        #expect(reemissions.output.contains("recovery  the process was killed"))

        try scratch.clean("recover", "apply", "ledger", "plan", "--reason", "again")
        #expect(names(try orphans(), "owed") == names(left, "owed"))
        #expect(try orphans().count == left.count)
        try scratch.clean("verify", "ledger")
        try scratch.clean("venue", "run", "ledger", "--trades", "5")
        #expect(try orphans().isEmpty)
        try scratch.clean("venue", "check", "ledger", "released")
    }

    @Test("a plan made for another state of the ledger is refused and changes nothing")
    func stalePlan() throws {
        try scratch.clean("recover", "plan", "ledger", "-o", "plan")
        try scratch.clean("venue", "run", "ledger", "--trades", "5")
        let before = scratch.bytes("ledger")
        let refused = try scratch.tally("recover", "apply", "ledger", "plan", "--reason", "late")
        #expect(refused.status == 2)
        #expect(refused.output.isEmpty)
        #expect(refused.errorLines.count == 1)
        for part in ["another state", "nothing was changed", "tally recover plan ledger -o plan"] {
            #expect(refused.error.contains(part), "\(refused.error)")
        }
        #expect(changes(before, scratch.bytes("ledger")) == [])
    }

    @Test("a message timed out by force is closed, and reported when it had been applied after all")
    func force() throws {
        let first = try orphans()
        let undelivered = try #require(names(first, "undelivered").first)
        let forced = try scratch.clean(
            "recover", "force", "ledger", undelivered, "--reason", "its shard is gone")
        #expect(forced.output == "\(undelivered) is timed out by force\n")
        #expect(!(try orphans().contains { $0["message"]?.text == undelivered }))
        let text = try scratch.clean("trace", "ledger", undelivered).output
        #expect(text.contains("forced  its shard is gone"))
        let again = try scratch.tally(
            "recover", "force", "ledger", undelivered, "--reason", "once more")
        #expect(again.status == 2)
        #expect(again.error.contains("not pending"))

        guard let applied = names(first, "owed").first ?? names(first, "unacknowledged").first
        else { return }
        try scratch.clean("recover", "force", "ledger", applied, "--reason", "nobody answers")
        let trace = try scratch.clean("trace", "ledger", applied, "--json").json
        #expect(trace["verdict"]?.text == "overruled")
        let summary = try scratch.tally("orphans", "ledger", "--summary", "--json").json
        let sum = summary.keys.reduce(0) { $0 + (summary[$1]?["overruled"]?.count ?? 0) }
        #expect(sum == 1)
        let verified = try scratch.tally("verify", "ledger", "--json")
        #expect(verified.status == 1)
        let findings = try verified.json["findings"]?.items ?? []
        #expect(findings.allSatisfy { $0.keys == Shape.finding })
        #expect(findings.contains { $0["message"]?.text == applied })
    }
}
