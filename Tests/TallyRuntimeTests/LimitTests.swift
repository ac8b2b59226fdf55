import TallyAudit
import TallyCore
import TallyRuntime
import TallyStore
import Testing

@Suite("Limits of room and size", .timeLimit(.minutes(10)))
struct LimitTests {
    @Test("a full map fails commands with its own error; a larger one has all that was released")
    func fullMap() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path)
            var options = Lab.options
            options.mapSize = 256 << 10
            let live = try Lab.live(ledger, InProcessTransport(), options)
            var released: [Performed] = []
            var error: StoreError?
            while error == nil, released.count < 1000 {
                do {
                    let bytes = [UInt8](repeating: UInt8(released.count & 255), count: 2000)
                    released.append(try await live.perform(.note(bytes), on: Lab.a))
                } catch let found as StoreError {
                    error = found
                }
            }
            #expect(error?.code == .full && error?.text.contains("larger map") == true)
            #expect(released.count > 10)
            // It stays that way, for whoever asks for whatever, and closing ends all the same.
            let again = await Lab.storeError { try await live.perform(.note([1]), on: Lab.a) }
            #expect(again?.code == .full)
            let read = await Lab.storeError { _ = try await live.read(Lab.a) { $0.durable } }
            #expect(read?.code == .full)
            let message = MessageName(from: Lab.a, to: Lab.b, SequenceNumber(1))
            let outcome = await Lab.storeError { _ = try await live.outcome(of: message) }
            #expect(outcome?.code == .full)
            #expect(try await live.perform(.note([5]), on: Lab.b).result == [5])
            await live.close()
            #expect(Mark.read(ledger.markPath(of: Lab.a))?.isClean == false)
            let commanded = try Lab.records(ledger, Lab.a, .commanded)
            #expect(commanded.map(\.result) == released.map(\.result))
            try await Lab.running(ledger) { live in
                #expect(
                    try await live.read(Lab.a) { $0.application.notes } == UInt64(released.count))
                for _ in 0..<5 { try await live.exchange() }
            }
            try Lab.expectClean(ledger)
        }
    }

    @Test(
        "payloads of no bytes and of 16 MiB are sent, received and answered",
        arguments: [0, 16 << 20])
    func payloads(count: Int) async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path)
            try await Lab.running(ledger, InProcessTransport(), Lab.patient) { live in
                let performed = try await live.perform(
                    .sendBytes(to: Lab.b, count: count), on: Lab.a)
                let message = try #require(performed.messages.first)
                let settled = try await live.outcome(of: message)
                #expect(settled.result == .accepted && settled.payload.count == count)
                #expect(settled.payload.allSatisfy { $0 == 0xEE })
            }
            let received = try Lab.records(ledger, Lab.b, .received)
            #expect(received.map(\.payload.count) == [count])
            // Read back from the log in a later session.
            try await Lab.running(ledger) { live in
                let message = MessageName(from: Lab.a, to: Lab.b, SequenceNumber(1))
                let settled = try await live.outcome(of: message)
                #expect(settled.payload.count == count)
            }
        }
    }

    @Test("one byte more is refused, as a message and as a command, and leaves no trace")
    func tooLarge() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path)
            let limit = 16 << 20
            try await Lab.running(ledger) { live in
                let message = await Lab.refusal {
                    try await live.perform(.sendBytes(to: Lab.b, count: limit + 1), on: Lab.a)
                }
                #expect(message?.code == .payloadTooLarge)
                let bytes = [UInt8](repeating: 1, count: limit)
                let command = await Lab.refusal { try await live.perform(.note(bytes), on: Lab.a) }
                #expect(command?.code == .payloadTooLarge)
                let fits = Array(bytes.dropLast())
                try await live.perform(.note(fits), on: Lab.a)
            }
            let commanded = try Lab.records(ledger, Lab.a, .commanded)
            #expect(commanded.map(\.payload.count) == [limit])
            try Lab.expectClean(ledger)
        }
    }
}
