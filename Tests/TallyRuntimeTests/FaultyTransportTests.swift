import TallyCore
import TallyRuntime
import TallyStore
import TallyVenue
import Testing

@Suite("A transport that loses, repeats, delays and reorders", .timeLimit(.minutes(10)))
struct FaultyTransportTests {
    private struct Counts: Sendable {
        var trades = 0
        var refused = 0
    }

    private static func command(
        _ live: LiveLedger<Venue>, _ shard: ShardID, _ command: VenueCommand
    ) async throws -> Counts {
        do {
            let performed = try await live.perform(command.encode(), on: shard)
            guard case .trade = command else { return Counts() }
            _ = try await live.outcome(of: try #require(performed.messages.first))
            return Counts(trades: 1)
        } catch let refusal as Refusal where refusal.code == .program {
            #expect(VenueWorkload.mayBeRefused(command), "\(command): \(refusal)")
            return Counts(refused: 1)
        }
    }

    /// Runs a workload to its end.
    private static func run(_ live: LiveLedger<Venue>, trades: Int, seed: UInt64) async throws {
        var workload = VenueWorkload(
            directory: live.ledger.shards, seed: seed, trades: trades, deadline: 15_000_000)
        var counts = Counts()
        let settler = Task {
            while !Task.isCancelled {
                for shard in live.ledger.shards.all
                where try await live.read(shard, { $0.messaging.owedCount }) > 0 {
                    _ = try await live.perform(VenueCommand.settle.encode(), on: shard)
                }
                try await Task.sleep(nanoseconds: 20_000_000)
            }
        }
        try await withThrowingTaskGroup(of: Counts.self) { group in
            while let (shard, command) = workload.next() {
                if case .deposit = command {
                    _ = try await Self.command(live, shard, command)
                } else {
                    group.addTask { try await Self.command(live, shard, command) }
                }
            }
            for try await count in group { counts.trades += count.trades }
        }
        #expect(counts.trades == trades)
        try await Lab.settled(live)
        settler.cancel()
        _ = await settler.result
    }

    @Test("hundreds of trades settle, each message is applied exactly once, no money is lost")
    func venue() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(
                path, ["trades-0", "trades-1", "collateral-0", "collateral-1"], program: Venue.name)
            let transport = InProcessTransport(
                faults: TransportFaults(loss: 0.3, repetition: 0.3, delayMax: 5_000_000, seed: 7))
            let live = try LiveLedger<Venue>(ledger, transport: transport, options: Lab.options)
            try await Self.run(live, trades: 300, seed: 11)
            var states: [(shard: ShardContext, state: VenueState)] = []
            for shard in ledger.shards.all {
                let (state, anomalies, stop) = try await live.read(shard) {
                    ($0.application, $0.messaging.anomalyCount, $0.stop)
                }
                #expect(anomalies == 0 && stop == nil)
                states.append((ledger.context(shard), state))
            }
            let summary = VenueSummary(states)
            #expect(summary.conserved && summary.inFlight == 0 && summary.requested == 0)
            #expect(summary.trades == 300 && summary.confirmed > 100 && summary.deposits > 0)
            #expect(summary.deposits == summary.free + summary.reserved)
            await live.close()
            let counts = transport.counts
            #expect(counts.lost > counts.sent / 5 && counts.repeated > counts.sent / 8)
            try expectExactlyOnce(ledger)
            try Lab.expectClean(ledger, Venue.self)
        }
    }

    /// Counts both halves from the logs.
    private func expectExactlyOnce(_ ledger: Ledger) throws {
        var sent: Set<MessageName> = []
        var received: [MessageName] = []
        var terminal: [MessageName] = []
        var reemitted = 0
        for shard in ledger.shards.all {
            for record in try Lab.records(ledger, shard) {
                let out = MessageName(from: shard, to: record.event.peer, record.event.sequence)
                switch record.event.kind {
                case .sent: #expect(sent.insert(out).inserted)
                case .received:
                    received.append(
                        MessageName(from: record.event.peer, to: shard, record.event.sequence))
                case .acknowledged, .timedOut: terminal.append(out)
                case .reemitted: reemitted += 1
                case .conflicted, .intervened: Issue.record("\(record.event)")
                default: break
                }
            }
        }
        #expect(received.count == sent.count && Set(received) == sent)
        #expect(terminal.count == sent.count && Set(terminal) == sent)
        #expect(reemitted > 0)
    }
}
