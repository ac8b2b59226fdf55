import ArgumentParser
import TallyAudit
import TallyCore
import TallyStore

/// `tally log`
struct Log<P: Program>: LedgerVerb {
    static var configuration: CommandConfiguration {
        CommandConfiguration(
            commandName: "log", abstract: "Events, of all shards in the order of time.",
            discussion: """
                  tally log DIR --shard trades-0 --kind sent --kind acknowledged --limit 20
                  tally log DIR --message trades-0/collateral-1/42
                  tally log DIR --since -5m --reverse --json
                  tally log DIR --follow --kind acknowledged

                --follow prints what there is by the filters (without any, the last 10 events; with \
                --limit, the last so many) and then every event as it is appended, until Ctrl-C. \
                Shards are merged by time: an event waits for the shards that are being written to \
                pass its time, but no longer than 500 ms.
                """)
    }

    @OptionGroup var ledger: LedgerArgument
    @Option(help: "Only this shard.")
    var shard: String?
    @Option(name: .customLong("kind"), help: "Only events of this kind; may be repeated.")
    var kinds: [String] = []
    @Option(help: "Only events that name this other shard.")
    var peer: String?
    @Option(help: "Only events of this message.")
    var message: String?
    @Option(parsing: .unconditional, help: "Only at or behind this time, or -5m before the latest.")
    var since: String?
    @Option(parsing: .unconditional, help: "Only at or before this time.")
    var until: String?
    @Option(help: "Only offsets from here, in each shard read.")
    var from: UInt64?
    @Option(help: "Only offsets through here.")
    var through: UInt64?
    @Option(help: "At most so many events.")
    var limit: Int?
    @Flag(help: "The latest first.")
    var reverse = false
    @Flag(name: .shortAndLong, help: "Go on with every event as it is appended.")
    var follow = false
    @OptionGroup var json: JSONFlag

    func validate() throws {
        if follow, reverse || until != nil {
            throw ValidationError(
                "--follow goes on with what comes; leave out \(reverse ? "--reverse" : "--until").")
        }
    }

    func run<Q: Program>(_ ledger: Ledger, as program: Q.Type) throws {
        let query = try query(ledger)
        let audit = AuditLedger(ledger)
        var timed = query
        timed.since = try time(since, audit)
        timed.until = try time(until, audit)
        var output = Output()
        let directory = ledger.shards
        func write(_ event: RecordedEvent, _ output: inout Output) {
            if json.isOn {
                output.raw(event.interchange(directory))
            } else {
                output.line(event.text(directory, program))
            }
        }
        if follow {
            try Following(query: timed, hasFilters: hasFilters).run(ledger, audit, write)
            return
        }
        let problems = try timed.run(audit) { event in
            write(event, &output)
            return true
        }
        output.flush()
        for (_, problem) in problems { Console.notRead(problem.text) }
        if !problems.isEmpty { throw Exit.partial }
    }

    private var hasFilters: Bool {
        shard != nil || !kinds.isEmpty || peer != nil || message != nil || since != nil
            || from != nil || through != nil
    }

    private func query(_ ledger: Ledger) throws -> EventQuery {
        var query = EventQuery()
        query.shard = try shard.map { try ledger.shard(named: $0) }
        query.peer = try peer.map { try ledger.shard(named: $0) }
        query.message = try message.map { try ledger.message(named: $0) }
        if !kinds.isEmpty {
            query.kinds = Set(
                try kinds.map { name in
                    guard let kind = EventKind(name: name) else {
                        throw UsageError(
                            "\(name) is no kind of event; the kinds are "
                                + EventKind.allCases.map(\.name).joined(separator: ", "))
                    }
                    return kind
                })
        }
        let low = from ?? 1
        let high = through ?? UInt64.max
        guard low <= high else {
            throw UsageError("--from \(low) lies behind --through \(high); exchange them")
        }
        query.offsets = from == nil && through == nil ? nil : low...high
        if let limit, limit < 0 { throw UsageError("--limit is at least 0; see: tally log --help") }
        query.limit = limit
        query.isReverse = reverse
        return query
    }

    private func time(_ text: String?, _ audit: AuditLedger) throws -> Timestamp? {
        guard let text else { return nil }
        if let time = Timestamp(text) { return time }
        if text.hasPrefix("-"), let span = Position.span(text.dropFirst()) {
            let latest = audit.cut.latest.rawValue
            return Timestamp(latest > span ? latest - span : 0)
        }
        throw UsageError(
            "\(text) is no time; write it like 2026-11-23T12:00:00Z, or -5m before the latest")
    }
}

/// `tally show`
struct Show<P: Program>: LedgerVerb {
    static var configuration: CommandConfiguration {
        CommandConfiguration(
            commandName: "show", abstract: "One event with all its fields.",
            discussion: "  tally show DIR trades-0@17")
    }

    @OptionGroup var ledger: LedgerArgument
    @Argument(help: "The event: shard@offset.")
    var address: String
    @OptionGroup var json: JSONFlag

    func run<Q: Program>(_ ledger: Ledger, as program: Q.Type) throws {
        guard let (shard, offset) = ledger.shards.address(address), offset != .none else {
            throw UsageError(
                "\(address) is no event of \(ledger.directory); write it like "
                    + "\(ledger.shards.names[0])@17, with shards of "
                    + ledger.shards.names.prefix(20).joined(separator: ", "))
        }
        let audit = AuditLedger(ledger)
        if let problem = audit[shard].problem { throw problem }
        var query = EventQuery()
        query.shard = shard
        query.offsets = offset.rawValue...offset.rawValue
        var found: RecordedEvent?
        let problems = try query.run(audit) { event in
            found = event
            return false
        }
        if let problem = problems.first?.problem { throw problem }
        guard let event = found else {
            throw UsageError(
                "\(address) does not exist: the log of \(ledger.shards.name(of: shard)) ends at "
                    + ledger.shards.address(shard, audit[shard].end?.offset ?? .none))
        }
        if json.isOn {
            Console.write(event.interchange(ledger.shards), to: 1)
        } else {
            for (name, value) in event.rows(ledger.shards, program) {
                print(
                    Console.styled(
                        name + String(repeating: " ", count: max(1, 16 - name.count)), .dim)
                        + value)
            }
        }
    }
}

extension RecordedEvent {
    /// Every field that says something, by the names of the interchange form.
    func rows<Q: Program>(
        _ directory: ShardDirectory, _ program: Q.Type
    ) -> [(String, String)] {
        let event = event
        var rows = [
            ("event", directory.address(shard, offset)), ("kind", event.kind.name),
            ("time", record.timestamp.description),
            ("commit", directory.address(shard, commit)), ("epoch", String(epoch.rawValue)),
        ]
        func add(_ name: String, _ value: String, if isThere: Bool) {
            if isThere { rows.append((name, value)) }
        }
        if let message { rows.append(("message", directory.text(message))) }
        add("peer", directory.name(of: event.peer), if: event.peer.rawValue != 0)
        add("outcome", event.outcome.name, if: event.outcome != .none)
        add("reason", event.reason.name, if: event.reason != .none)
        add("attempt", String(event.attempt), if: event.attempt != 0)
        add("through", String(event.through.rawValue), if: event.through != .none)
        add("deadline", event.deadline.description, if: event.deadline != .none)
        add("cause", directory.address(shard, event.cause), if: event.cause != .none)
        add("correlation", event.correlation.description, if: event.correlation != .none)
        add(identityName, event.identity.description, if: event.identity != .none)
        add("foldVersion", String(event.foldVersion), if: event.kind == .opened)
        add("clean", event.clean ? "true" : "false", if: event.kind == .opened)
        add("sentAt", event.sentAt.description, if: event.sentAt != .none)
        add("peerEpoch", String(event.peerEpoch.rawValue), if: event.peerEpoch != .none)
        add(
            "peerOffset", directory.address(event.peer, event.peerOffset),
            if: event.peerOffset != .none)
        add(
            "settledThrough", String(event.settledThrough.rawValue),
            if: event.settledThrough != .none)
        add(heldName, event.held.description, if: event.held != .none)
        add("offered", event.offered.description, if: event.offered != .none)
        add(
            "statement", directory.address(event.peer, event.statementOffset),
            if: event.statementOffset != .none)
        add(
            "receivedThrough", String(event.receivedThrough.rawValue),
            if: event.receivedThrough != .none)
        add("floor", String(event.floor.rawValue), if: event.floor != .none)
        add(
            "difference", readable(nanoseconds: event.difference), if: event.difference != 0)
        add(
            "payload",
            "\(record.payload.count) bytes  "
                + Console.escaped(described(program), max: 1000),
            if: !record.payload.isEmpty)
        add(
            "result",
            "\(record.result.count) bytes  "
                + Console.escaped(program.describe(record.result), max: 1000),
            if: !record.result.isEmpty)
        if let head { rows.append(("head", head.description)) }
        return rows
    }

    private var heldName: String {
        switch event.kind {
        case .witnessed: "peerHead"
        case .intervened: "markHead"
        default: "held"
        }
    }

    private var identityName: String {
        switch event.kind {
        case .commanded: "client"
        case .reemitted: "plan"
        case .witnessed, .intervened: "peerNonce"
        default: "nonce"
        }
    }
}
