import TallySimulator
import Testing

/// Small campaigns; `tally simulate` runs the large ones.
@Suite("Simulation")
struct SimulationTests {
    @Test("seeds of every kind keep every law and settle", arguments: [1, 9, 17, 25] as [UInt64])
    func seeds(first: UInt64) {
        var options = Simulation.Options()
        options.messages = 60
        for seed in first..<first + 8 {
            let report = Simulation.run(seed: seed, options: options)
            #expect(report.failure == nil, "seed \(seed): \(report.failure?.text ?? "")")
            #expect(report.messages > 0 && report.events > report.messages)
        }
    }

    @Test("the same seed gives the same bytes in every log", arguments: [2, 4, 8] as [UInt64])
    func determinism(seed: UInt64) {
        var options = Simulation.Options()
        options.messages = 80
        let first = Simulation.run(seed: seed, options: options)
        let second = Simulation.run(seed: seed, options: options)
        #expect(first.digest == second.digest)
        #expect(first.events == second.events && first.simulated == second.simulated)
        var others = options
        others.messages = 160
        #expect(Simulation.run(seed: seed, options: others).digest != first.digest)
    }

    @Test("telling what happens changes nothing")
    func history() {
        var options = Simulation.Options()
        options.messages = 40
        var lines: [String] = []
        let told = Simulation.run(seed: 3, options: options) { lines.append($0) }
        #expect(told.digest == Simulation.run(seed: 3, options: options).digest)
        #expect(lines.contains { $0.contains(" acknowledged ") })
    }

    @Test("only the faults that are asked for happen")
    func only() {
        var options = Simulation.Options()
        options.messages = 60
        options.only = [.drop, .kill]
        let report = Simulation.run(seed: 5, options: options)
        #expect(report.failure == nil)
        #expect(Set(report.faults.keys).isSubset(of: [.drop, .kill]))
        #expect(report.faults[.drop] ?? 0 > 0)
        options.only = []
        #expect(Simulation.run(seed: 5, options: options).faults.isEmpty)
    }

    @Test("seeds without retries lose messages, and a plan settles them")
    func recoveryOnly() {
        var options = Simulation.Options()
        options.messages = 80
        options.only = [.drop]
        var campaign = Campaign()
        for seed in [8, 16, 24] as [UInt64] {
            campaign.add(Simulation.run(seed: seed, options: options))
        }
        #expect(campaign.failed == 0)
        #expect(campaign.goals.contains(Goal.recoveredByPlan.rawValue))
        #expect(campaign.goals.contains(Goal.orphanUndelivered.rawValue))
    }

    @Test("a campaign hands out its reports in the order of the seeds, on any number of threads")
    func campaign() {
        var options = Simulation.Options()
        options.messages = 20
        let one = Recorder()
        Campaign.run(1...9, options: options, threads: 1) { one.add($0) }
        let three = Recorder()
        Campaign.run(1...9, options: options, threads: 3) { three.add($0) }
        #expect(one.seeds == Array(1...9))
        #expect(one.seeds == three.seeds)
        #expect(one.digests == three.digests)
    }
}

/// `@unchecked Sendable`: a campaign calls from one thread at a time.
private final class Recorder: @unchecked Sendable {
    private(set) var seeds: [UInt64] = []
    private(set) var digests: [String] = []

    func add(_ report: Simulation.Report) -> Bool {
        seeds.append(report.seed)
        digests.append(report.digest)
        return true
    }
}
