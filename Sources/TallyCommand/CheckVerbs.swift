import ArgumentParser
package import TallyAudit
package import TallyCore
import TallyStore

/// `tally orphans`
struct Orphans<P: Program>: LedgerVerb {
    static var configuration: CommandConfiguration {
        CommandConfiguration(
            commandName: "orphans",
            abstract: "Pending messages that nobody is settling, with their class and evidence.",
            discussion: """
                Both halves are read. undelivered: the destination's log does not know it. owed: \
                received, no answer yet. unacknowledged: answered, the answer was lost. expired: it \
                came too late, and its sender does not know. unknown: the destination's log is not at \
                hand. On a ledger that runs, only what has been pending for longer than --older-than.
                """)
    }

    @OptionGroup var ledger: LedgerArgument
    @OptionGroup var at: AtOption
    @Option(help: "Only pending for at least so long, like 10s or 5m.")
    var olderThan: String?
    @Option(help: "At most so many lines; 0: all.")
    var limit = 50
    @Flag(help: "Counts per channel.")
    var summary = false
    @OptionGroup var json: JSONFlag

    func run<Q: Program>(_ ledger: Ledger, as program: Q.Type) throws {
        let audit = AuditLedger(ledger)
        let older = try olderThan.map { text in
            guard let span = Position.span(text) else {
                throw UsageError("\(text) is no span of time; write it like 10s, 5m or 2h")
            }
            return span
        }
        let progress = Progress("events")
        let list = try OrphanList(
            audit, at: try at.cut(of: audit), olderThan: older, comparesBytes: summary
        ) { progress.update($0) }
        progress.finish()
        if summary {
            json.isOn ? printSummaryJSON(list, ledger) : printSummary(list, ledger)
        } else if json.isOn {
            printJSON(list, ledger)
        } else {
            printText(list, ledger, older ?? OrphanList.olderThanDefault)
        }
        for (_, problem) in list.problems { Console.notRead(problem.text) }
        let isContradicted = list.findings.contains { $0.class.isContradiction }
        if !list.entries.isEmpty || isContradicted { throw Exit.findings }
        if !list.problems.isEmpty { throw Exit.partial }
    }

    private func printText(_ list: OrphanList, _ ledger: Ledger, _ older: UInt64) {
        let directory = ledger.shards
        var output = Output()
        var table = TextTable(["message", "class", "age", "action", "evidence"], right: [2])
        let shown = limit == 0 ? list.entries[...] : list.entries.prefix(limit)
        for entry in shown {
            table.add([
                directory.text(entry.orphan.message),
                entry.orphan.class.rawValue + (entry.orphan.isOverdue ? ", overdue" : ""),
                readable(nanoseconds: entry.age), entry.action,
                entry.orphan.evidence.map { directory.address($0.shard, $0.offset) }
                    .joined(separator: " "),
            ])
        }
        if !shown.isEmpty { for line in table.lines { output.line(line) } }
        if list.entries.count > shown.count {
            output.line(
                "... and \(readable(list.entries.count - shown.count)) more; --limit 0: all")
        }
        let counts = OrphanClass.allCases.map { orphan in
            (orphan, list.entries.count { $0.orphan.class == orphan })
        }.filter { $0.1 > 0 }
        if list.entries.isEmpty {
            let limits =
                (list.problems.isEmpty ? "" : ", as far as the logs could be read")
                + (list.younger == 0
                    ? ""
                    : "; pending for less than \(readable(nanoseconds: older)): "
                        + readable(list.younger, "message"))
            output.line("No orphans\(limits).")
        } else {
            output.line(
                "\(readable(list.entries.count, "orphan")): "
                    + counts.map { "\(readable($0.1)) \($0.0.rawValue)" }.joined(separator: ", "))
            if !ledger.manifest.isSealed, counts.contains(where: { $0.0.action == "re-emit" }) {
                output.line("To settle them: tally recover plan \(ledger.directory) -o PLAN")
            }
        }
        let kinds = HalfClass.allCases.map { half in
            (half, list.findings.count { $0.class == half })
        }.filter { $0.1 > 0 }
        for (half, count) in kinds {
            let example = list.findings.first { $0.class == half }
            output.line(
                "\(readable(count)) \(half.rawValue)"
                    + (example.map { ", for example \(directory.text($0.message))" } ?? ""))
        }
    }

    private func printJSON(_ list: OrphanList, _ ledger: Ledger) {
        var output = Output()
        for entry in list.entries {
            var json = JSONText()
            json.beginObject()
            json.field("message", ledger.shards.text(entry.orphan.message))
            json.field("class", entry.orphan.class.rawValue)
            json.field("overdue", entry.orphan.isOverdue)
            json.field("since", entry.orphan.since.description)
            json.field("ageSeconds", thousandths: entry.age / 1_000_000)
            json.evidence(entry.orphan.evidence, ledger.shards)
            json.field("action", entry.action)
            json.endObject()
            json.endLine()
            output.raw(json.bytes)
        }
    }

    private func printSummary(_ list: OrphanList, _ ledger: Ledger) {
        let names = ChannelSummary().fields.map(\.name)
        let used = names.filter { name in
            list.channels.contains { channel in
                channel.summary.fields.contains { $0.name == name && $0.value > 0 }
            }
        }
        var table = TextTable(["channel"] + used, right: Set(1...max(1, used.count)))
        for (channel, summary) in list.channels {
            let values = summary.fields.filter { used.contains($0.name) }
            table.add([ledger.shards.text(channel)] + values.map { String($0.value) })
        }
        for line in table.lines { print(line) }
    }

    private func printSummaryJSON(_ list: OrphanList, _ ledger: Ledger) {
        var json = JSONText()
        json.beginObject()
        for (channel, summary) in list.channels {
            json.beginObject(ledger.shards.text(channel))
            for field in summary.fields where field.name != "lost" || field.value > 0 {
                json.field(field.name, field.value)
            }
            json.endObject()
        }
        json.endObject()
        json.endLine()
        json.printed()
    }
}

extension HalfClass {
    /// Whether both halves are there and do not fit; the others say why a half is not.
    var isContradiction: Bool {
        switch self {
        case .unsent, .conflicting, .repeated, .overruled, .unfounded: true
        case .lost, .outside, .unknown: false
        }
    }
}

extension VerifyFinding {
    /// What it is about: an event or a shard, and a message.
    package func place(_ directory: ShardDirectory) -> String {
        let event = shard.map { shard in
            offset.map { directory.address(shard, $0) } ?? directory.name(of: shard)
        }
        return [event, message.map { directory.text($0) }].compactMap { $0 }
            .joined(separator: " ")
    }
}

extension VerifyLevel {
    /// What the level counts.
    package var unit: String {
        switch self {
        case .structure: "pages"
        case .commits, .chain: "commits"
        case .fold: "events"
        case .halves: "messages"
        case .books: "channels"
        }
    }
}

/// `tally verify`
struct VerifyVerb<P: Program>: LedgerVerb {
    static var configuration: CommandConfiguration {
        CommandConfiguration(
            commandName: "verify", abstract: "Look for contradictions, level by level.",
            discussion: """
                structure: the files' pages. commits: checksums, offsets, epochs, time. chain: every \
                commit's head, and the mark. fold: no law of the protocol is broken, snapshots equal \
                the fold. halves: both halves of every message agree; what a log witnessed of a peer \
                is in the peer's log. books: what opposite logs count adds up, and the program's own \
                law holds. Orphans are no findings: see tally orphans.
                """)
    }

    @OptionGroup var ledger: LedgerArgument
    @Option(
        help:
            "Check up to this level: \(VerifyLevel.allCases.map(\.rawValue).joined(separator: ", "))."
    )
    var level = VerifyLevel.books.rawValue
    @OptionGroup var json: JSONFlag

    func run<Q: Program>(_ ledger: Ledger, as program: Q.Type) throws {
        guard let level = VerifyLevel(rawValue: level) else {
            throw UsageError(
                "\(level) is no level; the levels are "
                    + VerifyLevel.allCases.map(\.rawValue).joined(separator: ", "))
        }
        let audit = AuditLedger(ledger)
        let progress = Progress("events")
        let report = try Verify.run(Q.self, audit, through: level) {
            progress.update($1, of: "verify \($0.rawValue), events")
        }
        progress.finish()
        if json.isOn { printJSON(report, ledger) } else { printText(report, ledger) }
        if !report.findings.isEmpty { throw Exit.findings }
        if report.isPartial || !report.isClean { throw Exit.partial }
    }

    private func printText(_ report: VerifyReport, _ ledger: Ledger) {
        for level in report.levels {
            let name = level.level.rawValue
            let pad = String(repeating: " ", count: 10 - name.count)
            if !level.isChecked {
                print("\(name)\(pad)\(Console.styled("not checked", .yellow))")
                continue
            }
            let result =
                level.findings == 0
                ? Console.styled("clean", .green)
                : Console.styled(readable(level.findings, "finding"), .red)
            print("\(name)\(pad)\(result)  \(readable(level.items)) \(level.level.unit)")
        }
        for finding in report.findings.prefix(100) {
            print(
                "\(Console.styled(finding.code, .red))  \(finding.place(ledger.shards))  "
                    + Console.escaped(finding.text, max: 500))
        }
        if report.findings.count > 100 {
            print("... and \(report.findings.count - 100) more findings; --json shows all")
        }
        for note in report.notes { print("note: \(Console.escaped(note, max: 500))") }
        for text in report.notChecked {
            print("not checked: \(Console.escaped(text, max: 500))")
        }
    }

    private func printJSON(_ report: VerifyReport, _ ledger: Ledger) {
        var json = JSONText()
        json.beginObject()
        json.field("clean", report.isClean)
        json.beginArray("levels")
        for level in report.levels {
            json.beginObject()
            json.field("level", level.level.rawValue)
            json.field("checked", level.isChecked)
            json.field("items", level.items)
            json.field("findings", level.findings)
            json.endObject()
        }
        json.endArray()
        json.beginArray("findings")
        for finding in report.findings {
            json.beginObject()
            json.field("code", finding.code)
            if let shard = finding.shard {
                json.field("shard", ledger.shards.name(of: shard))
            } else {
                json.null("shard")
            }
            if let offset = finding.offset {
                json.field("offset", offset.rawValue)
            } else {
                json.null("offset")
            }
            if let message = finding.message {
                json.field("message", ledger.shards.text(message))
            } else {
                json.null("message")
            }
            json.field("text", finding.text)
            json.evidence(finding.evidence, ledger.shards)
            json.endObject()
        }
        json.endArray()
        json.beginArray("notes")
        for note in report.notes { json.field(nil, note) }
        json.endArray()
        json.beginArray("notChecked")
        for text in report.notChecked { json.field(nil, text) }
        json.endArray()
        json.endObject()
        json.endLine()
        json.printed()
    }
}
