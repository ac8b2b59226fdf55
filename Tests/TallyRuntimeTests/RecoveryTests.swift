import Foundation
import TallyAudit
import TallyCore
import TallyRuntime
import TallyStore
import Testing

@Suite("Recovery by an operator", .timeLimit(.minutes(10)))
struct RecoveryTests {
    private static let shards = ["a", "b", "c", "d", "e"]
    private static let undelivered = MessageName(from: Lab.a, to: Lab.b, SequenceNumber(1))
    private static let unacknowledged = MessageName(from: Lab.a, to: Lab.c, SequenceNumber(1))
    private static let expired = MessageName(from: Lab.a, to: ShardID(4), SequenceNumber(1))
    private static let owed = MessageName(from: Lab.a, to: ShardID(5), SequenceNumber(1))

    /// A ledger as a killed process leaves it: one message to each of b, c, d and e, each pending
    /// for another reason.
    private func killed(_ path: String) async throws -> Ledger {
        let ledger = try Lab.ledger(path, Self.shards)
        let transport = GateTransport()
        try await Lab.running(ledger, transport, Lab.patient) { live in
            try await Lab.settledSessions(live)
            transport.follow { envelope in
                if envelope.isAnswer || envelope.header.receiver == Lab.b { return .drop }
                return envelope.isDelivery && envelope.header.receiver == ShardID(4)
                    ? .hold : .deliver
            }
            _ = try await live.send()
            _ = try await live.send(.accept("kept"), to: Lab.c)
            _ = try await live.send(to: ShardID(4), deadlineAfter: 20_000_000)
            _ = try await live.send(.later, to: ShardID(5))
            try await Task.sleep(nanoseconds: 40_000_000)
            transport.release { $0.isAnswer ? .drop : .deliver }
            try await Lab.eventually("the three are received") {
                let applied = try await live.read(Lab.c) { $0.application.applied }
                let owed = try await live.read(ShardID(5)) { $0.messaging.owedCount }
                let late = try await live.read(ShardID(4)) {
                    $0.messaging.peer(Lab.a)?.counts.expired
                }
                return applied == 1 && owed == 1 && late == 1
            }
            try Lab.copy(ledger.directory, to: path + "/killed")
        }
        return try Ledger(path + "/killed")
    }

    @Test("a plan's messages are settled or owed; once more changes no message; verify is clean")
    func apply() async throws {
        try await Lab.withScratch { path in
            let ledger = try await killed(path)
            let plan = try RecoveryPlan.make(AuditLedger(ledger))
            #expect(
                plan.entries.map(\.class) == [.undelivered, .unacknowledged, .expired, .owed])
            #expect(plan.messages == [Self.undelivered, Self.unacknowledged, Self.expired])
            let everything = plan.entries.map(\.message)
            let first = try Recovery.apply(
                everything, plan: plan.id, reason: "after the crash", to: ledger,
                program: Relay.self)
            #expect(first.settled == plan.messages && first.owed == [Self.owed])
            #expect(first.unsettled.isEmpty && first.stops.isEmpty)
            let again = try Lab.records(ledger, Lab.a, .reemitted)
            #expect(again.count == 4)
            #expect(again.allSatisfy { $0.event.reason == .recovery })
            #expect(again.allSatisfy { $0.event.identity == plan.id })
            #expect(again.allSatisfy { $0.payload == Array("after the crash".utf8) })
            #expect(try plan.currency(for: AuditLedger(ledger)).isCurrent)
            let settled = try Lab.records(ledger, Lab.a).count
            let second = try Recovery.apply(
                plan.messages, plan: plan.id, reason: "again", to: ledger, program: Relay.self)
            #expect(second.settled == plan.messages)
            let records = try Lab.records(ledger, Lab.a)
            #expect(
                records[settled...].allSatisfy { [.opened, .witnessed].contains($0.event.kind) })
            #expect(records.count { $0.event.kind == .acknowledged } == 2)
            #expect(records.count { $0.event.kind == .timedOut } == 1)
            #expect(try Lab.records(ledger, Lab.c, .received).count == 1)
            try Lab.expectClean(ledger)
            try await Lab.running(ledger) { live in
                #expect(try await live.outcome(of: Self.expired).result == .timedOut)
                #expect(
                    try await live.outcome(of: Self.unacknowledged).payload == Array("kept".utf8))
                try await live.perform(.answerOwed, on: ShardID(5))
                #expect(try await live.outcome(of: Self.owed).result == .accepted)
            }
            try Lab.expectClean(ledger)
        }
    }

    @Test("opening for normal work settles the same messages without a plan")
    func byItself() async throws {
        try await Lab.withScratch { path in
            let ledger = try await killed(path)
            try await Lab.running(ledger) { live in
                #expect(try await live.outcome(of: Self.undelivered).result == .accepted)
                #expect(try await live.outcome(of: Self.unacknowledged).result == .accepted)
                #expect(try await live.outcome(of: Self.expired).result == .timedOut)
                #expect(try await live.read(Lab.a) { $0.messaging.pendingCount } == 1)
                try await live.perform(.answerOwed, on: ShardID(5))
                try await Lab.settled(live)
            }
            try Lab.expectClean(ledger)
        }
    }

    @Test("a precheck that throws ends a recovery with nothing changed")
    func precheck() async throws {
        try await Lab.withScratch { path in
            let ledger = try await killed(path)
            let before = try Lab.records(ledger, Lab.a)
            let refusal = await Lab.refusal {
                _ = try Recovery.apply(
                    [Self.undelivered], plan: Lab.client, reason: "no", to: ledger,
                    program: Relay.self, precheck: { throw Refusal("not now") })
            }
            #expect(refusal?.text == "not now")
            #expect(try Lab.records(ledger, Lab.a) == before)
            #expect(ledger.writer(of: Lab.a) == nil)
        }
    }

    @Test("a message whose destination cannot be opened stops a recovery before its first act")
    func destinationHeld() async throws {
        try await Lab.withScratch { path in
            let ledger = try await killed(path)
            let before = try Lab.records(ledger, Lab.a)
            let live = try LiveLedger(
                ledger, program: Relay.self, shards: [Lab.b], options: Lab.options)
            let error = await Lab.storeError {
                _ = try Recovery.apply(
                    [Self.undelivered], plan: Lab.client, reason: "no", to: ledger,
                    program: Relay.self)
            }
            #expect(error?.code == .held)
            await live.close()
            #expect(try Lab.records(ledger, Lab.a) == before)
        }
    }

    @Test("a forced timeout ends a message; its late answer is recorded as overruled, once")
    func force() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path)
            try await Lab.running(ledger) { live in
                _ = try await live.send(.later)
                try await Lab.eventually("b owes an answer") {
                    try await live.read(Lab.b) { $0.messaging.owedCount } == 1
                }
            }
            let message = MessageName(from: Lab.a, to: Lab.b, SequenceNumber(1))
            try Recovery.force(message, reason: "gave up", in: ledger, program: Relay.self)
            let timeouts = try Lab.records(ledger, Lab.a, .timedOut)
            #expect(timeouts.map(\.event.reason) == [.forced])
            #expect(timeouts.map(\.payload) == [Array("gave up".utf8)])
            let before = try Lab.records(ledger, Lab.a).count
            let refusal = await Lab.refusal {
                try Recovery.force(message, reason: "again", in: ledger, program: Relay.self)
            }
            #expect(refusal?.code == .notApplicable)
            #expect(try Lab.records(ledger, Lab.a).count == before)
            let transport = GateTransport { $0.isAnswer ? .twice : .deliver }
            try await Lab.running(ledger, transport) { live in
                let settled = try await live.outcome(of: message)
                #expect(settled.result == .timedOut && settled.payload == Array("gave up".utf8))
                #expect(try await live.read(Lab.a) { $0.application.timedOut } == 1)
                try await Lab.settledSessions(live)
                try await live.exchange()
                #expect(try await live.perform(.answerOwed, on: Lab.b).result == Array("1".utf8))
                try await Lab.eventually("both copies of the answer have come") {
                    try await live.read(Lab.a) { $0.counters.late } >= 2
                }
                #expect(try await live.read(Lab.a) { $0.stop } == nil)
                try await live.exchange()
            }
            let conflicts = try Lab.records(ledger, Lab.a, .conflicted)
            #expect(conflicts.map(\.event.reason) == [.overruled])
            let joined = try Lab.joined(ledger)
            #expect(joined[message.channel].overruled == 1 && joined[message.channel].pending == 0)
        }
    }
}
