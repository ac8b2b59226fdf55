import Dispatch
import TallyCore
import TallyRuntime
import TallyStore
import TallyVenue

/// The live ledger as an application runs it.
enum LiveRun {
    static func run(_ ledger: Ledger, rounds: Int) throws {
        let box = Outcome()
        let done = DispatchSemaphore(value: 0)
        Task {
            do { try await work(ledger, rounds) } catch { box.error = error }
            done.signal()
        }
        done.wait()
        if let error = box.error { throw error }
    }

    /// Sound: written before the semaphore is signalled, read after it was waited for.
    private final class Outcome: @unchecked Sendable {
        var error: (any Error)?
    }

    private static func work(_ ledger: Ledger, _ rounds: Int) async throws {
        Lines.say("unannounced")
        var options = RuntimeOptions()
        options.snapshotEvery = 60
        options.snapshotAtCloseMin = 1
        options.threadsMax = 2
        for shard in ledger.shards.names { Lines.say("opening \(shard)") }
        let live = try LiveLedger<Venue>(ledger, options: options)
        let seed = try await live.read(ledger.shards.all[0]) { $0.messaging.epoch.rawValue }
        var workload = VenueWorkload(
            directory: ledger.shards, seed: seed, trades: rounds * 3, deadline: nil)
        while let (shard, command) = workload.next() {
            do {
                let performed = try await live.perform(command.encode(), on: shard)
                try await release(live, shard)
                // Every third one is seen through: answers make commits of their own.
                if workload.position % 3 == 0, !isDeferred(command),
                    let message = performed.messages.first
                {
                    try await see(message, settled: live)
                    for shard in ledger.shards.all { try await release(live, shard) }
                }
            } catch let refusal as Refusal where refusal.code == .program {
                continue
            }
        }
        await live.close()
        for shard in ledger.shards.names { Lines.say("closed \(shard)") }
    }

    /// Waits for an outcome, and fails when a shard does: nobody would settle the message then.
    private static func see(
        _ message: MessageName, settled live: LiveLedger<Venue>
    ) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { _ = try await live.outcome(of: message) }
            group.addTask {
                while true {
                    try await Task.sleep(nanoseconds: 20_000_000)
                    for shard in live.ledger.shards.all { try await live.read(shard) { _ in } }
                }
            }
            defer { group.cancelAll() }
            try await group.next()
        }
    }

    /// Whether the answer waits until somebody asks for it.
    private static func isDeferred(_ command: VenueCommand) -> Bool {
        if case .trade(_, _, _, let isDeferred, _) = command { return isDeferred }
        return false
    }

    private static func release(_ live: LiveLedger<Venue>, _ shard: ShardID) async throws {
        let durable = try await live.read(shard) { $0.durable }
        Lines.say(
            "released \(live.ledger.shards.name(of: shard)) \(durable.offset.rawValue) "
                + "\(durable.head)")
    }
}
