import Foundation
import Synchronization
import TallyAudit
import TallyCommand
import TallyCore
import TallyRuntime
import TallyStore
import TallyVenue

/// Runs the venue's workload on a ledger and waits until everything is settled.
struct VenueRunner: Sendable {
    var directory: String
    var trades: Int
    var seed: UInt64?
    var faults: TransportFaults
    /// Commands under way at once; a trade is under way until its outcome is known.
    var concurrency = 400
    /// Gets one line per command as it returns.
    var released: ReleasedLines?
    var metrics: VenueMetrics?
    var progress: @Sendable (UInt64) -> Void

    struct Outcome: Sendable {
        var seed: UInt64
        var performed = 0
        var refused = 0
        var summary: VenueSummary
        var seconds: Double
        var isSettled: Bool
        var stops: [String]
    }

    static let shardNames = ["trades-0", "trades-1", "collateral-0", "collateral-1"]

    /// Opens the ledger, or makes it where there is none.
    static func ledger(_ directory: String, name: String? = nil) throws -> Ledger {
        if Files.exists(directory), !Files.list(directory).isEmpty { return try Ledger(directory) }
        guard let shards = ShardDirectory(shardNames) else {
            preconditionFailure("the venue's shard names are well-formed")
        }
        let name = name ?? URL(fileURLWithPath: directory).lastPathComponent
        return try Ledger.create(
            directory,
            Manifest(name: name, id: Files.random16(), program: Venue.name, shards: shards))
    }

    func run() async throws -> Outcome {
        let started = Date()
        let ledger = try Self.ledger(directory)
        try Self.checkShards(ledger)
        var options = RuntimeOptions()
        options.logger = ConsoleLog.logger
        options.metrics = metrics
        options.machine.retryBase = max(20_000_000, faults.delayMax * 3)
        options.machine.retryMax = 2_000_000_000
        options.machine.askBase = max(20_000_000, faults.delayMax * 2)
        options.machine.askMax = 500_000_000
        let transport = InProcessTransport(faults: faults)
        let live = try LiveLedger<Venue>(ledger, transport: transport, options: options)
        let first = ledger.shards.all[0]
        let session = try await live.read(first) { $0.messaging.epoch.rawValue }
        let seed = seed ?? session
        var outcome = Outcome(
            seed: seed, summary: VenueSummary([]), seconds: 0, isSettled: false, stops: [])
        (outcome.performed, outcome.refused) = try await perform(live, seed)
        outcome.isSettled = try await drain(live)
        outcome.summary = try await Self.summary(live)
        outcome.stops = try await Self.stops(live)
        await live.close()
        outcome.seconds = Date().timeIntervalSince(started)
        return outcome
    }

    /// Looks at every shard before the first one is opened: a ledger that is refused is left as it
    /// was.
    private static func checkShards(_ ledger: Ledger) throws {
        if let problem = AuditLedger(ledger).problems.first?.problem { throw problem }
    }

    private func perform(
        _ live: LiveLedger<Venue>, _ seed: UInt64
    ) async throws -> (performed: Int, refused: Int) {
        // Long enough that most messages arrive in time, short enough that a lost one does not.
        let deadline = max(20_000_000, faults.delayMax * 2)
        var workload = VenueWorkload(
            directory: live.ledger.shards, seed: seed, trades: trades, deadline: deadline)
        let client = Files.random16()
        let lines = released
        var performed = 0
        var refused = 0
        var requested: UInt64 = 0
        try await withThrowingTaskGroup(of: Bool.self) { group in
            do {
                var running = 0
                var isDepositing = true
                var sequence: UInt64 = 0
                while let (shard, command) = workload.next() {
                    if case .deposit = command {
                    } else if isDepositing {
                        // No trade before every account has its money.
                        while let done = try await group.next() {
                            if done { performed += 1 } else { refused += 1 }
                            running -= 1
                        }
                        isDepositing = false
                    }
                    sequence += 1
                    let name = CommandName(client: client, sequence: SequenceNumber(sequence))
                    if case .trade = command { requested += 1 }
                    group.addTask {
                        try await Self.perform(live, shard, command, name, lines)
                    }
                    running += 1
                    if running >= concurrency, let done = try await group.next() {
                        if done { performed += 1 } else { refused += 1 }
                        running -= 1
                    }
                    progress(requested)
                }
                // The last trades wait for answers that are owed: somebody has to ask for them.
                let settler = Task {
                    while !Task.isCancelled {
                        try await Task.sleep(nanoseconds: 50_000_000)
                        try await Self.settleOwed(live)
                    }
                }
                defer { settler.cancel() }
                while let done = try await group.next() {
                    if done { performed += 1 } else { refused += 1 }
                }
            } catch {
                // The others wait for outcomes that nothing settles any more; closing lets them go.
                await live.close()
                throw error
            }
        }
        return (performed, refused)
    }

    /// - Returns: False when the venue refused the command.
    private static func perform(
        _ live: LiveLedger<Venue>, _ shard: ShardID, _ command: VenueCommand, _ name: CommandName,
        _ lines: ReleasedLines?
    ) async throws -> Bool {
        do {
            let payload = command.encode()
            let performed = try await live.perform(payload, on: shard, as: name)
            lines?.write(live.ledger.shards.name(of: shard), name, payload, performed)
            if case .trade = command, let message = performed.messages.first {
                _ = try await live.outcome(of: message)
            }
            return true
        } catch let refusal as Refusal where refusal.code == .program {
            return false
        }
    }

    /// Waits until nothing is pending and nothing is owed, at most a minute; asks the collateral shards
    /// for the answers they owe.
    private func drain(_ live: LiveLedger<Venue>) async throws -> Bool {
        for round in 0..<1200 {
            var open: UInt64 = 0
            for shard in live.ledger.shards.all {
                let (pending, owed, stop) = try await live.read(shard) {
                    (UInt64($0.messaging.pendingCount), $0.messaging.owedCount, $0.stop)
                }
                if stop != nil { return false }
                open += pending + owed
            }
            if open == 0 { return true }
            if round % 4 == 3 { try await Self.settleOwed(live) }
            try await Task.sleep(nanoseconds: 50_000_000)
        }
        return false
    }

    /// Has every shard that owes answers give them.
    private static func settleOwed(_ live: LiveLedger<Venue>) async throws {
        for shard in live.ledger.shards.all
        where try await live.read(shard, { $0.messaging.owedCount }) > 0 {
            _ = try await live.perform(VenueCommand.settle.encode(), on: shard)
        }
    }

    static func summary(_ live: LiveLedger<Venue>) async throws -> VenueSummary {
        var states: [(shard: ShardContext, state: VenueState)] = []
        for shard in live.ledger.shards.all {
            let state = try await live.read(shard) { $0.application }
            states.append((live.ledger.context(shard), state))
        }
        return VenueSummary(states)
    }

    private static func stops(_ live: LiveLedger<Venue>) async throws -> [String] {
        var stops: [String] = []
        for shard in live.ledger.shards.all {
            if let stop = try await live.read(shard, { $0.stop }) {
                stops.append(stop.text(live.ledger.shards, shard))
            }
        }
        return stops
    }
}

/// One line per released command: what an outside watcher may hold the log to.
final class ReleasedLines: Sendable {
    private let handle: Mutex<FileHandle>

    /// Makes the file anew, or appends to it when it is there.
    init(path: String) throws {
        if !Files.exists(path) { _ = FileManager.default.createFile(atPath: path, contents: nil) }
        guard !Files.isDirectory(path), let opened = FileHandle(forUpdatingAtPath: path) else {
            throw UsageError(
                "cannot write \(path); name a file in a directory that can be written")
        }
        let end = try opened.seekToEnd()
        if end > 0 {
            // A line that a kill cut short takes no other one with it.
            try opened.seek(toOffset: end - 1)
            let isWhole = try opened.read(upToCount: 1) == Data("\n".utf8)
            if !isWhole { try opened.write(contentsOf: Data("\n".utf8)) }
        }
        handle = Mutex(opened)
    }

    func write(
        _ shard: String, _ name: CommandName, _ payload: [UInt8], _ performed: Performed
    ) {
        var json = JSONText()
        json.beginObject()
        json.field("shard", shard)
        json.field("offset", performed.offset.rawValue)
        json.field("client", name.client.description)
        json.field("sequence", name.sequence.rawValue)
        json.field("payload", Data(payload).base64EncodedString())
        if !performed.result.isEmpty {
            json.field("result", Data(performed.result).base64EncodedString())
        }
        json.endObject()
        json.endLine()
        let bytes = json.bytes
        handle.withLock { $0.write(Data(bytes)) }
    }
}
