import TallyCore
import TallyRuntime
import TallyStore
import TallyVenue

/// The workloads: production code over a ledger's directory, the same calls in the same order each time.
///
/// `prepare NAME DIR` makes what the workload begins with; `work NAME DIR` does the work. A workload goes
/// on from whatever ledger is there, so the one that was killed can be run again on the same directory.
enum Workload: String, CaseIterable {
    /// Commits of one event each.
    case single
    /// Commits of a thousand events.
    case batch
    /// A snapshot after every few commits, and openings that use them.
    case snapshots
    /// A ledger is made where there is nothing, and used.
    case creation
    /// A ledger that died with messages under way is opened, sends them again, and settles.
    case recovery
    /// Many releases with the mark flushed at each, closed in good order and opened again.
    case mark
    /// Two shards exchange messages.
    case twoShards = "two-shards"
    /// Two shards under a live ledger: threads, group commit, snapshots in the background. Its calls are
    /// the same in number only nearly, and it cannot say beforehand what it is about to append.
    case live

    static func named(_ name: String) throws -> Workload {
        guard let workload = Workload(rawValue: name) else {
            throw UsageError(
                description: "there is no workload \(name); there are "
                    + allCases.map(\.rawValue).joined(separator: ", "))
        }
        return workload
    }

    var shards: [String] {
        switch self {
        case .single, .batch, .snapshots, .mark: ["collateral-0"]
        case .creation, .recovery, .twoShards, .live: ["trades-0", "collateral-0"]
        }
    }

    private var roundsDefault: Int {
        switch self {
        case .single: 24
        case .batch: 5
        case .snapshots: 8
        case .creation: 2
        case .recovery: 4
        case .mark: 24
        case .twoShards: 8
        case .live: 6
        }
    }

    static func prepare(_ arguments: [String]) throws -> Int32 {
        let arguments = try Arguments(arguments)
        let workload = try named(arguments.name(0, "the workload"))
        try workload.prepare(try arguments.name(1, "the directory"))
        return 0
    }

    static func work(_ arguments: [String]) throws -> Int32 {
        let arguments = try Arguments(arguments, options: ["--rounds"])
        let workload = try named(arguments.name(0, "the workload"))
        Lines.say("working \(workload.rawValue)")
        try workload.work(
            try arguments.name(1, "the directory"),
            rounds: try arguments.number("--rounds", default: workload.roundsDefault))
        Lines.say("done")
        return 0
    }

    func ledger(_ directory: String) throws -> Ledger {
        if !Files.exists(directory) { Lines.say("making") }
        let ledger = try Ledger.open(directory, for: Venue.self, shards: shards)
        Lines.say("made \(ledger.manifest.id)")
        return ledger
    }

    func prepare(_ directory: String) throws {
        if self == .creation { return }
        let runner = try Runner(ledger(directory))
        try Self.deposit(runner)
        guard self == .recovery else { return try runner.close() }
        try Self.trade(runner, rounds: 6, seed: 1) { runner in
            // Answers are lost, and some messages too: pending on one side, settled on neither.
            try runner.exchange(losing: { $0 == ShardID(1) && runner.open > 6 })
        }
        // This is how a process leaves its ledger that is killed while it waits for the disk.
        runner.dieAtCommit()
        try Self.deposit(runner)
        throw UsageError(description: "the process has outlived its last commit")
    }

    func work(_ directory: String, rounds: Int) throws {
        let ledger = try ledger(directory)
        switch self {
        case .single:
            let runner = try Runner(ledger)
            try Self.deposit(runner, commits: rounds, events: 1)
            try runner.close()
        case .batch:
            let runner = try Runner(ledger)
            try Self.deposit(runner, commits: rounds, events: 1000)
            try runner.close()
        case .snapshots:
            for _ in 0..<2 {
                let runner = try Runner(ledger)
                for _ in 0..<rounds {
                    try Self.deposit(runner, commits: 2, events: 5)
                    try runner.snapshot()
                }
                try runner.close()
            }
        case .creation:
            let runner = try Runner(ledger)
            try Self.deposit(runner)
            try Self.trade(runner, rounds: rounds, seed: UInt64(runner.epoch)) {
                try $0.exchange()
            }
            try runner.settle()
            try runner.close()
        case .recovery, .twoShards:
            let runner = try Runner(ledger)
            if self == .recovery { try runner.settle() }
            try Self.trade(runner, rounds: rounds, seed: UInt64(runner.epoch)) {
                try $0.exchange()
            }
            try runner.settle()
            try runner.close()
        case .mark:
            for _ in 0..<2 {
                // More than a second between two flushes: each one flushes the mark.
                let runner = try Runner(ledger, step: 1_100_000_000)
                try Self.deposit(runner, commits: rounds, events: 1)
                try runner.close()
            }
        case .live:
            try LiveRun.run(ledger, rounds: rounds)
        }
    }

    /// Money for every account of the venue's workload, in one commit.
    private static func deposit(_ runner: Runner) throws {
        let shard = try collateral(runner.ledger)
        for account in 1...VenueWorkload.accountCount {
            try runner.perform(.deposit(account: account, amount: 50_000), on: shard)
        }
        try runner.flush()
    }

    private static func deposit(
        _ runner: Runner, commits: Int, events: Int
    ) throws {
        let shard = try collateral(runner.ledger)
        for _ in 0..<commits {
            for event in 0..<events {
                let account = UInt32(event) % VenueWorkload.accountCount + 1
                try runner.perform(.deposit(account: account, amount: 1), on: shard)
            }
            try runner.flush()
        }
    }

    private static func collateral(_ ledger: Ledger) throws -> ShardID {
        guard let shard = ledger.shards.id(of: "collateral-0") else {
            throw UsageError(description: "the ledger has no shard collateral-0")
        }
        return shard
    }

    private static func trade(
        _ runner: Runner, rounds: Int, seed: UInt64, exchange: (Runner) throws -> Void
    ) throws {
        var workload = VenueWorkload(
            directory: runner.ledger.shards, seed: seed, trades: rounds * 3, deadline: nil)
        workload.advance(to: Int(VenueWorkload.accountCount))
        while let (shard, command) = workload.next() {
            try runner.perform(command, on: shard)
            if workload.position % 3 == 0 {
                try runner.flush()
                try exchange(runner)
            }
        }
        try runner.flush()
        try exchange(runner)
    }
}
