import Foundation
import Synchronization
import TallyCore
import TallyStore

/// `kill-storm`: SIGKILL at a random moment, under load; the list of what was released is kept outside.
///
/// The same ledger is killed and gone on with time and again: every round begins with the recovery of the
/// one before, so that the kills also fall into openings. Every few rounds it is examined, and after
/// `ledgerRounds` another one begins, so that examining does not outgrow killing.
enum KillStorm {
    private static let ledgerRounds = 12
    private static let examineEvery = 3

    static func run(_ arguments: [String]) throws -> Int32 {
        let names = FaultOptions.names + ["--kills", "--seed"]
        let arguments = try Arguments(arguments, options: names)
        let options = try FaultOptions(arguments)
        defer { Files.removeTree(options.scratch) }
        let wanted = try arguments.number("--kills", default: 1000)
        let seed = try arguments.number("--seed", default: Int(getpid()))
        let tally = FaultTally()
        let left = Atomic(wanted)
        try options.onEveryWorker { worker in
            var random = SplitMix64(seed: UInt64(seed) &+ UInt64(worker))
            var ledger = 0
            while left.load(ordering: .relaxed) > 0 {
                let workload: Workload = (worker + ledger) % 2 == 0 ? .live : .twoShards
                let number = worker + ledger * options.workers
                try storm(workload, options, number, &random, left, tally)
                ledger += 1
            }
        }
        let kills = tally.counted("kills")
        Lines.say(
            "kill-storm: \(kills) kills under load (seed \(seed)), \(tally.counted("released"))"
                + " releases held, in \(Int(tally.seconds)) s;"
                + " \(tally.counted("early")) came before the first release,"
                + " \(tally.failureCount) broke a promise")
        return tally.failureCount == 0 && kills >= wanted ? 0 : 1
    }

    private static func storm(
        _ workload: Workload, _ options: FaultOptions, _ number: Int, _ random: inout SplitMix64,
        _ left: borrowing Atomic<Int>, _ tally: FaultTally
    ) throws {
        let bench = try FaultBench(options, workload, number, rounds: 1_000_000)
        try bench.begin()
        for round in 1...ledgerRounds {
            let moment = UInt32(1_000 + random.next() % 24_000)
            let released = bench.releases
            let ended = try bench.work("none", killAfter: moment)
            guard ended == .killed else {
                return tally.fail(
                    "kill-storm: \(workload.rawValue), round \(round), to be killed after"
                        + " \(moment) us: \(ended.text): \(bench.complaint)")
            }
            tally.count("kills")
            let now = bench.releases
            tally.count("released", now - released)
            if now == released { tally.count("early") }
            let isLast = left.subtract(1, ordering: .relaxed).newValue <= 0
            guard round % examineEvery == 0 || isLast else { continue }
            let recovered = try bench.recover("none")
            guard recovered == .exit(0) else {
                return tally.fail(
                    "kill-storm: \(workload.rawValue), after round \(round):"
                        + " \(recovered.text): \(bench.complaint)")
            }
            if isLast { return }
        }
    }
}
