import TallyCore
import TallyRuntime
import TallyStore
import Testing

@Suite("The outcome of a sent message", .timeLimit(.minutes(10)))
struct OutcomeTests {
    @Test("is awaited while it is pending, and is the same when asked for once it is settled")
    func outcomes() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path)
            var found: [Settled] = []
            try await Lab.running(ledger) { live in
                for (parcel, result) in [
                    (Parcel.accept("fine"), MessageResult.accepted), (.reject("bad"), .rejected),
                ] {
                    let settled = try await live.exchange(parcel)
                    #expect(settled.result == result)
                    #expect(settled.payload == Array((result == .accepted ? "fine" : "bad").utf8))
                    #expect(try await live.outcome(of: settled.message) == settled)
                    found.append(settled)
                }
            }
            let log = try ledger.openForReading(Lab.a)
            for settled in found {
                #expect(try log.record(at: settled.offset)?.event.kind == .acknowledged)
                #expect(
                    try log.record(at: settled.offset)?.event.sequence == settled.message.sequence)
            }
            try await Lab.running(ledger) { live in
                for settled in found {
                    let again = try await live.outcome(of: settled.message)
                    #expect(again == settled)
                }
            }
        }
    }

    @Test("is refused for a message that was never sent, or not by a shard that is open here")
    func neverSent() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path)
            try await Lab.running(ledger) { live in
                try await live.exchange()
                for message in [
                    MessageName(from: Lab.a, to: Lab.b, SequenceNumber(2)),
                    MessageName(from: Lab.a, to: Lab.b, .none),
                    MessageName(from: Lab.b, to: Lab.a, SequenceNumber(1)),
                    MessageName(from: Lab.a, to: ShardID(9), SequenceNumber(1)),
                ] {
                    let refusal = await Lab.refusal { _ = try await live.outcome(of: message) }
                    #expect(refusal?.code == .notApplicable)
                }
                let elsewhere = MessageName(from: ShardID(9), to: Lab.b, SequenceNumber(1))
                let refusal = await Lab.refusal { _ = try await live.outcome(of: elsewhere) }
                #expect(refusal?.code == .unknownShard)
            }
        }
    }

    @Test("reaches everyone who waits for it, and an answer that comes later settles it")
    func later() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path)
            try await Lab.running(ledger) { live in
                let message = try await live.send(.later)
                try await withThrowingTaskGroup(of: Settled.self) { group in
                    for _ in 0..<10 { group.addTask { try await live.outcome(of: message) } }
                    try await Lab.eventually("b owes an answer") {
                        try await live.read(Lab.b) { $0.messaging.owedCount } == 1
                    }
                    let answered = try await live.perform(.answerOwed, on: Lab.b)
                    #expect(answered.result == Array("1".utf8))
                    for try await settled in group {
                        #expect(settled.message == message && settled.payload == [7])
                    }
                }
                #expect(try await live.read(Lab.a) { $0.application.accepted } == 1)
            }
            try Lab.expectClean(ledger)
        }
    }

    @Test("of a message to the own shard comes like any other")
    func toItself() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path)
            try await Lab.running(ledger) { live in
                let settled = try await live.exchange(.accept("self"), to: Lab.a)
                #expect(settled.result == .accepted && settled.payload == Array("self".utf8))
            }
            try Lab.expectClean(ledger)
        }
    }
}
