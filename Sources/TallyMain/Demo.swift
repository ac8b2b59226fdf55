import ArgumentParser
import Foundation
import TallyAudit
import TallyCommand
import TallyCore
import TallyRuntime
import TallyStore
import TallyVenue

/// `tally demo`
struct Demo: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "demo",
        abstract: "The whole story on a fresh ledger: trade, kill, replay, recover, verify.",
        discussion: """
            A venue of two trade shards and two collateral shards trades over a transport that loses, \
            repeats and delays messages. Its process is killed with SIGKILL in mid-flight. Then every \
            shard is replayed from its log, the orphans are found in both halves, a plan re-emits them, \
            the venue goes on until all is settled, and every level of verify is run.
            """)

    @Argument(help: ArgumentHelp("The directory to make.", valueName: "dir"))
    var directory = "demo-ledger"

    @Option(help: "How many trades to request in all.")
    var trades = 20_000

    @OptionGroup var display: DisplayOptions

    func validate() throws {
        guard trades >= 100 else { throw ValidationError("--trades is at least 100.") }
    }

    private static let name = "tally demo"
    private static let loss = 0.05
    private static let delay = 5

    private func say(_ text: String = "") { Console.write(Array((text + "\n").utf8), to: 1) }
    private func title(_ text: String) { say("\n" + Console.styled(text, .bold)) }

    func run() async throws {
        let started = Date()
        try prepare()
        say(
            "\(readable(trades)) trades between two trade shards and two collateral shards, over a transport\n"
                + "that loses 5 %, repeats 5 % and delays every envelope up to \(Self.delay) ms. "
                + "Every commit is flushed.")
        title("1. Trade, and be killed")
        let ledger = try VenueRunner.ledger(directory, name: Self.name)
        try tradeAndKill()
        title("2. Replay every shard from its log")
        let requested = try replay(ledger)
        title("3. Find the orphans, in both halves")
        let classes = try orphans(ledger)
        title("4. Plan the recovery, apply it")
        let plan = directory + "/../" + URL(fileURLWithPath: directory).lastPathComponent + ".plan"
        try recover(ledger, plan)
        Files.remove(plan)
        title("5. Trade on until all is settled")
        let outcome = try await tradeOn(requested)
        for line in outcome.lines { say("   " + line) }
        title("6. Verify every level")
        let report = try verify(ledger)
        try summary(outcome, classes, report, ledger, started)
        guard report.isClean, outcome.isSettled, outcome.summary.conserved else {
            throw Exit.findings
        }
    }

    /// Makes the place: what an earlier demo left is replaced, anything else is not touched.
    private func prepare() throws {
        guard Files.exists(directory), !Files.list(directory).isEmpty else { return }
        guard let earlier = try? Ledger(directory), earlier.manifest.name == Self.name else {
            throw StoreError(
                .exists, "\(directory) exists and is no earlier demo; name another place")
        }
        for shard in earlier.shards.all {
            if let holder = earlier.writer(of: shard) {
                throw StoreError(
                    .held,
                    "\(directory) is being written by \(holder); stop it first, or name another"
                        + " place")
            }
        }
        Files.removeTree(directory)
    }

    private func tradeAndKill() throws {
        let released = directory + ".released"
        Files.remove(released)
        defer { Files.remove(released) }
        let child = Process()
        child.executableURL = Bundle.main.executableURL
        child.arguments = [
            "venue", "run", directory, "--trades", String(trades), "--seed", "1", "--loss",
            String(Self.loss), "--repeat", "0.05", "--delay", String(Self.delay), "--released",
            released,
        ]
        child.standardOutput = FileHandle.nullDevice
        try child.run()
        // About two commands a trade; the middle of the run is the time to die.
        let enough = UInt64(trades)
        let progress = Progress("commands performed", total: enough, printsLines: true)
        var performed: UInt64 = 0
        while child.isRunning, performed < enough {
            usleep(5_000)
            performed = Self.lines(released)
            progress.update(performed)
        }
        progress.finish()
        guard child.isRunning else {
            throw StoreError(
                .system,
                "the trading process ended by itself before it was killed; what it printed says"
                    + " why, or ask for more --trades")
        }
        kill(child.processIdentifier, SIGKILL)
        child.waitUntilExit()
        say(
            "   process \(child.processIdentifier) killed with SIGKILL after about"
                + " \(readable(performed)) commands")
        let check = try ReleasedCheck(released, Ledger(directory))
        say("   " + check.text)
        guard check.isClean else { throw Exit.findings }
    }

    private static func lines(_ path: String) -> UInt64 {
        guard let bytes = try? Files.read(path, max: 1 << 30) else { return 0 }
        return UInt64(bytes.count { $0 == UInt8(ascii: "\n") })
    }

    /// - Returns: Trades requested so far.
    private func replay(_ ledger: Ledger) throws -> Int {
        let audit = AuditLedger(ledger)
        let replayed = try Replay.run(Venue.self, audit)
        var table = TextTable(
            ["shard", "events", "commits", "head", "state", "pending", "owed"],
            right: [1, 2, 5, 6])
        for (index, shard) in replayed.shards.enumerated() {
            if let problem = shard.problem { throw problem }
            let messaging = replayed.states[index]?.messaging
            table.add([
                shard.name, readable(shard.events), readable(shard.commits),
                String(shard.head.description.prefix(16)),
                String((shard.stateDigest ?? .none).description.prefix(16)),
                String(messaging?.pendingCount ?? 0), String(messaging?.owedCount ?? 0),
            ])
        }
        for line in table.lines { say("   " + line) }
        say(
            "   \(readable(replayed.events)) events folded in "
                + readable(nanoseconds: UInt64(replayed.seconds * 1e9)))
        return Self.summary(replayed).trades
    }

    private static func summary(_ replayed: Replayed<Venue>) -> VenueSummary {
        VenueSummary(
            replayed.states.compactMap { state in
                state.map { ($0.context, $0.application) }
            })
    }

    private func orphans(_ ledger: Ledger) throws -> [(OrphanClass, Int)] {
        let list = try OrphanList(AuditLedger(ledger), comparesBytes: false)
        var table = TextTable(["class", "messages", "for example", "evidence"], right: [1])
        var classes: [(OrphanClass, Int)] = []
        for orphan in OrphanClass.allCases {
            let entries = list.entries.filter { $0.orphan.class == orphan }
            guard let first = entries.first?.orphan else { continue }
            classes.append((orphan, entries.count))
            table.add([
                orphan.rawValue, readable(entries.count), ledger.shards.text(first.message),
                first.evidence.map { ledger.shards.address($0.shard, $0.offset) }
                    .joined(separator: " "),
            ])
        }
        for line in table.lines { say("   " + line) }
        return classes
    }

    private func recover(_ ledger: Ledger, _ path: String) throws {
        let plan = try RecoveryPlan.make(AuditLedger(ledger))
        try Files.replace(path, with: plan.encoded())
        let waiting = plan.entries.count - plan.messages.count
        say(
            "   plan \(plan.id): \(readable(plan.messages.count)) messages to re-emit, "
                + "\(waiting) to wait for")
        let read = try RecoveryPlan(decoding: Files.read(path, max: 1 << 30), ledger.shards)
        let report = try Recovery.apply(
            read.messages, plan: read.id, reason: "demo: the process was killed", to: ledger,
            program: Venue.self)
        say(
            "   applied: \(readable(report.settled.count)) settled, \(report.owed.count) owed by"
                + " their destination, \(report.unsettled.count) still pending")
    }

    private func tradeOn(_ requested: Int) async throws -> VenueRunner.Outcome {
        let rest = max(0, trades - requested)
        let progress = Progress("trades", total: UInt64(rest), printsLines: true)
        let runner = VenueRunner(
            directory: directory, trades: rest, seed: 2,
            faults: TransportFaults(
                loss: Self.loss, repetition: 0.05, delayMax: UInt64(Self.delay) * 1_000_000,
                seed: 2),
            progress: { progress.update($0) })
        let outcome = try await runner.run()
        progress.finish()
        return outcome
    }

    private func verify(_ ledger: Ledger) throws -> VerifyReport {
        let progress = Progress("events")
        let report = try Verify.run(Venue.self, AuditLedger(ledger)) {
            progress.update($1, of: "verify \($0.rawValue), events")
        }
        progress.finish()
        for level in report.levels {
            let name = level.level.rawValue
            let result =
                !level.isChecked
                ? "not checked" : level.findings == 0 ? "clean" : "\(level.findings) findings"
            say(
                "   " + name + String(repeating: " ", count: 11 - name.count)
                    + Console.styled(result, level.findings == 0 ? .green : .red)
                    + "  \(readable(level.items)) \(level.level.unit)")
        }
        for finding in report.findings.prefix(5) {
            say("   \(finding.code)  \(finding.place(ledger.shards))  \(finding.text)")
        }
        return report
    }

    private func summary(
        _ outcome: VenueRunner.Outcome, _ classes: [(OrphanClass, Int)], _ report: VerifyReport,
        _ ledger: Ledger, _ started: Date
    ) throws {
        let list = try OrphanList(AuditLedger(ledger), comparesBytes: false)
        var total = ChannelSummary()
        for channel in list.channels {
            total.sent += channel.summary.sent
            total.acknowledged += channel.summary.acknowledged
            total.timedOut += channel.summary.timedOut
            total.pending += channel.summary.pending
        }
        let venue = outcome.summary
        let seconds = (Date().timeIntervalSince(started) * 10).rounded() / 10
        title("Summary")
        say(
            "   trades    \(readable(venue.confirmed + venue.closed)) confirmed (\(readable(venue.closed))"
                + " of them closed since), \(readable(venue.rejected)) rejected, "
                + "\(readable(venue.timedOut)) timed out")
        say(
            "   messages  \(readable(total.sent)) sent: \(readable(total.acknowledged)) acknowledged, "
                + "\(readable(total.timedOut)) timed out, \(readable(total.pending)) pending")
        say(
            "   orphans   "
                + classes.map { "\(readable($0.1)) \($0.0.rawValue)" }.joined(separator: ", ")
                + " after the kill; \(readable(list.entries.count)) now")
        say(
            "   money     \(readable(venue.deposits)) deposited = \(readable(venue.free)) free + "
                + "\(readable(venue.reserved)) reserved + \(readable(venue.inFlight)) in flight: "
                + (venue.conserved ? "conserved" : "NOT CONSERVED"))
        say("   verify    " + (report.isClean ? "clean at every level" : "NOT CLEAN"))
        say("   time      \(seconds) s")
        // As the person here has called it, so that the lines can be pasted.
        let called = CommandLine.arguments.first ?? "tally"
        let tally = called.contains("/") ? called : "tally"
        say("\nThe ledger is in \(directory). Try next:")
        say("   \(tally) log \(directory) --limit 20")
        say("   \(tally) trace \(directory) trades-0/collateral-1/42")
        say("   \(tally) state \(directory) --shard collateral-0 --at -1s")
    }
}
