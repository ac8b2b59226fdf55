import ArgumentParser
import Foundation
import Synchronization
import TallyCommand
import TallySimulator
import TallyStore

/// `tally simulate`
struct Simulate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "simulate",
        abstract: "Run shards against faulty disks, clocks and networks, from seeds.",
        discussion: """
            Each seed is one run of many shards in one thread, in virtual time: this program's own \
            engine, with every fault the seed chooses, and every law checked on the way. Then faults \
            stop, and everything has to settle. The same seed gives the same bytes in every log. A seed \
            that breaks a law is made smaller and shown, with the command that runs it again.

              tally simulate --seeds 1..100
              tally simulate --seeds 17..17 --shards 3 --messages 20 --only drop,kill --history

            Faults: \(Fault.allCases.map(\.rawValue).joined(separator: ", ")).
            """)

    @Option(help: ArgumentHelp("The seeds to run, both ends included.", valueName: "a..b"))
    var seeds: String = "1..100"

    @Option(help: "Shards of each run, 1 to 64; drawn from the seed unless given.")
    var shards: Int?

    @Option(help: "Messages after which the load of a run ends; those they cause come on top.")
    var messages = 1000

    @Option(help: ArgumentHelp("The faults that may happen, by name.", valueName: "fault,..."))
    var only: String?

    @Option(help: "Runs at once; as many as there are cores unless given.")
    var jobs: Int?

    @Flag(help: "Print what happens in the run, line by line; for a single seed.")
    var history = false

    @Flag(
        help: """
            Explore every interleaving of two shards and up to three messages instead: loss, \
            repetition, reordering, crashes and deadlines.
            """)
    var exhaustive = false

    @OptionGroup var json: JSONFlag

    private var range: ClosedRange<UInt64>? {
        let ends = seeds.split(separator: ".", omittingEmptySubsequences: true)
        if seeds.contains(".."), ends.count == 2, let first = UInt64(ends[0]),
            let last = UInt64(ends[1]), first <= last, last - first < 1 << 40
        {
            return first...last
        }
        return UInt64(seeds).map { $0...$0 }
    }

    private var faults: [Fault?]? {
        only?.split(separator: ",").map { Fault(rawValue: String($0)) }
    }

    func validate() throws {
        guard let range else {
            throw ValidationError("--seeds takes a range like 1..100, or one seed.")
        }
        guard (1...64).contains(shards ?? 1), (1...1_000_000).contains(messages),
            (1...1024).contains(jobs ?? 1)
        else {
            throw ValidationError(
                "--shards takes 1 to 64, --messages 1 to 1000000, --jobs 1 to 1024.")
        }
        if let faults, let index = faults.firstIndex(of: nil) {
            let word = only?.split(separator: ",")[index] ?? ""
            throw ValidationError(
                "There is no fault \"\(word)\"; there are"
                    + " \(Fault.allCases.map(\.rawValue).joined(separator: ", ")).")
        }
        guard !history || range.count == 1 else {
            throw ValidationError("--history is for a single seed.")
        }
    }

    func run() async throws {
        if exhaustive { return try await explore() }
        guard let range else { return }
        var options = Simulation.Options()
        options.shards = shards
        options.messages = messages
        options.only = faults.map { Set($0.compactMap { $0 }) }
        if history {
            let report = Simulation.run(seed: range.lowerBound, options: options) { print($0) }
            try finish([report])
            return
        }
        let progress = Progress("seeds", total: UInt64(range.count))
        let sum = Mutex(Campaign())
        let isJSON = json.isOn
        let began = Date()
        Campaign.run(
            range, options: options, threads: jobs ?? ProcessInfo.processInfo.activeProcessorCount
        ) { report in
            let count = sum.withLock { campaign in
                campaign.add(report)
                return campaign.seeds
            }
            if isJSON { print(report.json, terminator: "") }
            if let failure = report.failure {
                progress.finish()
                for line in failure.lines(of: report) { Console.note(line) }
            }
            progress.update(UInt64(count))
            return true
        }
        progress.finish()
        let seconds = Date().timeIntervalSince(began)
        let campaign = sum.withLock { $0 }
        if json.isOn {
            print(campaign.json(seconds), terminator: "")
        } else {
            for line in campaign.lines(seconds) { print(line) }
        }
        if campaign.failed > 0 { throw Exit.findings }
    }

    private func explore() async throws {
        let began = Date()
        let progress = Progress("states")
        let cores = jobs ?? ProcessInfo.processInfo.activeProcessorCount
        let reports = await Exploration.run(Exploration.standard, atATime: cores) { report in
            progress.update(report.states, of: report.name)
        }
        progress.finish()
        let seconds = Date().timeIntervalSince(began)
        let missing = Exploration.missing(in: reports)
        if json.isOn {
            for report in reports { print(report.json, terminator: "") }
        } else {
            var table = TextTable(
                ["exploration", "states", "steps", "depth", "complete", "continued"],
                right: [1, 2, 3, 5])
            for report in reports {
                table.add([
                    report.name, readable(report.states), readable(report.transitions),
                    "\(report.depth)", report.isComplete ? "yes" : "no, bounded",
                    readable(report.continuations),
                ])
            }
            for line in table.lines { print(line) }
            let states = reports.reduce(0) { $0 + $1.states }
            let goals = Exploration.Goal.allCases.count
            print(
                "\(readable(states)) states in \(Int(seconds.rounded())) s; goals reached:"
                    + " \(goals - missing.count) of \(goals)")
        }
        for report in reports {
            guard let violation = report.violation else { continue }
            Console.note("\(report.name) breaks the law \(violation.law): \(violation.text)")
            for line in violation.history { Console.note("  " + line) }
        }
        for goal in missing { Console.note("no exploration reached: \(goal)") }
        if !missing.isEmpty || reports.contains(where: { $0.violation != nil }) {
            throw Exit.findings
        }
    }

    private func finish(_ reports: [Simulation.Report]) throws {
        for report in reports {
            if json.isOn { print(report.json, terminator: "") }
            guard let failure = report.failure else { continue }
            Console.note("seed \(report.seed) breaks the law \"\(failure.law)\": \(failure.text)")
            throw Exit.findings
        }
    }
}

extension Exploration.Report {
    /// One line, and nothing in it that depends on the machine.
    var json: String {
        var json = JSONText()
        json.beginObject()
        json.field("exploration", name)
        json.field("states", states)
        json.field("steps", transitions)
        json.field("depth", depth)
        json.field("complete", isComplete)
        json.field("continued", continuations)
        json.field("ok", violation == nil)
        if let violation {
            json.field("law", "\(violation.law)")
            json.field("text", violation.text)
        }
        json.endObject()
        json.endLine()
        return json.text
    }
}

extension Simulation.Failure {
    /// What a person needs to see it again.
    func lines(of report: Simulation.Report) -> [String] {
        var command = "tally simulate --seeds \(report.seed)..\(report.seed)"
        if let shards = smallest.shards { command += " --shards \(shards)" }
        command += " --messages \(smallest.messages)"
        if let only = smallest.only {
            command += " --only \(only.map(\.rawValue).sorted().joined(separator: ","))"
        }
        let last = history.suffix(60)
        let left = history.count - last.count
        return ["seed \(report.seed) breaks the law \"\(law)\": \(text)"]
            + (left > 0 ? ["  ... \(left) lines before"] : []) + last.map { "  " + $0 }
            + ["run it again: \(command) --history"]
    }
}

extension Simulation.Report {
    /// One line, and nothing in it that depends on the machine.
    var json: String {
        var json = JSONText()
        json.beginObject()
        json.field("seed", seed)
        json.field("program", program)
        json.field("shards", shards)
        json.field("messages", messages)
        json.field("events", events)
        json.field("restarts", restarts)
        json.field("simulatedSeconds", thousandths: simulated / 1_000_000)
        json.field("digest", digest)
        json.field("ok", failure == nil)
        if let failure {
            json.field("law", failure.law)
            json.field("text", failure.text)
        }
        json.endObject()
        json.endLine()
        return json.text
    }
}

extension Campaign {
    private func perMinute(_ count: Double, _ seconds: Double) -> Int {
        seconds > 0 ? Int(count / seconds * 60) : 0
    }

    func lines(_ seconds: Double) -> [String] {
        let days = Double(simulated) / 86_400e9
        let compression = seconds > 0 ? Double(simulated) / 1e9 / seconds : 0
        let missed = missed
        let all = Self.goalCount + Self.siteCount
        return [
            "\(readable(seeds)) seeds in \(Int(seconds.rounded())) s"
                + " (\(readable(perMinute(Double(seeds), seconds))) a minute): "
                + (failed == 0 ? "every law held" : "\(failed) BROKE A LAW"),
            "\(readable(messages)) messages, \(readable(events)) events,"
                + " \(readable(restarts)) restarts,"
                + " \((days * 10).rounded() / 10) simulated days"
                + " (\(readable(Int(compression))) times as fast as real time)",
            "faults: "
                + Fault.allCases.compactMap { fault in
                    faults[fault].map { "\(fault.rawValue) \(readable($0))" }
                }.joined(separator: ", "),
            "goals and unusual acts reached: \(all - missed.count) of \(all)"
                + (missed.isEmpty ? "" : "; not reached: \(missed.joined(separator: ", "))"),
        ]
    }

    func json(_ seconds: Double) -> String {
        var json = JSONText()
        json.beginObject()
        json.field("summary", true)
        json.field("seeds", seeds)
        json.field("failed", failed)
        json.field("messages", messages)
        json.field("events", events)
        json.field("restarts", restarts)
        json.field("simulatedSeconds", thousandths: simulated / 1_000_000)
        json.field("seconds", thousandths: UInt64(seconds * 1000))
        json.field("seedsPerMinute", perMinute(Double(seeds), seconds))
        json.beginObject("faults")
        for fault in Fault.allCases { json.field(fault.rawValue, faults[fault] ?? 0) }
        json.endObject()
        json.beginArray("missed")
        for name in missed { json.field(nil, name) }
        json.endArray()
        json.endObject()
        json.endLine()
        return json.text
    }
}
