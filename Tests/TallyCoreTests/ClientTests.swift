@testable import TallyCore
import Testing

/// Commands: recorded once, asked again at will.
@Suite("Clients")
struct ClientTests {
    let a = Duel.a
    let b = Duel.b

    private func code(_ outcome: CommandOutcome) -> Refusal.Code? {
        if case .refused(let refusal) = outcome { refusal.code } else { nil }
    }

    @Test("the same command again returns the recorded result and appends nothing")
    func again() {
        let duel = Duel()
        duel.send(b, Errand(a, .later))
        for index in duel.fresh { duel.deliver(index) }
        duel.order(a, .answerOwed(accepted: true), client: 2, sequence: 1)
        let order = Order.send([Errand(b), Errand(b)])
        guard case .recorded(let first) = duel.order(a, order, client: 2, sequence: 2) else {
            Issue.record("refused")
            return
        }
        #expect(first.messages == [duel.name(a, b, 1), duel.name(a, b, 2)])
        #expect(first.result == Array("sent 2".utf8))
        #expect(first.through.rawValue == first.offset.rawValue + 2)
        let count = duel.records(a).count
        for crash in [false, true, true] {
            if crash { duel.crash(a) }
            let start = duel.records(a).count
            guard case .known(let known) = duel.order(a, order, client: 2, sequence: 2) else {
                Issue.record("not known")
                return
            }
            #expect(known == first)
            #expect(duel.records(a).count == start)
        }
        guard
            case .known(let answered) = duel.order(
                a, .answerOwed(accepted: true), client: 2, sequence: 1)
        else {
            Issue.record("not known")
            return
        }
        #expect(answered.result == Array("answered 1".utf8))
        #expect(answered.through.rawValue == answered.offset.rawValue + 1)
        #expect(duel.kinds(a, from: count).allSatisfy { $0 == .opened })
    }

    @Test("other bytes under a client's sequence conflict")
    func otherBytes() {
        let duel = Duel()
        duel.order(a, .note(1), client: 2, sequence: 1)
        #expect(code(duel.order(a, .note(2), client: 2, sequence: 1)) == .conflicting)
        guard case .recorded = duel.order(a, .note(2), client: 3, sequence: 1) else {
            Issue.record("clients share sequences")
            return
        }
    }

    @Test("a refused command leaves no trace, and may be accepted later")
    func refusal() {
        let duel = Duel()
        let count = duel.records(a).count
        #expect(code(duel.order(a, .refuse, client: 2, sequence: 1)) == .program)
        #expect(code(duel.order(a, .answerNothing, client: 2, sequence: 1)) == .notApplicable)
        #expect(code(duel.send(a, Errand(ShardID(9)))) == .unknownShard)
        #expect(code(duel.order(a, .note(1), client: 2, sequence: 0)) == .notApplicable)
        #expect(duel.records(a).count == count)
        guard case .recorded = duel.order(a, .note(1), client: 2, sequence: 1) else {
            Issue.record("refused")
            return
        }
    }

    @Test("a program that says it is full refuses; it does not seal for ever")
    func programSaysFull() {
        let duel = Duel()
        #expect(code(duel.order(a, .refuseAsFull)) == .full)
    }

    @Test("the last 1,024 commands of a client are remembered, older ones are refused")
    func remembered() {
        let duel = Duel()
        for sequence in 1...1026 as ClosedRange<UInt64> {
            duel.order(a, .note(UInt32(sequence)), client: 2, sequence: sequence)
        }
        #expect(duel.messaging(a).clients[Bytes16(low: 2, high: 0)]?.records.count == 1024)
        #expect(code(duel.order(a, .note(2), client: 2, sequence: 2)) == .tooOld)
        guard case .known = duel.order(a, .note(3), client: 2, sequence: 3) else {
            Issue.record("not remembered")
            return
        }
        duel.crash(a)
        #expect(code(duel.order(a, .note(1), client: 2, sequence: 1)) == .tooOld)
        guard case .known = duel.order(a, .note(1026), client: 2, sequence: 1026) else {
            Issue.record("not remembered after a restart")
            return
        }
    }

    @Test("what a client has settled is forgotten, and refused as too old")
    func settledByTheClient() {
        let duel = Duel()
        duel.order(a, .note(1), client: 2, sequence: 1)
        duel.order(a, .note(2), client: 2, sequence: 2)
        duel.order(a, .note(3), client: 2, sequence: 3, settledThrough: 1)
        #expect(code(duel.order(a, .note(1), client: 2, sequence: 1)) == .tooOld)
        guard case .known = duel.order(a, .note(2), client: 2, sequence: 2) else {
            Issue.record("forgotten too early")
            return
        }
        // A client cannot settle what it has not asked yet.
        duel.order(a, .note(4), client: 2, sequence: 4, settledThrough: 900)
        guard case .known = duel.order(a, .note(4), client: 2, sequence: 4) else {
            Issue.record("a command settled itself")
            return
        }
        guard case .recorded = duel.order(a, .note(5), client: 2, sequence: 5) else {
            Issue.record("a command settled what comes behind it")
            return
        }
    }

    @Test("a sequence at the very end of its range is taken without a trap")
    func lastSequence() {
        let duel = Duel()
        for sequence: UInt64 in [.max, .max - 1, .max - 1023, .max - 1024, 1] {
            duel.order(a, .note(1), client: 2, sequence: sequence)
        }
        #expect(duel.messaging(a).clients[Bytes16(low: 2, high: 0)]?.records.count == 3)
        let bytes = duel.messaging(a).encoded()
        duel.crash(a)
        let state = duel[a].log
        let folded = try! state.refold(duel.context(a), rules: duel.rules, through: 3)
        #expect(
            MessagingState(decoding: bytes[...], shard: a, shardCount: 2, rules: duel.rules)?
                .encoded() == bytes)
        #expect(folded.messaging.anomalyCount == 0)
    }

    @Test("a payload over 16 MiB is refused")
    func tooLarge() {
        let duel = Duel()
        let command = Command(
            client: .none, sequence: SequenceNumber(1),
            payload: [UInt8](repeating: 1, count: CommitFormat.payloadLengthMax + 1))
        guard case .command(let outcome) = duel.input(a, .command(command)) else { return }
        #expect(code(outcome) == .payloadTooLarge)
    }
}
