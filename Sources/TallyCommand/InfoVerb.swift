import ArgumentParser
import TallyAudit
import TallyCore
import TallyStore

/// `tally info`
struct Info<P: Program>: LedgerVerb {
    static var configuration: CommandConfiguration {
        CommandConfiguration(
            commandName: "info", abstract: "What a ledger is, and how far each log goes.")
    }

    @OptionGroup var ledger: LedgerArgument
    @OptionGroup var json: JSONFlag

    func run<Q: Program>(_ ledger: Ledger, as program: Q.Type) throws {
        let audit = AuditLedger(ledger)
        if json.isOn { printJSON(ledger, audit) } else { printText(ledger, audit) }
        audit.reportProblems()
        try audit.throwIfPartial()
    }

    private func released(_ ledger: Ledger, _ shard: ShardID) -> String {
        guard !ledger.manifest.isSealed else { return "-" }
        guard let mark = Mark.read(ledger.markPath(of: shard)) else { return "no mark" }
        return String(mark.position.offset.rawValue)
    }

    private func printText(_ ledger: Ledger, _ audit: AuditLedger) {
        let manifest = ledger.manifest
        print("ledger    \(Console.escaped(manifest.name))  \(manifest.id)")
        print("program   \(manifest.program.isEmpty ? "unknown" : manifest.program)")
        print(
            "channels  \(manifest.isOrdered ? "ordered" : "unordered"), "
                + (manifest.hasAnswers ? "with answers" : "one-way")
                + (manifest.isSealed ? "; evidence, sealed against writing" : ""))
        var table = TextTable(
            ["shard", "events", "released", "last commit", "head", "writer"], right: [1, 2])
        for shard in audit.shards {
            table.add([
                shard.name, shard.end.map { String($0.offset.rawValue) } ?? "?",
                released(ledger, shard.shard),
                shard.end.map { $0.offset == .none ? "-" : $0.timestamp.description } ?? "-",
                shard.end.map { String($0.head.description.prefix(16)) } ?? "-",
                shard.writer ?? "-",
            ])
        }
        for line in table.lines { print(line) }
    }

    private func printJSON(_ ledger: Ledger, _ audit: AuditLedger) {
        var json = JSONText()
        json.beginObject()
        json.field("ledger", ledger.manifest.name)
        json.field("id", ledger.manifest.id.description)
        json.field("program", ledger.manifest.program)
        json.field("answers", ledger.manifest.hasAnswers)
        json.field("ordered", ledger.manifest.isOrdered)
        json.field("sealed", ledger.manifest.isSealed)
        json.beginArray("shards")
        for shard in audit.shards {
            json.beginObject()
            json.field("shard", shard.name)
            if let end = shard.end {
                json.field("offset", end.offset.rawValue)
                json.field("head", end.head.description)
                if end.offset != .none { json.field("time", end.timestamp.description) }
            }
            if let mark = Mark.read(ledger.markPath(of: shard.shard)) {
                json.field("released", mark.position.offset.rawValue)
            }
            if let writer = shard.writer { json.field("writer", writer) }
            if let problem = shard.problem { json.field("problem", problem.text) }
            json.endObject()
        }
        json.endArray()
        json.endObject()
        json.endLine()
        json.printed()
    }
}
