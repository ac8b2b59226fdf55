// swift-format-ignore-file: NeverForceUnwrap

import TallyCore
import Testing

/// A peer that is heard and lies. It may stop a shard by claiming a fork or a conflict; it may not
/// make it trap, nor write into its log what folds to an anomaly.
@Suite("Hostile peers")
struct HostilePeerTests {
    let a = Duel.a
    let b = Duel.b

    private func envelope(_ duel: Duel, _ random: inout SplitMix64) -> Envelope {
        func number() -> UInt64 {
            switch random.next() % 8 {
            case 0: .max - random.next() % 3
            case 1: random.next()
            case 2: 1 << (random.next() % 64)
            default: random.next() % 8
            }
        }
        func sequence() -> SequenceNumber { SequenceNumber(max(1, number())) }
        func time() -> Timestamp {
            random.next() % 4 == 0
                ? Timestamp(number() >> 1)
                : Timestamp(duel.clock - 1_000_000_000 + random.next() % 2_000_000_000)
        }
        var header = duel.header(from: a, to: b)
        header.durableEnd.offset = Offset(random.next() % 2 == 0 ? 1_000_000 : number())
        header.durableEnd.timestamp = time()
        if random.next() % 20 == 0 { header.senderSession.nonce = Bytes16(low: 1, high: 1) }
        if random.next() % 20 == 0 { header.receiverSession = .none }
        let own = duel.events(b, .sent).last.map { _ in
            duel[b].log.digest(duel.records(b).last { $0.event.kind == .sent }!.message(in: b))
        }
        let digest = random.next() % 2 == 0 ? own ?? .none : Samples.digest(number())
        switch random.next() % 10 {
        case 0..<6:
            let items = (0...random.next() % 3).map { _ in
                Delivery(
                    sequence: sequence(), offset: Offset(number()), sentAt: time(),
                    deadline: random.next() % 2 == 0 ? .none : time(),
                    settledThrough: SequenceNumber(number()), correlation: .none,
                    payload: random.next() % 2 == 0 ? Errand(a).bytes[...] : [1, 2])
            }
            return Envelope(header: header, content: .deliver(items))
        case 6, 7:
            let results: [AnswerItem.Result] = [.accepted, .rejected, .expired, .owed]
            let item = AnswerItem(
                sequence: sequence(), offset: Offset(number()),
                result: results[Int(random.next() % 4)], digest: digest, payload: [0, 9, 9])
            return Envelope(header: header, content: .answer([item]))
        case 8:
            let item = RefusedItem(
                sequence: sequence(), code: UInt32(number() & 15), difference: number())
            return Envelope(header: header, content: .refused([item]))
        default:
            var statement = duel.messaging(b).peer(a)!.statement
            if random.next() % 2 == 0 { statement.offset = Offset(number()) }
            return Envelope(header: header, content: .confirmed(statement))
        }
    }

    @Test("whatever a heard peer sends, nothing traps and no anomaly is written", arguments: 1...40)
    func lies(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        var rules = MessagingState.Rules()
        rules.ordered = seed % 2 == 0
        let duel = Duel(rules: rules, seed: seed)
        for _ in 0..<120 {
            if random.next() % 10 == 0 { duel.send(b, Errand(a)) }
            duel.deliver(envelope(duel, &random))
            duel.clock += random.next() % 500_000_000
            if random.next() % 5 == 0 { duel.wake(b) }
            #expect(duel.messaging(b).anomalyCount == 0)
            if let stop = duel.stop(b) {
                guard case .conflict = stop else {
                    Issue.record("stopped: \(stop)")
                    return
                }
                duel.crash(b)
                _ = duel.settle(rounds: 4)
                duel.lose()
                if duel.stop(b) != nil { break }
            }
        }
        let folded = try duel[b].log.refold(duel.context(b), rules: rules)
        #expect(folded.messaging.encoded() == duel.messaging(b).encoded())
        #expect(folded.messaging.anomalyCount == 0)
    }

    @Test("a peer's durable end at the end of its range does not trap at the next message")
    func durableEnd() {
        let duel = Duel()
        for sequence in 1...2 as ClosedRange<UInt64> {
            duel.deliver(
                duel.forged(from: a, to: b, sequence, payload: Errand(b).bytes) { _, header in
                    header.durableEnd.offset = Offset(.max - 3 + sequence)
                })
        }
        #expect(duel.events(b, .received).count == 2)
        #expect(duel.stop(b) == nil)
    }

    @Test("an envelope to another shard, from a stranger, or from nobody is dropped")
    func strangers() {
        let duel = Duel()
        let count = duel.records(b).count
        let changes: [(inout EnvelopeHeader) -> Void] = [
            { $0.sender = ShardID(0) }, { $0.sender = ShardID(9) }, { $0.receiver = ShardID(1) },
            { $0.receiver = ShardID(.max) }, { $0.senderSession = .none },
            { $0.receiverSession = .none }, { $0.sender = ShardID(2) },
        ]
        let contents: [Envelope.Content] = [
            .deliver([Samples.delivery(1)]), .answer([Samples.answer(.accepted)]),
            .conflict([ConflictItem(sequence: SequenceNumber(1), held: .none, offered: .none)]),
            .confirmed(duel.messaging(b).peer(a)!.statement),
        ]
        for change in changes {
            for content in contents {
                var header = duel.header(from: a, to: b)
                change(&header)
                for input in Input.inputs(of: Envelope(header: header, content: content)) {
                    duel.input(b, input)
                }
            }
        }
        #expect(duel.records(b).count == count)
        #expect(duel.stop(b) == nil)
        duel.send(a, Errand(b))
        #expect(duel.settle())
    }
}
