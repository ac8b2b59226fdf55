import ArgumentParser
import TallyAudit
import TallyCore
import TallyStore

/// `tally snapshot`
struct SnapshotVerb<P: Program>: ParsableCommand {
    static var configuration: CommandConfiguration {
        CommandConfiguration(
            commandName: "snapshot", abstract: "Folds kept beside a log, so that it opens quickly.",
            discussion: """
                A snapshot is disposable: what it holds can be folded again from the log, and it counts \
                only while the log has its head at its offset. So it may be made and removed beside a \
                running writer.
                """,
            subcommands: [
                SnapshotCreate<P>.self, SnapshotList<P>.self, SnapshotRemove<P>.self,
            ])
    }
}

/// `--shard`
struct ShardOption: ParsableArguments {
    @Option(name: .customLong("shard"), help: "Only this shard.")
    var name: String?

    func shards(of ledger: Ledger) throws -> [ShardID] {
        try name.map { [try ledger.shard(named: $0)] } ?? Array(ledger.shards.all)
    }
}

extension Ledger {
    /// Evidence keeps the files it has.
    fileprivate func checkMayChange() throws(StoreError) {
        guard manifest.isSealed else { return }
        throw StoreError(
            .sealed,
            "\(directory) is evidence (an import or a copy): its snapshots stay as they are; work on a"
                + " writable copy: tally copy --writable")
    }
}

/// `tally snapshot create`
struct SnapshotCreate<P: Program>: LedgerVerb {
    static var configuration: CommandConfiguration {
        CommandConfiguration(
            commandName: "create", abstract: "Fold each log to its end and keep the state.",
            discussion: "The newest two of each shard are kept.")
    }

    @OptionGroup var ledger: LedgerArgument
    @OptionGroup var shard: ShardOption
    @OptionGroup var json: JSONFlag

    func run<Q: Program>(_ ledger: Ledger, as program: Q.Type) throws {
        try ledger.checkMayChange()
        guard Q.self != Opaque.self else {
            let name = ledger.manifest.program
            throw UsageError(
                "a snapshot is a fold of the ledger's program, "
                    + (name.isEmpty
                        ? "and this ledger names none" : "and \(name) is not in this tool"))
        }
        let wanted = try shard.shards(of: ledger)
        let audit = AuditLedger(ledger)
        let progress = Progress("events")
        let replayed = try Replay.run(Q.self, audit, from: .snapshot) { progress.update($0) }
        progress.finish()
        var output = Output()
        var isPartial = false
        for (shard, state) in zip(replayed.shards, replayed.states)
        where wanted.contains(shard.shard) {
            for note in shard.notes { Console.note("note: \(Console.escaped(note))") }
            guard shard.problem == nil, let state else {
                Console.notRead(shard.problem?.text ?? shard.name)
                isPartial = true
                continue
            }
            // An empty log has nothing to keep.
            guard let log = audit[shard.shard].log, state.position.offset != .none else { continue }
            let there = try? Snapshot.read(
                Q.self, in: ledger, of: shard.shard, at: state.position.offset, log: log)
            if there == nil { try Snapshot.write(state, to: ledger) }
            line(state.position, there == nil, shard.name, &output)
        }
        output.flush()
        if isPartial { throw Exit.partial }
    }

    private func line(
        _ position: LogPosition, _ isNew: Bool, _ name: String, _ output: inout Output
    ) {
        guard json.isOn else {
            output.line(
                "\(name)@\(position.offset.rawValue)  "
                    + (isNew ? "snapshot made" : "there is a snapshot already"))
            return
        }
        var json = JSONText()
        json.beginObject()
        json.field("shard", name)
        json.field("offset", position.offset.rawValue)
        json.field("head", position.head.description)
        json.field("made", isNew)
        json.endObject()
        json.endLine()
        output.raw(json.bytes)
    }
}

/// `tally snapshot list`
struct SnapshotList<P: Program>: LedgerVerb {
    static var configuration: CommandConfiguration {
        CommandConfiguration(
            commandName: "list", abstract: "The snapshots there are, and whether they count.")
    }

    @OptionGroup var ledger: LedgerArgument
    @OptionGroup var shard: ShardOption
    @OptionGroup var json: JSONFlag

    func run<Q: Program>(_ ledger: Ledger, as program: Q.Type) throws {
        let audit = AuditLedger(ledger)
        var table = TextTable(
            ["shard", "offset", "time", "fold", "bytes", "counts"], right: [1, 3, 4])
        var output = Output()
        var count = 0
        for shard in try shard.shards(of: ledger) {
            for entry in Snapshot.entries(in: ledger, of: shard) {
                count += 1
                let reason = self.reason(entry, audit[shard], ledger, as: Q.self)
                if json.isOn {
                    output.raw(line(entry, reason, audit[shard].name))
                    continue
                }
                table.add([
                    audit[shard].name, String(entry.offset.rawValue),
                    entry.timestamp?.description ?? "-", entry.foldVersion.map(String.init) ?? "-",
                    String(entry.bytes), reason.map { "no: \(Console.escaped($0))" } ?? "yes",
                ])
            }
        }
        if !json.isOn, count > 0 { for line in table.lines { output.line(line) } }
        if !json.isOn, count == 0 { output.line("No snapshots.") }
        output.flush()
        audit.reportProblems()
        try audit.throwIfPartial()
    }

    /// Why a snapshot does not count; `nil` when it does.
    private func reason<Q: Program>(
        _ entry: Snapshot.Entry, _ shard: AuditShard, _ ledger: Ledger, as program: Q.Type
    ) -> String? {
        if Q.self == Opaque.self, entry.program != Q.name {
            return "the program that made it is not in this tool"
        }
        guard let log = shard.log else { return "the log cannot be read" }
        do {
            _ = try Snapshot.read(Q.self, in: ledger, of: shard.shard, at: entry.offset, log: log)
            return nil
        } catch {
            return "\(error)"
        }
    }

    private func line(_ entry: Snapshot.Entry, _ reason: String?, _ name: String) -> [UInt8] {
        var json = JSONText()
        json.beginObject()
        json.field("shard", name)
        json.field("offset", entry.offset.rawValue)
        if let time = entry.timestamp { json.field("time", time.description) }
        if let version = entry.foldVersion { json.field("foldVersion", UInt64(version)) }
        json.field("bytes", entry.bytes)
        json.field("counts", reason == nil)
        if let reason { json.field("reason", reason) }
        json.endObject()
        json.endLine()
        return json.bytes
    }
}

/// `tally snapshot remove`
struct SnapshotRemove<P: Program>: ParsableCommand {
    static var configuration: CommandConfiguration {
        CommandConfiguration(
            commandName: "remove", abstract: "Remove snapshots; nothing is lost but time.")
    }

    @OptionGroup var ledger: LedgerArgument
    @OptionGroup var shard: ShardOption
    @Option(help: "Keep so many of the newest of each shard.")
    var keep = 0
    @OptionGroup var json: JSONFlag

    func validate() throws {
        guard keep >= 0 else { throw ValidationError("--keep is at least 0.") }
    }

    func run() throws {
        let opened = try Ledger(ledger.directory)
        try opened.checkMayChange()
        var output = Output()
        for shard in try shard.shards(of: opened) {
            let name = opened.shards.name(of: shard)
            for offset in try Snapshot.remove(in: opened, of: shard, keeping: keep) {
                guard json.isOn else {
                    output.line("\(name)@\(offset.rawValue)  snapshot removed")
                    continue
                }
                var json = JSONText()
                json.beginObject()
                json.field("shard", name)
                json.field("offset", offset.rawValue)
                json.endObject()
                json.endLine()
                output.raw(json.bytes)
            }
        }
    }
}
