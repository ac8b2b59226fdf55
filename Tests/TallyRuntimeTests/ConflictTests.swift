import TallyAudit
import TallyCore
import TallyRuntime
import TallyStore
import Testing

@Suite("Other bytes under a known name", .timeLimit(.minutes(10)))
struct ConflictTests {
    /// The envelope that carried a message, with other bytes under the same name.
    private func forged(
        _ transport: GateTransport, _ payload: [UInt8]
    ) throws -> Envelope {
        var envelope = try #require(transport.seen.last { $0.isDelivery })
        envelope = try #require(Envelope(decoding: envelope.encoded()))
        var items = envelope.deliveries
        items[0].payload = payload[...]
        envelope.content = .deliver(items)
        return envelope
    }

    @Test("that come second are recorded once per digest and applied never; the origin goes on")
    func second() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path)
            let transport = GateTransport { $0.isAnswer ? .drop : .deliver }
            try await Lab.running(ledger, transport, Lab.patient) { live in
                try await Lab.settledSessions(live)
                let message = try await live.send(.accept("mine"))
                try await Lab.eventually("b has applied it") {
                    try await live.read(Lab.b) { $0.application.applied } == 1
                }
                for text in ["forged", "forged", "also", "forged"] {
                    transport.inject(try forged(transport, Parcel.accept(text).bytes))
                }
                transport.follow { _ in .deliver }
                let real = try #require(transport.seen.last { $0.isDelivery })
                transport.inject(real)
                let settled = try await live.outcome(of: message)
                #expect(settled.payload == Array("mine".utf8))
                for shard in ledger.shards.all {
                    #expect(try await live.read(shard) { $0.stop } == nil)
                }
                #expect(try await live.read(Lab.b) { $0.application.applied } == 1)
            }
            let there = try Lab.records(ledger, Lab.b, .conflicted)
            #expect(there.map(\.event.reason) == [.delivery, .delivery])
            #expect(Set(there.map(\.event.held)).count == 1)
            #expect(try Lab.records(ledger, Lab.a, .conflicted).isEmpty)
        }
    }

    @Test(
        "that came first: the origin learns it from the answer or a notice, records it, and stops",
        arguments: [Reason.answer, .notice])
    func first(reason: Reason) async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path)
            let transport = GateTransport { $0.isDelivery ? .hold : .deliver }
            let lines = Lines()
            var options = Lab.patient
            options.logger = lines.logger
            try await Lab.running(ledger, transport, options) { live in
                try await Lab.settledSessions(live)
                let message = try await live.send(.accept("mine"))
                try await Lab.eventually("it is under way") { transport.heldCount == 1 }
                let waiting = Task { try await live.outcome(of: message) }
                // A shard can be read before, while and after it stops.
                let reading = Task {
                    for _ in 0..<300 { _ = try await live.read(Lab.a) { $0.durable.offset } }
                }
                if reason == .notice { transport.follow { $0.isAnswer ? .drop : .hold } }
                transport.inject(try forged(transport, Parcel.accept("forged").bytes))
                if reason == .notice {
                    try await Lab.eventually("b has applied the forged one") {
                        try await live.read(Lab.b) { $0.application.applied } == 1
                    }
                    transport.release()
                }
                try await Lab.eventually("a has stopped") {
                    try await live.read(Lab.a) { $0.stop } != nil
                }
                let refusal = await Lab.refusal { _ = try await waiting.value }
                #expect(refusal?.code == .stopped)
                #expect(refusal?.text.contains("a/b/1 has other bytes") == true)
                try await reading.value
                #expect(try await live.perform(.note([1]), on: Lab.b).result == [1])
            }
            #expect(lines.all.filter { $0.contains("a/b/1 has other bytes") }.count == 1)
            let origin = try Lab.records(ledger, Lab.a, .conflicted)
            #expect(origin.map(\.event.reason) == [reason])
            #expect(origin.first?.event.sequence == SequenceNumber(1))
            let there = try Lab.records(ledger, Lab.b, .conflicted)
            #expect(there.map(\.event.reason) == (reason == .notice ? [.delivery] : []))
            let channel = Channel(origin: Lab.a, destination: Lab.b)
            #expect(try Lab.joined(ledger)[channel].conflicting == 1)
        }
    }

    @Test("an envelope with a wrong checksum, or cut short, changes nothing")
    func damaged() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path)
            let transport = GateTransport()
            try await Lab.running(ledger, transport) { live in
                try await live.exchange()
                let real = try #require(transport.seen.last { $0.isDelivery }).encoded()
                for index in stride(from: 0, to: real.count, by: 11) {
                    var bytes = real
                    bytes[index] ^= 0x40
                    transport.inject(bytes, to: Lab.b)
                    transport.inject(Array(real.prefix(index)), to: Lab.b)
                }
                try await live.exchange()
                #expect(try await live.read(Lab.b) { $0.application.applied } == 2)
            }
            #expect(try Lab.records(ledger, Lab.b, .conflicted).isEmpty)
            try Lab.expectClean(ledger)
        }
    }

    @Test("an envelope of an earlier session is not heard")
    func oldSession() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path)
            let transport = GateTransport()
            try await Lab.running(ledger, transport) { try await $0.exchange() }
            let old = try forged(transport, Parcel.accept("forged").bytes)
            let next = GateTransport()
            try await Lab.running(ledger, next) { live in
                try await live.exchange()
                next.inject(old)
                try await live.exchange()
                #expect(try await live.read(Lab.b) { $0.counters.unheard } >= 1)
            }
            #expect(try Lab.records(ledger, Lab.b, .conflicted).isEmpty)
            try Lab.expectClean(ledger)
        }
    }
}
