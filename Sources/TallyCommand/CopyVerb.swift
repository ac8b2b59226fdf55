import ArgumentParser
import Synchronization
import TallyAudit
import TallyCore
import TallyStore

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// `tally copy`
struct CopyVerb<P: Program>: ParsableCommand {
    static var configuration: CommandConfiguration {
        CommandConfiguration(
            commandName: "copy", abstract: "Make a consistent copy, also while the ledger runs.",
            discussion: """
                Every log is copied through its place in one cut, so that no receipt is in the copy \
                whose send is not. The copy is built beside its place, flushed, verified through the \
                level chain and renamed: it is there wholly or not at all. It is evidence, sealed \
                against writing; snapshots are not copied.

                A copy made with --writable has the ledger's own id: once it and the original both go \
                on, that is a fork. Peers that heard one refuse the other, and a mark refuses a log \
                that lost what was released; whatever neither has seen goes unnoticed. Write one of \
                the two, never both.
                """)
    }

    @OptionGroup var ledger: LedgerArgument
    @Argument(help: ArgumentHelp("The copy's directory, new.", valueName: "new"))
    var copy: String
    @Flag(help: "Make a copy that may be written: a clone, not evidence.")
    var writable = false
    @Flag(name: .customLong("no-verify"), help: "Do not read the copy again to verify it.")
    var isUnverified = false
    @OptionGroup var json: JSONFlag

    func run() throws {
        let source = try Ledger(ledger.directory)
        var options = LedgerCopy.Options()
        options.isWritable = writable
        if isUnverified { options.verifiedThrough = nil }
        let progress = Interruptible("events")
        let made = try LedgerCopy.make(of: source, at: copy, options: options) { done, total in
            try progress.update(done, of: total)
        }
        progress.finish()
        if json.isOn { printJSON(made, source) } else { printText(made, source) }
        for conflict in made.behindMark {
            let text = Console.escaped(conflict.text, max: 2000)
            Console.note("the copy shares this with its source: \(text)")
        }
        if made.ledger == nil || !made.behindMark.isEmpty { throw Exit.findings }
        if let report = made.report, report.isPartial || !report.isClean { throw Exit.partial }
    }

    private func printText(_ made: LedgerCopy, _ source: Ledger) {
        var table = TextTable(
            ["shard", "events", "commits", "last commit", "head"], right: [1, 2])
        for shard in made.shards {
            table.add([
                source.shards.name(of: shard.shard), String(shard.events), String(shard.commits),
                shard.end.offset == .none ? "-" : shard.end.timestamp.description,
                String(shard.end.head.description.prefix(16)),
            ])
        }
        for line in table.lines { print(line) }
        for finding in made.report?.findings ?? [] {
            print(
                "\(Console.styled(finding.code, .red))  \(finding.place(source.shards))  "
                    + Console.escaped(finding.text, max: 500))
        }
        for text in made.report?.notChecked ?? [] {
            print("not checked: \(Console.escaped(text, max: 500))")
        }
        guard made.ledger != nil else {
            print(
                "The copy did not verify and was removed; the disk or the memory may be at fault")
            return
        }
        print(
            "Copied \(readable(made.events)) events of \(readable(made.shards.count, "shard"))"
                + (made.isOfLive ? " of a running ledger" : "") + " to \(copy)"
                + (writable ? ", writable" : ", sealed against writing")
                + (made.report == nil ? "; not verified" : "; verified through chain"))
    }

    private func printJSON(_ made: LedgerCopy, _ source: Ledger) {
        var json = JSONText()
        json.beginObject()
        json.field("ledger", source.manifest.name)
        json.field("id", source.manifest.id.description)
        json.field("made", made.ledger != nil)
        json.field("live", made.isOfLive)
        json.field("sealed", !writable)
        json.field("events", made.events)
        json.beginArray("shards")
        for shard in made.shards {
            json.beginObject()
            json.field("shard", source.shards.name(of: shard.shard))
            json.field("events", shard.events)
            json.field("commits", shard.commits)
            json.field("offset", shard.end.offset.rawValue)
            json.field("head", shard.end.head.description)
            if shard.end.offset != .none { json.field("time", shard.end.timestamp.description) }
            json.endObject()
        }
        json.endArray()
        if let report = made.report {
            json.field("verified", report.isClean)
            json.beginArray("findings")
            for finding in report.findings {
                json.field(nil, "\(finding.place(source.shards)): \(finding.text)")
            }
            json.endArray()
            json.beginArray("notChecked")
            for text in report.notChecked { json.field(nil, text) }
            json.endArray()
        }
        json.beginArray("behindMark")
        for conflict in made.behindMark { json.field(nil, conflict.text) }
        json.endArray()
        json.endObject()
        json.endLine()
        json.printed()
    }
}

/// Set by the first SIGINT or SIGTERM.
private let isInterrupted = Atomic<Bool>(false)

/// Progress that an interrupt ends with an error, so that what is half made is removed.
private final class Interruptible {
    private let title: String
    private var progress: Progress?

    init(_ title: String) {
        self.title = title
        // Read once here: a signal's handler must not be what makes it.
        _ = isInterrupted.load(ordering: .relaxed)
        for number in [SIGINT, SIGTERM] {
            signal(number) { number in
                // The second one ends the process at once.
                signal(number, SIG_DFL)
                isInterrupted.store(true, ordering: .relaxed)
            }
        }
    }

    func update(_ done: UInt64, of total: UInt64) throws {
        if isInterrupted.load(ordering: .relaxed) {
            throw StoreError(
                .system, "interrupted; nothing was left behind; run it again when there is time")
        }
        let shown = progress ?? Progress(title, total: total)
        progress = shown
        shown.update(done)
    }

    func finish() { progress?.finish() }
}
