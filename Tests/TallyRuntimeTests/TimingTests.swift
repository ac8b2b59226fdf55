import TallyCore
import TallyRuntime
import TallyStore
import Testing

@Suite("Deadlines and re-emission", .timeLimit(.minutes(10)))
struct TimingTests {
    @Test("a message that arrives behind its deadline expires there, and its origin times it out")
    func expiry() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path)
            let transport = GateTransport { $0.isDelivery ? .hold : .deliver }
            try await Lab.running(ledger, transport) { live in
                let late = try await live.send(deadlineAfter: 60_000_000)
                let after = try await live.send(.accept("in time"), deadlineAfter: 60_000_000_000)
                try await Task.sleep(nanoseconds: 150_000_000)
                // Past its deadline and nobody knows: not timed out by the clock alone.
                #expect(try await live.read(Lab.a) { $0.messaging.pendingCount } == 2)
                transport.release()
                let settled = try await live.outcome(of: late)
                #expect(settled.result == .timedOut && settled.payload.isEmpty)
                // The channel is ordered and goes on behind the message that expired.
                #expect(try await live.outcome(of: after).payload == Array("in time".utf8))
                let (timedOut, accepted) = try await live.read(Lab.a) {
                    ($0.application.timedOut, $0.application.accepted)
                }
                #expect(timedOut == 1 && accepted == 1)
                #expect(try await live.read(Lab.b) { $0.application.applied } == 1)
                #expect(try await live.outcome(of: late) == settled)
            }
            let receipts = try Lab.records(ledger, Lab.b, .received)
            #expect(receipts.map(\.event.outcome) == [.expired, .applied])
            let timeouts = try Lab.records(ledger, Lab.a, .timedOut)
            let timeout = try #require(timeouts.first?.event)
            #expect(timeouts.count == 1 && timeout.reason == .none)
            let receipt = try ledger.openForReading(Lab.b).record(at: timeout.peerOffset)
            #expect(receipt?.event.outcome == .expired)
            // Behind the deadline the log says why it asks again.
            let again = try Lab.records(ledger, Lab.a, .reemitted)
            #expect(again.last?.event.reason == .deadline)
            try Lab.expectClean(ledger)
        }
    }

    @Test("what gets lost is sent again, with a rising attempt each time, until it settles")
    func reemission() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path)
            let deliveries = Tally()
            let transport = GateTransport {
                $0.isDelivery && deliveries.next() < 4 ? .drop : .deliver
            }
            try await Lab.running(ledger, transport) { live in
                let message = try await live.send(.accept("at last"))
                #expect(try await live.outcome(of: message).payload == Array("at last".utf8))
                #expect(try await live.read(Lab.b) { $0.application.applied } == 1)
            }
            let again = try Lab.records(ledger, Lab.a, .reemitted)
            #expect(again.count >= 4)
            #expect(again.map(\.event.attempt) == Array(1...UInt32(max(1, again.count))))
            #expect(again.allSatisfy { $0.event.reason == .retry })
            #expect(again.allSatisfy { $0.event.sequence == SequenceNumber(1) })
            // The same bytes under the same name, every time.
            let sent = transport.seen.flatMap(\.deliveries)
            #expect(sent.count >= 5 && Set(sent.map { Array($0.payload) }).count == 1)
            #expect(Set(sent.map(\.offset)).count == 1)
            // The pauses grow.
            let times = again.map(\.timestamp)
            if times.count >= 4 {
                let first = times[1].nanoseconds(since: times[0])
                #expect(times[3].nanoseconds(since: times[2]) > first)
            }
            try Lab.expectClean(ledger)
        }
    }

    @Test("a lost answer is given again from the log; the message is not applied twice")
    func lostAnswers() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path)
            let answers = Tally()
            let transport = GateTransport {
                $0.isAnswer && answers.next() < 3 ? .drop : .deliver
            }
            try await Lab.running(ledger, transport) { live in
                let settled = try await live.exchange(.reject("no room"))
                #expect(settled.payload == Array("no room".utf8))
                let (applied, repeated) = try await live.read(Lab.b) {
                    ($0.application.applied, $0.counters.repeated)
                }
                #expect(applied == 1 && repeated >= 3)
            }
            #expect(try Lab.records(ledger, Lab.b, .answered).count == 1)
            let given = Set(transport.seen.flatMap(\.answers).map { Array($0.payload) })
            #expect(given == [Array("no room".utf8)])
            try Lab.expectClean(ledger)
        }
    }

    @Test("everything twice is everything once")
    func repeated() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path)
            let transport = GateTransport { _ in .twice }
            try await Lab.running(ledger, transport) { live in
                for _ in 0..<10 { try await live.exchange() }
                #expect(try await live.read(Lab.b) { $0.application.applied } == 10)
                #expect(try await live.read(Lab.a) { $0.application.accepted } == 10)
            }
            #expect(try Lab.records(ledger, Lab.b, .received).count == 10)
            #expect(try Lab.records(ledger, Lab.a, .acknowledged).count == 10)
            try Lab.expectClean(ledger)
        }
    }

    @Test("a writer with no room for envelopes drops them, and everything settles all the same")
    func crowded() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path)
            var options = Lab.options
            options.envelopesWaitingMax = 1
            try await Lab.running(ledger, GateTransport { _ in .twice }, options) { live in
                try await withThrowingTaskGroup(of: Settled.self) { group in
                    for _ in 0..<60 {
                        group.addTask { try await live.exchange() }
                        group.addTask { try await live.exchange(from: Lab.b, to: Lab.a) }
                    }
                    for try await settled in group { #expect(settled.result == .accepted) }
                }
                try await Lab.settled(live)
                #expect(try await live.read(Lab.b) { $0.application.applied } == 60)
            }
            try Lab.expectClean(ledger)
        }
    }
}
