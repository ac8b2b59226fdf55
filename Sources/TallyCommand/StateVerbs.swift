import ArgumentParser
import TallyAudit
import TallyCore
import TallyStore

/// `tally replay`
struct ReplayVerb<P: Program>: LedgerVerb {
    static var configuration: CommandConfiguration {
        CommandConfiguration(
            commandName: "replay",
            abstract: "Fold every log again from its first event, and print digests.",
            discussion: """
                The same log gives the same digests, on every machine. With --check every recorded \
                stimulus is decided again by the program and compared with what the log holds.
                """)
    }

    @OptionGroup var ledger: LedgerArgument
    @OptionGroup var at: AtOption
    @Flag(help: "Decide every recorded stimulus again and compare.")
    var check = false
    @OptionGroup var json: JSONFlag

    func run<Q: Program>(_ ledger: Ledger, as program: Q.Type) throws {
        let audit = AuditLedger(ledger)
        let cut = try at.cut(of: audit)
        let progress = Progress("events")
        if check {
            try runCheck(ledger, audit, cut, progress, as: program)
            return
        }
        let replayed = try Replay.run(Q.self, audit, at: cut) { progress.update($0) }
        progress.finish()
        if json.isOn { printJSON(replayed, ledger) } else { printText(replayed) }
        try replayed.endWithProblems()
    }

    private func printText<Q: Program>(_ replayed: Replayed<Q>) {
        var table = TextTable(
            ["shard", "events", "commits", "head", "messaging", "state", "anomalies"],
            right: [1, 2, 6])
        for shard in replayed.shards {
            guard shard.problem == nil || shard.events > 0 else {
                table.add([shard.name, "?", "?", "-", "-", "-", "?"])
                continue
            }
            table.add([
                shard.name, readable(shard.events), readable(shard.commits),
                String(shard.head.description.prefix(16)),
                String(shard.messagingDigest.description.prefix(16)),
                shard.stateDigest.map { String($0.description.prefix(16)) } ?? "-",
                String(shard.anomalyCount),
            ])
        }
        for line in table.lines { print(line) }
        let rate = replayed.seconds > 0 ? UInt64(Double(replayed.events) / replayed.seconds) : 0
        print(
            "\(readable(replayed.events)) events in "
                + "\(readable(nanoseconds: UInt64(replayed.seconds * 1e9)))"
                + " (\(readable(rate)) a second)")
    }

    private func printJSON<Q: Program>(_ replayed: Replayed<Q>, _ ledger: Ledger) {
        var json = JSONText()
        json.beginObject()
        json.field("ledger", ledger.manifest.name)
        json.beginArray("shards")
        for shard in replayed.shards {
            json.beginObject()
            json.field("shard", shard.name)
            json.field("events", shard.events)
            json.field("commits", shard.commits)
            json.field("offset", shard.offset.rawValue)
            json.field("head", shard.head.description)
            json.field("messagingDigest", shard.messagingDigest.description)
            if let digest = shard.stateDigest {
                json.field("stateDigest", digest.description)
            } else {
                json.null("stateDigest")
            }
            json.field("anomalies", shard.anomalyCount)
            json.endObject()
        }
        json.endArray()
        json.field("events", replayed.events)
        json.field("seconds", thousandths: UInt64(replayed.seconds * 1000))
        json.endObject()
        json.endLine()
        json.printed()
    }

    private func runCheck<Q: Program>(
        _ ledger: Ledger, _ audit: AuditLedger, _ cut: Cut?, _ progress: Progress,
        as program: Q.Type
    ) throws {
        let checked = try ReplayCheck.run(Q.self, audit, at: cut) { progress.update($0) }
        progress.finish()
        var json = JSONText()
        var stimuli: UInt64 = 0
        for shard in checked {
            stimuli += shard.stimuli
            if self.json.isOn {
                json.beginObject()
                json.field("shard", shard.name)
                json.field("stimuli", shard.stimuli)
                json.field("events", shard.events)
                if let found = shard.divergence {
                    json.beginObject("divergence")
                    json.field("event", ledger.shards.address(found.shard, found.offset))
                    json.field("field", found.field)
                    json.field("recorded", found.recorded)
                    json.field("decided", found.decided)
                    json.endObject()
                }
                json.endObject()
                json.endLine()
            } else if let found = shard.divergence {
                print(
                    "\(ledger.shards.address(found.shard, found.offset)) differs in \(found.field):"
                        + " recorded \(Console.escaped(found.recorded)), decided now "
                        + Console.escaped(found.decided))
            }
        }
        json.printed()
        let differs = checked.contains { $0.divergence != nil }
        if !self.json.isOn, !differs {
            print("\(readable(stimuli)) stimuli decided again: the same, event for event")
        }
        for shard in checked {
            if let problem = shard.problem { Console.notRead(problem.text) }
        }
        if differs { throw Exit.findings }
        if checked.contains(where: { $0.problem != nil }) { throw Exit.partial }
    }
}

extension Replayed {
    /// Says on standard error what could not be read or used; exit code 4 when something was not read.
    fileprivate func endWithProblems() throws {
        for shard in shards {
            for note in shard.notes { Console.note(Console.escaped(note, max: 2000)) }
            if let problem = shard.problem { Console.notRead(problem.text) }
        }
        if isPartial { throw Exit.partial }
    }
}

/// `tally state`
struct StateVerb<P: Program>: LedgerVerb {
    static var configuration: CommandConfiguration {
        CommandConfiguration(
            commandName: "state", abstract: "Each shard's state at a position, by field.",
            discussion: "  tally state DIR --shard collateral-0 --at -1h")
    }

    @OptionGroup var ledger: LedgerArgument
    @Option(help: "Only this shard.")
    var shard: String?
    @OptionGroup var at: AtOption
    @OptionGroup var json: JSONFlag

    func run<Q: Program>(_ ledger: Ledger, as program: Q.Type) throws {
        let only = try shard.map { try ledger.shard(named: $0) }
        let audit = AuditLedger(ledger)
        let progress = Progress("events")
        let replayed = try Replay.run(
            Q.self, audit, at: try at.cut(of: audit), from: .snapshot
        ) { progress.update($0) }
        progress.finish()
        var json = JSONText()
        for (index, result) in replayed.shards.enumerated()
        where only == nil || result.shard == only {
            guard let state = replayed.states[index] else { continue }
            // Two sets of names: a program may have an `owed` of its own.
            let messaging = messagingFields(state.messaging, ledger)
            let fields = Q.fields(state.application)
            if self.json.isOn {
                json.beginObject()
                json.field("shard", result.name)
                json.field("offset", result.offset.rawValue)
                json.beginObject("messaging")
                for field in messaging { json.field(field.name, field.value) }
                json.endObject()
                json.beginObject("state")
                for field in fields { json.field(field.name, field.value) }
                json.endObject()
                json.endObject()
                json.endLine()
            } else {
                print(Console.styled(ledger.shards.address(result.shard, result.offset), .bold))
                printFields(messaging, indent: "  ")
                if !fields.isEmpty { print("  \(Q.name)") }
                printFields(fields, indent: "    ")
            }
        }
        json.printed()
        try replayed.endWithProblems()
    }

    private func printFields(_ fields: [(name: String, value: String)], indent: String) {
        let width = fields.map(\.name.count).max() ?? 0
        for field in fields {
            let pad = String(repeating: " ", count: width - field.name.count)
            print("\(indent)\(field.name)\(pad)  \(Console.escaped(field.value))")
        }
    }

    private func messagingFields(
        _ messaging: MessagingState, _ ledger: Ledger
    ) -> [(name: String, value: String)] {
        var fields = [
            ("session", String(messaging.epoch.rawValue)),
            ("pending", String(messaging.pendingCount)), ("owed", String(messaging.owedCount)),
        ]
        for index in messaging.peers.indices.dropFirst() {
            let peer = messaging.peers[index]
            let name = ledger.shards.name(of: ShardID(UInt32(index)))
            if peer.next > SequenceNumber(1) {
                fields.append(
                    (
                        "to.\(name)",
                        "sent \(peer.next.rawValue - 1), settled through "
                            + "\(peer.settledThrough.rawValue), pending \(peer.pending.count)"
                    ))
            }
            if peer.receivedThrough != .none || peer.floor != .none {
                fields.append(
                    (
                        "from.\(name)",
                        "received through \(peer.receivedThrough.rawValue), floor "
                            + "\(peer.floor.rawValue), owed \(peer.owed)"
                    ))
            }
        }
        return fields.map { (name: $0.0, value: $0.1) }
    }
}

/// `tally pending`
struct Pending<P: Program>: LedgerVerb {
    static var configuration: CommandConfiguration {
        CommandConfiguration(
            commandName: "pending", abstract: "Messages sent and not settled, by the sender's log.")
    }

    @OptionGroup var ledger: LedgerArgument
    @Option(help: "Only of this origin.")
    var shard: String?
    @OptionGroup var at: AtOption
    @OptionGroup var json: JSONFlag

    func run<Q: Program>(_ ledger: Ledger, as program: Q.Type) throws {
        let only = try shard.map { try ledger.shard(named: $0) }
        let audit = AuditLedger(ledger)
        let cut = try at.cut(of: audit)
        let replayed = try Replay.run(Opaque.self, audit, at: cut, from: .snapshot)
        let latest = (cut ?? audit.cut).latest
        var json = JSONText()
        var table = TextTable(["message", "sent at", "age", "deadline", "event"], right: [2])
        var count = 0
        for (index, result) in replayed.shards.enumerated()
        where only == nil || result.shard == only {
            guard let messaging = replayed.states[index]?.messaging else { continue }
            for peer in messaging.peers.indices.dropFirst() {
                messaging.peers[peer].pending.forEach { sequence, pending in
                    let name = MessageName(
                        from: result.shard, to: ShardID(UInt32(peer)), sequence)
                    let isOverdue = pending.deadline != .none && pending.deadline <= latest
                    count += 1
                    if self.json.isOn {
                        json.beginObject()
                        json.field("message", ledger.shards.text(name))
                        json.field("since", pending.sentAt.description)
                        json.field(
                            "ageSeconds",
                            thousandths: latest.nanoseconds(since: pending.sentAt) / 1_000_000)
                        if pending.deadline != .none {
                            json.field("deadline", pending.deadline.description)
                        }
                        json.field("overdue", isOverdue)
                        json.field("event", ledger.shards.address(result.shard, pending.offset))
                        json.endObject()
                        json.endLine()
                    } else {
                        table.add([
                            ledger.shards.text(name), pending.sentAt.description,
                            readable(nanoseconds: latest.nanoseconds(since: pending.sentAt)),
                            pending.deadline == .none ? "-" : isOverdue ? "overdue" : "ahead",
                            ledger.shards.address(result.shard, pending.offset),
                        ])
                    }
                    return true
                }
            }
        }
        if self.json.isOn {
            json.printed()
        } else if count == 0 {
            print("Nothing is pending.")
        } else {
            var output = Output()
            for line in table.lines { output.line(line) }
            output.line("\(readable(count)) pending; to see why: tally orphans \(ledger.directory)")
        }
        try replayed.endWithProblems()
    }
}
