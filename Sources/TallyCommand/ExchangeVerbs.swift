import ArgumentParser
import TallyAudit
import TallyCore
import TallyStore

/// `tally export`
struct Export<P: Program>: ParsableCommand {
    static var configuration: CommandConfiguration {
        CommandConfiguration(
            commandName: "export",
            abstract: "Write the whole ledger as JSON lines, losing nothing.",
            discussion: "  tally export DIR > ledger.jsonl; tally import ledger.jsonl COPY")
    }

    @OptionGroup var ledger: LedgerArgument
    @OptionGroup var display: DisplayOptions
    @Option(
        name: [.customShort("o"), .customLong("output")], help: "A file instead of standard output."
    )
    var output: String?

    func run() throws {
        let opened = try Ledger(ledger.directory)
        let audit = AuditLedger(opened)
        if let problem = audit.problems.first?.problem { throw problem }
        var export = LedgerExport(opened.manifest) { shard in
            guard let log = audit[shard].log else {
                preconditionFailure("a shard without a problem has a log")
            }
            return log
        }
        if audit.isLive {
            for shard in audit.shards {
                export.positions[shard.shard] = audit.cut.through(shard.shard)
            }
        }
        guard let output else {
            try export.write { Console.write($0, to: 1) }
            return
        }
        let file = try OutputFile(output)
        do {
            try export.write { try file.write($0) }
        } catch let error as StoreError where error.code != .system {
            throw StoreError(error.code, "\(error.text); \(output) holds what stands before it")
        }
    }
}

/// `tally import`
struct ImportVerb<P: Program>: ParsableCommand {
    static var configuration: CommandConfiguration {
        CommandConfiguration(
            commandName: "import", abstract: "Make a ledger from JSON lines, as evidence.",
            discussion: """
                The new ledger is sealed against writing. A line that is not well-formed is refused \
                with its number, and nothing is left behind.
                """)
    }

    @Argument(help: "The file; - is standard input.")
    var file: String
    @Argument(help: ArgumentHelp("The ledger's directory, new.", valueName: "dir"))
    var directory: String
    @OptionGroup var json: JSONFlag

    func run() throws {
        let progress = Progress("events")
        let report: ImportReport
        do {
            report = try Import.run(file, to: directory) { progress.update($0) }
        } catch let error as StoreError where error.text.hasPrefix("line ") {
            let name = file == "-" ? "standard input" : file
            let next = error.code == .malformed ? "; nothing was imported: mend that line" : ""
            throw StoreError(error.code, "\(name), \(error.text)\(next)")
        }
        progress.finish()
        if json.isOn {
            var json = JSONText()
            json.beginObject()
            json.field("ledger", report.ledger.manifest.name)
            json.field("events", report.events)
            json.field("commits", report.commits)
            json.field("shards", report.shards.count)
            json.endObject()
            json.endLine()
            json.printed()
        } else {
            print(
                "Imported \(readable(report.events)) events of \(report.shards.count) shards into "
                    + "\(directory), sealed against writing")
        }
    }
}
