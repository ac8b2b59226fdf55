import TallyCore
import TallyRuntime
import TallyStore
import Testing

@Suite("Cancellation, and a ledger that is dropped", .timeLimit(.minutes(10)))
struct CancellationTests {
    @Test("who waits for an outcome may give up; the message goes on")
    func outcome() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path)
            let transport = GateTransport { _ in .hold }
            try await Lab.running(ledger, transport, Lab.patient) { live in
                let message = try await live.send()
                let waiting = Task { try await live.outcome(of: message) }
                try await Task.sleep(nanoseconds: 20_000_000)
                waiting.cancel()
                await #expect(throws: CancellationError.self) { try await waiting.value }
                transport.release()
                #expect(try await live.outcome(of: message).result == .accepted)
            }
        }
    }

    @Test("a command that waits for room and is cancelled is never performed")
    func parked() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path)
            let transport = GateTransport { _ in .hold }
            var options = Lab.patient
            options.machine.pendingMax = 1
            try await Lab.running(ledger, transport, options) { live in
                let first = try await live.send()
                let parked = Task { try await live.send(.accept("never")) }
                try await Task.sleep(nanoseconds: 50_000_000)
                parked.cancel()
                await #expect(throws: CancellationError.self) { try await parked.value }
                transport.release()
                _ = try await live.outcome(of: first)
                try await live.exchange(.accept("second"))
            }
            let sent = try Lab.records(ledger, Lab.a, .sent)
            #expect(
                sent.map { String(decoding: $0.payload.dropFirst(), as: UTF8.self) } == [
                    "yes", "second",
                ])
        }
    }

    @Test("a task that is cancelled already performs nothing")
    func before() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path)
            try await Lab.running(ledger) { live in
                let task = Task {
                    unsafe withUnsafeCurrentTask { unsafe $0?.cancel() }
                    return try await live.send()
                }
                await #expect(throws: CancellationError.self) { try await task.value }
                let commands = try await live.read(Lab.a) { $0.application.commands }
                #expect(commands == 0)
            }
        }
    }

    @Test("a ledger that is dropped without closing closes its shards in good order")
    func dropped() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path)
            func use() async throws {
                let live = try Lab.live(ledger)
                try await live.exchange()
            }
            try await use()
            try await Lab.eventually("the writer is gone") { ledger.writer(of: Lab.a) == nil }
            try await Lab.eventually("the other writer is gone") { ledger.writer(of: Lab.b) == nil }
            #expect(Mark.read(ledger.markPath(of: Lab.a))?.isClean == true)
            try Lab.expectClean(ledger)
        }
    }
}
