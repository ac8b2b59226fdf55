import ArgumentParser
import Foundation
import TallyCommand
import TallyCore
import TallyRuntime
import TallyStore
import TallyVenue

/// `tally venue`
struct VenueVerb: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "venue", abstract: "Run the example venue on a ledger.",
        subcommands: [VenueRun.self, VenueCheck.self])
}

/// `tally venue run`
struct VenueRun: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run",
        abstract: "Trade on a ledger over a transport that loses, repeats and delays messages.",
        discussion: """
            Opens the ledger, or makes one with two trade shards and two collateral shards where there \
            is none. What an earlier run left pending is sent again first. Ends when every message is \
            settled, or after a minute.

              tally venue run venue.ledger --trades 5000 --loss 0.05 --repeat 0.05 --delay 5
            """)

    @Argument(help: ArgumentHelp("The ledger's directory.", valueName: "dir"))
    var directory: String

    @Option(help: "How many trades to request.")
    var trades = 1000

    @Option(help: "The workload's seed; the session's number unless given, so that runs differ.")
    var seed: UInt64?

    @Option(help: "Probability that an envelope is lost, 0 to 1.")
    var loss = 0.0

    @Option(
        name: .customLong("repeat"), help: "Probability that an envelope arrives twice, 0 to 1.")
    var repetition = 0.0

    @Option(help: "Milliseconds of delay at most; envelopes overtake each other.")
    var delay = 0

    @Option(help: "A file that gets one JSON line per command as its result is released.")
    var released: String?

    @Flag(help: "Print what the metrics show, a line a second.")
    var metrics = false

    @OptionGroup var json: JSONFlag

    func validate() throws {
        guard !metrics || !json.isOn else {
            throw ValidationError("--metrics prints a table; leave --json out.")
        }
        guard (0...1).contains(loss), (0...1).contains(repetition) else {
            throw ValidationError("Probabilities lie between 0 and 1.")
        }
        guard trades >= 0, (0...60_000).contains(delay) else {
            throw ValidationError("--trades is at least 0, --delay 0 to 60000 milliseconds.")
        }
    }

    func run() async throws {
        let progress = Progress("trades", total: UInt64(trades))
        let shown = metrics ? VenueMetrics() : nil
        let lines = shown.map { shown in
            print(VenueMetrics.header)
            return Task {
                while true {
                    try await Task.sleep(nanoseconds: 1_000_000_000)
                    print(shown.line())
                }
            }
        }
        let runner = VenueRunner(
            directory: directory, trades: trades, seed: seed,
            faults: TransportFaults(
                loss: loss, repetition: repetition, delayMax: UInt64(delay) * 1_000_000,
                seed: seed ?? 1),
            released: try released.map { try ReleasedLines(path: $0) }, metrics: shown,
            progress: { progress.update($0) })
        let outcome = try await runner.run()
        progress.finish()
        lines?.cancel()
        if let shown { print(shown.total()) }
        if json.isOn {
            print(outcome.json(directory), terminator: "")
        } else {
            for line in outcome.lines { print(line) }
        }
        if !outcome.stops.isEmpty { throw Exit.findings }
        if !outcome.isSettled {
            Console.note(
                "some messages are still pending or owed after a minute; run: tally orphans \(directory)"
            )
            throw Exit.findings
        }
    }
}

extension VenueRunner.Outcome {
    var lines: [String] {
        let rate = seconds > 0 ? Int(Double(performed) / seconds) : 0
        return [
            "\(readable(performed)) commands performed, \(readable(refused)) refused by the venue, in"
                + " \((seconds * 10).rounded() / 10) s (\(readable(rate)) a second), seed \(seed)",
            "trades: \(readable(summary.confirmed)) confirmed, \(readable(summary.closed)) closed, "
                + "\(readable(summary.rejected)) rejected, \(readable(summary.timedOut)) timed out, "
                + "\(readable(summary.requested + summary.closing)) open",
            "money: \(readable(summary.deposits)) deposited = \(readable(summary.free)) free + "
                + "\(readable(summary.reserved)) reserved + \(readable(summary.inFlight)) in flight: "
                + (summary.conserved ? "conserved" : "NOT CONSERVED"),
        ]
    }

    func json(_ directory: String) -> String {
        var json = JSONText()
        json.beginObject()
        json.field("ledger", directory)
        json.field("seed", seed)
        json.field("performed", performed)
        json.field("refused", refused)
        json.field("confirmed", summary.confirmed)
        json.field("closed", summary.closed)
        json.field("rejected", summary.rejected)
        json.field("timedOut", summary.timedOut)
        json.field("open", summary.requested + summary.closing)
        json.field("deposits", UInt64(clamping: summary.deposits))
        json.field("free", UInt64(clamping: summary.free))
        json.field("reserved", UInt64(clamping: summary.reserved))
        json.field("inFlight", UInt64(clamping: summary.inFlight))
        json.field("conserved", summary.conserved)
        json.field("settled", isSettled)
        json.field("seconds", thousandths: UInt64(seconds * 1000))
        json.endObject()
        json.endLine()
        return json.text
    }
}
