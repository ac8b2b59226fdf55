internal import TallyCore
internal import TallyStore
internal import TallyVenue

/// Many shards in one thread, from one seed: the production engines over simulated disks, clocks and a
/// network, with every fault that a seed chooses, and every law checked on the way.
///
/// A run has two phases. In the first, faults happen; nothing may be lost, doubled or invented. In the
/// second they stop, and everything has to settle. Every eighth seed runs without deadlines and
/// without retries: there only recovery by a plan can settle what was lost, and what the audit finds
/// must be what was lost.
///
/// Nothing in a run depends on anything but its seed and options: the same give the same bytes in every
/// log.
public enum Simulation {
    /// What a run is like, beside its seed.
    public struct Options: Sendable {
        /// Shards; `nil`: drawn from the seed, 2 to 16.
        public var shards: Int?
        /// Messages that the load asks for; those they cause come on top.
        public var messages = 1000
        /// Faults that may happen; `nil`: all.
        public var only: Set<Fault>?
        /// Whether a failing run is made smaller.
        public var shrinks = true

        public init() {}
    }

    /// How a run failed.
    public struct Failure: Sendable {
        /// A short, stable name of the law.
        public var law: String
        public var text: String
        /// What happened, line by line, in the smallest run that breaks the same law.
        public var history: [String] = []
        /// That run's options.
        public var smallest = Options()
    }

    /// What a run came to.
    public struct Report: Sendable {
        public var seed: UInt64
        public var program = ""
        public var shards = 0
        /// Messages sent, events appended, sessions opened again.
        public var messages: UInt64 = 0
        public var events: UInt64 = 0
        public var restarts = 0
        /// Virtual time, nanoseconds.
        public var simulated: UInt64 = 0
        /// SHA-256 over the heads of all logs, which cover every byte; in hexadecimal.
        public var digest = ""
        /// The faults that came to pass, and how often.
        public var faults: [Fault: Int] = [:]
        public var goals = BitSet()
        public var buggify = BitSet()
        public var failure: Failure?
    }

    /// Runs one seed.
    public static func run(seed: UInt64, options: Options = Options()) -> Report {
        var report = once(seed, options, trace: nil)
        if report.failure != nil, options.shrinks {
            report.failure = smallest(seed, options, report)
        }
        return report
    }

    /// Runs one seed and tells what happens in it, line by line.
    public static func run(
        seed: UInt64, options: Options, history: (String) -> Void
    ) -> Report {
        withoutActuallyEscaping(history) { once(seed, options, trace: $0) }
    }

    static func once(
        _ seed: UInt64, _ options: Options, trace: ((String) -> Void)?
    ) -> Report {
        var random = SplitMix64(seed: seed &* 0x9E37_79B9_7F4A_7C15 ^ 0x7A11_5715)
        let draft = RunPlan(seed: seed, options, &random)
        let plan = draft
        if plan.isVenue {
            let names = plan.venueNames
            guard let directory = ShardDirectory(names) else { return Report(seed: seed) }
            let load = VenueLoad(
                directory: directory, seed: random.next(), messages: options.messages,
                deadline: plan.deadline)
            return Run(plan, load, names, seed: random.next(), trace: trace).run()
        }
        let load = StormLoad(
            seed: random.next(), messages: options.messages, shards: plan.shards,
            deadline: plan.deadline, hasHotShard: plan.faults.contains(.hotShard))
        let names = (0..<plan.shards).map { "shard-\($0)" }
        return Run(plan, load, names, seed: random.next(), trace: trace).run()
    }

    /// The smallest run that breaks the same law: fewer messages, fewer faults, fewer shards.
    private static func smallest(
        _ seed: UInt64, _ options: Options, _ report: Report
    ) -> Failure {
        guard let failure = report.failure else { return Failure(law: "", text: "") }
        var best = options
        best.shards = report.shards
        best.shrinks = false
        best.only = Set(report.faults.keys)
        func fails(_ candidate: Options) -> Bool {
            once(seed, candidate, trace: nil).failure?.law == failure.law
        }
        if !fails(best) {
            best = options
            best.shrinks = false
        }
        var hasShrunk = true
        while hasShrunk {
            hasShrunk = false
            for messages in [best.messages / 8, best.messages / 2, best.messages * 3 / 4, best.messages - 1]
            where messages > 0 && messages < best.messages {
                var candidate = best
                candidate.messages = messages
                guard fails(candidate) else { continue }
                best = candidate
                hasShrunk = true
                break
            }
            for fault in Fault.allCases where best.only?.contains(fault) == true {
                var candidate = best
                candidate.only?.remove(fault)
                guard fails(candidate) else { continue }
                best = candidate
                hasShrunk = true
            }
            for shards in [2, 3, 4, 6, 8] where shards < best.shards ?? 0 {
                var candidate = best
                candidate.shards = shards
                guard fails(candidate) else { continue }
                best = candidate
                hasShrunk = true
                break
            }
        }
        var history: [String] = []
        let last = once(seed, best, trace: { history.append($0) })
        var smallest = last.failure ?? failure
        smallest.history = history
        smallest.smallest = best
        return smallest
    }
}

/// What a seed chooses before anything happens.
struct RunPlan {
    let seed: UInt64
    let shards: Int
    let isVenue: Bool
    /// Without retries and deadlines: only recovery settles what was lost.
    let isRecoveryOnly: Bool
    let faults: Set<Fault>
    let deadline: UInt64?
    /// Mean nanoseconds between two commands.
    let gap: UInt64
    let messages: Int
    let isOrdered: Bool
    let hasOddChannel: Bool
    var machine = MachineOptions()
    /// Per hundred envelopes.
    let dropPercent: UInt64
    let repeatPercent: UInt64
    /// Nanoseconds an envelope takes at most, when nothing delays it.
    let latencyMax: UInt64

    init(seed: UInt64, _ options: Simulation.Options, _ random: inout SplitMix64) {
        self.seed = seed
        func below(_ bound: UInt64) -> UInt64 { random.next() % bound }
        isRecoveryOnly = seed % 8 == 0
        isVenue = seed % 3 == 1
        let drawn = [2, 3, 4, 4, 5, 6, 8, 16][Int(below(8))]
        shards = max(1, min(64, options.shards ?? drawn))
        messages = max(1, options.messages)
        let gaps: [UInt64] = [2, 20, 200, 2_000, 10_000, 30_000]
        gap = gaps[Int(below(6))] * 1_000_000
        var chosen: Set<Fault> = []
        // Each fault is drawn, whether it may happen or not: what is left out moves nothing else.
        for fault in Fault.allCases {
            let isDrawn = below(100) < 40
            let isAllowed = options.only.map { $0.contains(fault) } ?? true
            if isAllowed, options.only.map({ $0.count <= 3 }) ?? false || isDrawn {
                chosen.insert(fault)
            }
        }
        if isRecoveryOnly { chosen.formIntersection(Self.recoveryOnly) }
        faults = chosen
        let deadlines: [UInt64] = [5, 50, 500, 5_000]
        let drawnDeadline = deadlines[Int(below(4))] * 1_000_000
        deadline = isRecoveryOnly ? nil : drawnDeadline
        isOrdered = below(4) != 0
        hasOddChannel = below(4) == 0
        dropPercent = 1 + below(30)
        repeatPercent = 1 + below(50)
        latencyMax = [400_000, 2_000_000, 50_000_000][Int(below(3))]
        machine.pendingMax = below(8) == 0 ? 4 : 16_384
        machine.witnessEvery = below(3) == 0 ? 16 : 1024
        machine.commitEventsMax = below(6) == 0 ? 4 : 65_536
        machine.retries = !isRecoveryOnly
        let buggifySeed = random.next()
        if faults.contains(.buggify) { machine.buggify = Buggify(seed: buggifySeed) }
    }

    /// The faults of runs in which only recovery settles what was lost.
    static let recoveryOnly: Set<Fault> = [
        .drop, .delay, .reorder, .partition, .oneWay, .oldCopy, .kill, .power, .tornWrite, .pause,
        .reopen, .slowDisk, .burst, .hotShard, .snapshot, .askAgain,
    ]

    /// The venue needs both kinds of shards.
    var venueNames: [String] {
        let collateral = max(1, shards / 2)
        return (0..<max(1, shards - collateral)).map { "trades-\($0)" }
            + (0..<collateral).map { "collateral-\($0)" }
    }
}
