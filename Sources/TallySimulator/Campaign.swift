internal import Dispatch
internal import Synchronization
internal import TallyCore

/// Many seeds, on as many threads as there are cores; what they came to, in the order of the seeds.
public struct Campaign: Sendable {
    /// Sums over the seeds that were run.
    public private(set) var seeds = 0
    public private(set) var failed = 0
    public private(set) var messages: UInt64 = 0
    public private(set) var events: UInt64 = 0
    public private(set) var restarts = 0
    /// Virtual nanoseconds.
    public private(set) var simulated: UInt64 = 0
    public private(set) var faults: [Fault: Int] = [:]
    public private(set) var goals = BitSet()
    public private(set) var buggify = BitSet()

    public init() {}

    /// Adds one run.
    public mutating func add(_ report: Simulation.Report) {
        seeds += 1
        if report.failure != nil { failed += 1 }
        messages += report.messages
        events += report.events
        restarts += report.restarts
        simulated &+= report.simulated
        for (fault, count) in report.faults { faults[fault, default: 0] += count }
        goals.formUnion(report.goals)
        buggify.formUnion(report.buggify)
    }

    /// The goals that no run reached, and the places in the code that never acted unusually, by name.
    public var missed: [String] {
        Goal.allCases.filter { !goals.contains($0.rawValue) }.map(\.name)
            + Buggify.Site.allCases.filter { !buggify.contains($0.rawValue) }.map { "\($0)" }
    }

    /// How many goals and places there are to reach.
    public static var goalCount: Int { Goal.allCases.count }
    public static var siteCount: Int { Buggify.Site.allCases.count }

    /// Runs seeds, and hands out each one's report in order.
    ///
    /// - Parameters:
    ///   - seeds: A range; both ends are run.
    ///   - threads: How many run at once.
    ///   - body: Called on one thread at a time, in the order of the seeds; false ends the campaign.
    public static func run(
        _ seeds: ClosedRange<UInt64>, options: Simulation.Options, threads: Int,
        _ body: @Sendable (Simulation.Report) -> Bool
    ) {
        let board = Board(next: seeds.lowerBound, last: seeds.upperBound)
        withoutActuallyEscaping(body) { body in
            DispatchQueue.concurrentPerform(iterations: max(1, threads)) { _ in
                while let seed = board.take() {
                    board.put(Simulation.run(seed: seed, options: options), body)
                }
            }
        }
    }
}

/// Which seed is next, and which reports wait for those before them.
private final class Board: Sendable {
    private struct State {
        var next: UInt64?
        var shown: UInt64
        var waiting: [UInt64: Simulation.Report] = [:]
        var isOver = false
    }
    private let state: Mutex<State>
    private let last: UInt64

    init(next: UInt64, last: UInt64) {
        self.last = last
        state = Mutex(State(next: next, shown: next))
    }

    func take() -> UInt64? {
        state.withLock { state in
            guard let seed = state.next, !state.isOver else { return nil }
            state.next = seed < last ? seed + 1 : nil
            return seed
        }
    }

    func put(_ report: Simulation.Report, _ body: (Simulation.Report) -> Bool) {
        state.withLock { state in
            state.waiting[report.seed] = report
            while !state.isOver, let next = state.waiting.removeValue(forKey: state.shown) {
                state.shown &+= 1
                if !body(next) { state.isOver = true }
            }
        }
    }
}
