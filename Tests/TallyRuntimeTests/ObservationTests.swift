import Logging
import MetricsTestKit
import TallyCore
import TallyRuntime
import TallyStore
import Testing

@Suite("What a running ledger logs and counts", .timeLimit(.minutes(10)))
struct ObservationTests {
    private static func dimensions(_ shard: String) -> [(String, String)] {
        [("ledger", "test"), ("shard", shard)]
    }

    private static func total(_ metrics: TestMetrics, _ label: String, _ shard: String) throws
        -> Int64
    {
        try metrics.expectCounter(label, dimensions(shard)).totalValue
    }

    @Test("commits and events are counted as the log holds them, and every flush is timed")
    func counts() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path)
            let metrics = TestMetrics()
            var options = Lab.options
            options.metrics = metrics
            try await Lab.running(ledger, InProcessTransport(), options) { live in
                for _ in 0..<10 { try await live.exchange() }
                let refusal = await Lab.refusal { try await live.perform(.refuse, on: Lab.a) }
                #expect(refusal?.code == .program)
            }
            for (shard, name) in [(Lab.a, "a"), (Lab.b, "b")] {
                var commits: Int64 = 0
                try ledger.openForReading(shard).forEachCommit(from: Offset(1)) { _ in
                    commits += 1
                    return true
                }
                let events = Int64(try Lab.records(ledger, shard).count)
                #expect(try Self.total(metrics, "tally_commits", name) == commits)
                #expect(try Self.total(metrics, "tally_events", name) == events)
                let flushes = try metrics.expectTimer("tally_flush", Self.dimensions(name))
                #expect((1...Int(commits)).contains(flushes.values.count))
                #expect(flushes.values.allSatisfy { $0 > 0 })
                for gauge in [
                    "tally_pending", "tally_owed", "tally_oldest_pending_seconds", "tally_stopped",
                ] {
                    let found = try metrics.expectGauge(gauge, Self.dimensions(name))
                    #expect(found.lastValue == 0, "\(gauge)")
                }
            }
            let refusals = try metrics.expectCounter(
                "tally_refusals", Self.dimensions("a") + [("code", "program")])
            #expect(refusals.totalValue == 1)
        }
    }

    @Test("what is pending, how old it is, and what was sent again shows")
    func pending() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path)
            let metrics = TestMetrics()
            var options = Lab.options
            options.metrics = metrics
            let transport = GateTransport { $0.isDelivery ? .drop : .deliver }
            try await Lab.running(ledger, transport, options) { live in
                _ = try await live.send()
                let gauge = try metrics.expectGauge("tally_pending", Self.dimensions("a"))
                try await Lab.eventually("the message shows as pending") { gauge.lastValue == 1 }
                let age = try metrics.expectGauge(
                    "tally_oldest_pending_seconds", Self.dimensions("a"))
                try await Lab.eventually("it grows older") { (age.lastValue ?? 0) > 0.5 }
                transport.follow { _ in .deliver }
                try await Lab.settled(live)
            }
            let ranges = try Lab.records(ledger, Lab.a, .reemitted)
            #expect(ranges.count > 0)
            #expect(try Self.total(metrics, "tally_reemissions", "a") == Int64(ranges.count))
            #expect(try Self.total(metrics, "tally_reemissions", "b") == 0)
        }
    }

    @Test("a filled mailbox is counted")
    func droppedEnvelopes() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path)
            let metrics = TestMetrics()
            var options = Lab.options
            options.metrics = metrics
            options.envelopesWaitingMax = 0
            let transport = GateTransport()
            try await Lab.running(ledger, transport, options) { live in
                try await Lab.eventually("the other shard's question is dropped") {
                    try Self.total(metrics, "tally_dropped_envelopes", "b") > 0
                }
                _ = live
            }
        }
    }

    @Test(
        "sessions and closings are logged at debug, flushes at trace, and nothing louder in good times"
    )
    func logs() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path)
            let lines = Lines()
            var options = Lab.options
            options.logger = lines.logger(at: .trace)
            try await Lab.running(ledger, InProcessTransport(), options) { live in
                try await live.exchange()
                _ = await Lab.refusal { try await live.perform(.refuse, on: Lab.a) }
            }
            let all = lines.all
            #expect(
                all.contains(
                    "debug session opened clean=false offset=1 owed=0 pending=0 session=1 shard=a"))
            #expect(
                all.contains {
                    $0.hasPrefix("trace flushed nanoseconds=") && $0.hasSuffix(" shard=b")
                })
            #expect(all.contains { $0.hasPrefix("debug command refused code=program shard=a") })
            #expect(all.contains { $0.hasPrefix("debug closed offset=") })
            #expect(all.allSatisfy { $0.hasPrefix("debug ") || $0.hasPrefix("trace ") })
        }
    }

    @Test("what an operator must see is a warning that names the shard")
    func warnings() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path)
            try await Lab.running(ledger) { live in try await live.exchange() }
            Files.remove(ledger.markPath(of: Lab.a))
            let lines = Lines()
            var options = Lab.options
            options.logger = lines.logger
            try await Lab.running(ledger, InProcessTransport(), options) { live in
                try await live.exchange()
            }
            #expect(lines.all == ["shard a had no mark; it is made anew from the log's end"])
        }
    }

    @Test("a command without a correlation gets the one that the options give")
    func correlation() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path)
            var options = Lab.options
            let given = Bytes16(low: 1, high: 2)
            let own = Bytes16(low: 3, high: 4)
            options.correlation = { given }
            try await Lab.running(ledger, InProcessTransport(), options) { live in
                try await live.exchange()
                let order = Order.send(to: Lab.b, .accept())
                let sent = try await live.perform(order.bytes, on: Lab.a, correlation: own)
                _ = try await live.outcome(of: sent.messages[0])
            }
            #expect(
                try Lab.records(ledger, Lab.a, .commanded).map(\.event.correlation) == [given, own])
            #expect(
                try Lab.records(ledger, Lab.b, .received).map(\.event.correlation) == [given, own])
        }
    }
}
