import Dispatch
import TallyCore
import TallyRuntime
import TallyStore
import Testing

@Suite("Back-pressure", .timeLimit(.minutes(10)))
struct PressureTests {
    private static func options(_ pendingMax: UInt64) -> RuntimeOptions {
        var options = Lab.patient
        options.machine.pendingMax = pendingMax
        return options
    }

    private static let holdsDeliveries: GateTransport.Rule = {
        $0.isDelivery && $0.header.receiver == Lab.b ? .hold : .deliver
    }

    @Test("a full channel refuses a command that does not wait; one that waits is let in later")
    func waiting() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path)
            let transport = GateTransport(Self.holdsDeliveries)
            // What is held is let go in this thread while the shards speak in theirs: the third message
            // may overtake the second one, and is sent again.
            var options = Self.options(2)
            options.machine.retryBase = 20_000_000
            try await Lab.running(ledger, transport, options) { live in
                for _ in 0..<2 { _ = try await live.send() }
                let refusal = await Lab.refusal {
                    try await live.perform(
                        .send(to: Lab.b, .accept()), on: Lab.a, waitsForRoom: false)
                }
                #expect(refusal?.code == .backpressure)
                #expect(refusal?.text.contains("from a to b") == true)
                let returned = Tally()
                let waiting = Task {
                    let message = try await live.send(.accept("third"))
                    returned.next()
                    return message
                }
                // Other commands and other channels are not held up.
                for _ in 0..<20 { try await live.perform(.note([1]), on: Lab.a) }
                #expect(try await live.exchange(from: Lab.a, to: Lab.a).result == .accepted)
                #expect(returned.count == 0)
                transport.release()
                let message = try await waiting.value
                #expect(message.sequence == SequenceNumber(3))
                #expect(try await live.outcome(of: message).payload == Array("third".utf8))
            }
            try Lab.expectClean(ledger)
        }
    }

    @Test("commands that wait for room go on as soon as there is room, and are durable at once")
    func prompt() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path)
            try await Lab.running(ledger, InProcessTransport(), Self.options(1)) { live in
                try await Lab.settledSessions(live)
                try await live.exchange()
                let began = ContinuousClock.now
                // Nothing else is asked of the shard that would have it look around.
                let messages = try await withThrowingTaskGroup(of: MessageName.self) { group in
                    for _ in 0..<16 { group.addTask { try await live.send() } }
                    return try await group.reduce(into: []) { $0.append($1) }
                }
                #expect(Set(messages.map(\.sequence.rawValue)) == Set(2...17))
                // A second each, were they to wait for the writer's next look around.
                #expect(began.duration(to: .now) < .seconds(8))
                try await Lab.settled(live)
            }
            #expect(try Lab.records(ledger, Lab.a, .reemitted).isEmpty)
        }
    }

    @Test("a reader that comes together with the answer that makes room sees what is durable")
    func readsDurable() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path)
            let transport = GateTransport(Self.holdsDeliveries)
            try await Lab.running(ledger, transport, Self.options(1)) { live in
                try await Lab.settledSessions(live)
                let first = try await live.send()
                let waiting = Task { try await live.send() }
                // The writer thread is kept busy while the answer and the reader come to its mailbox.
                let (entered, gate) = (Tally(), DispatchSemaphore(value: 0))
                try await Task.sleep(nanoseconds: 20_000_000)
                let busy = Task {
                    try await live.read(Lab.a) { _ in
                        entered.next()
                        gate.wait()
                    }
                }
                try await Lab.eventually("the thread is busy") { entered.count == 1 }
                transport.release()
                try await Lab.eventually("the answer is there") {
                    transport.seen.contains { $0.isAnswer }
                }
                let reader = Task {
                    try await live.read(Lab.a) {
                        ($0.messaging.offset, $0.durable.offset, $0.application.commands)
                    }
                }
                try await Task.sleep(nanoseconds: 30_000_000)
                gate.signal()
                try await busy.value
                let (folded, durable, commands) = try await reader.value
                #expect(folded == durable && commands == 2)
                _ = try await live.outcome(of: first)
                _ = try await live.outcome(of: waiting.value)
            }
        }
    }

    @Test("what a message causes is sent past the limit, and counted")
    func caused() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path, ["a", "b", "c"])
            let transport = GateTransport {
                $0.isDelivery && $0.header.receiver == Lab.c ? .hold : .deliver
            }
            try await Lab.running(ledger, transport, Self.options(1)) { live in
                for _ in 0..<5 {
                    #expect(try await live.exchange(.forward(to: Lab.c)).result == .accepted)
                }
                let (span, past) = try await live.read(Lab.b) {
                    ($0.messaging.peer(Lab.c)?.span, $0.counters.pastPendingMax)
                }
                #expect(span == 5 && past == 4)
                let refusal = await Lab.refusal {
                    try await live.perform(
                        .send(to: Lab.c, .accept()), on: Lab.b, waitsForRoom: false)
                }
                #expect(refusal?.code == .backpressure)
                transport.release()
                try await Lab.settled(live)
                #expect(try await live.read(Lab.c) { $0.application.applied } == 5)
            }
            try Lab.expectClean(ledger)
        }
    }
}
