import ArgumentParser
import TallyAudit
import TallyCore
import TallyRuntime
import TallyStore

/// `tally recover`
struct Recover<P: Program>: ParsableCommand {
    static var configuration: CommandConfiguration {
        CommandConfiguration(
            commandName: "recover", abstract: "Settle what a crash left pending.",
            subcommands: [
                RecoverPlan<P>.self, RecoverApply<P>.self, RecoverForce<P>.self,
                RecoverAccept<P>.self,
            ])
    }
}

/// `tally recover plan`
struct RecoverPlan<P: Program>: LedgerVerb {
    static var configuration: CommandConfiguration {
        CommandConfiguration(
            commandName: "plan", abstract: "Write down what would be done, changing nothing.")
    }

    @OptionGroup var ledger: LedgerArgument
    @OptionGroup var display: DisplayOptions
    @Option(name: [.customShort("o"), .customLong("output")], help: "The plan's file.")
    var output: String

    func run<Q: Program>(_ ledger: Ledger, as program: Q.Type) throws {
        let audit = AuditLedger(ledger)
        let plan = try RecoveryPlan.make(audit)
        try OutputFile(output).write(plan.encoded())
        let waiting = plan.entries.count - plan.messages.count
        print(
            "Plan \(plan.id): \(readable(plan.messages.count, "message")) to re-emit, "
                + "\(readable(waiting)) to wait for")
        if plan.messages.isEmpty {
            print("Nothing is to be sent again.")
        } else {
            print(
                "Look at \(output), then: tally recover apply \(ledger.directory) \(output)"
                    + " --reason TEXT")
        }
        audit.reportProblems()
        try audit.throwIfPartial()
    }
}

/// `tally recover apply`
struct RecoverApply<P: Program>: LedgerVerb {
    static var configuration: CommandConfiguration {
        CommandConfiguration(
            commandName: "apply", abstract: "Send a plan's messages again and see them settled.",
            discussion: """
                The shards concerned are opened, and everything goes through their own steps: a \
                destination answers again from its log, records the expiry, or decides for the first \
                time. Refused when a log moved since the plan was made; may be run again after a crash.
                """)
    }

    @OptionGroup var ledger: LedgerArgument
    @Argument(help: "The plan's file.")
    var plan: String
    @OptionGroup var reason: ReasonOption
    @OptionGroup var json: JSONFlag

    func run<Q: Program>(_ ledger: Ledger, as program: Q.Type) throws {
        guard Files.exists(plan) else {
            throw UsageError(
                "there is no file \(plan); to make it: tally recover plan \(ledger.directory)"
                    + " -o \(plan)")
        }
        let bytes = try Files.read(plan, max: 1 << 30)
        let parsed = try RecoveryPlan(decoding: bytes, ledger.shards)
        guard parsed.ledger == ledger.manifest.id else {
            throw UsageError(
                "\(plan) was made for another ledger; make one for this: tally recover plan "
                    + "\(ledger.directory) -o PLAN")
        }
        let currency = try parsed.currency(for: AuditLedger(ledger))
        guard currency.isCurrent else {
            let move = (currency.replaced + currency.moved).first
            throw UsageError(
                "\(plan) was made for another state of the ledger"
                    + (move.map {
                        ": \(ledger.shards.address($0.shard, $0.offset)) \($0.text)"
                    } ?? "") + "; nothing was changed; make a new one: tally recover plan "
                    + "\(ledger.directory) -o \(plan)")
        }
        let report = try Recovery.apply(
            parsed.messages, plan: parsed.id, reason: reason.text, to: ledger, program: Q.self)
        if json.isOn {
            var json = JSONText()
            json.beginObject()
            json.field("plan", parsed.id.description)
            json.field("reason", reason.text)
            json.field("settled", report.settled.count)
            json.field("owed", report.owed.count)
            json.field("unsettled", report.unsettled.count)
            json.endObject()
            json.endLine()
            json.printed()
        } else {
            print(
                "Plan \(parsed.id) applied: \(readable(report.settled.count)) settled, "
                    + "\(readable(report.owed.count)) owed by their destination, "
                    + "\(readable(report.unsettled.count)) still pending")
        }
        for stop in report.stops { Console.note(Console.escaped(stop, max: 2000)) }
        if !report.unsettled.isEmpty { throw Exit.findings }
    }
}

/// `tally recover force`
struct RecoverForce<P: Program>: LedgerVerb {
    static var configuration: CommandConfiguration {
        CommandConfiguration(
            commandName: "force", abstract: "Time a message out without evidence.",
            discussion: """
                For a destination that cannot be reached and will not come back. If it had applied the \
                message after all, audits report it as overruled.
                """)
    }

    @OptionGroup var ledger: LedgerArgument
    @Argument(help: "The message: origin/destination/sequence.")
    var message: String
    @OptionGroup var reason: ReasonOption
    @OptionGroup var display: DisplayOptions

    func run<Q: Program>(_ ledger: Ledger, as program: Q.Type) throws {
        let name = try ledger.message(named: message)
        do {
            try Recovery.force(name, reason: reason.text, in: ledger, program: Q.self)
        } catch let refusal as Refusal {
            throw UsageError(refusal.text)
        }
        print("\(message) is timed out by force")
    }
}

/// `tally recover accept`
struct RecoverAccept<P: Program>: LedgerVerb {
    static var configuration: CommandConfiguration {
        CommandConfiguration(
            commandName: "accept",
            abstract:
                "Serve from a log that is behind its mark or its peers, or ahead of the clock.",
            discussion: """
                What the mark or a peer has seen and the log does not hold is given up; audits call it \
                lost from then on. Bring the right log back instead, if there is one.
                """)
    }

    @OptionGroup var ledger: LedgerArgument
    @Argument(help: "The shard.")
    var shard: String
    @OptionGroup var reason: ReasonOption
    @OptionGroup var display: DisplayOptions

    func run<Q: Program>(_ ledger: Ledger, as program: Q.Type) throws {
        let id = try ledger.shard(named: shard)
        let loss = try Recovery.accept(id, reason: reason.text, in: ledger, program: Q.self)
        if let mark = loss.mark {
            print(
                "\(shard): accepted to serve from behind its mark, \(shard)@\(mark.offset.rawValue)"
            )
        }
        for (peer, statement) in loss.statements {
            print(
                "\(shard): accepted as lost what \(ledger.shards.name(of: peer)) has seen up to "
                    + "\(shard)@\(statement.offset.rawValue) of session "
                    + "\(statement.session.epoch.rawValue)")
        }
        let ahead = try Recovery.admitClock(id, reason: reason.text, in: ledger, program: Q.self)
        if ahead > 0 {
            print("\(shard): admitted that its log runs \(readable(nanoseconds: ahead)) ahead")
        }
        if loss.isNone, ahead == 0 {
            print(
                "\(shard): nothing is missing as far as its mark and its peers tell; nothing was changed"
            )
        }
        if !loss.unread.isEmpty {
            Console.note(
                "not read: the logs of "
                    + loss.unread.map { ledger.shards.name(of: $0) }.joined(separator: ", ")
                    + "; what they have seen is not known: accept again once they are at hand")
            throw Exit.partial
        }
    }
}
