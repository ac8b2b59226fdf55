@testable import TallyCore
import Testing

/// The origin's rules: evidence, force, conflicts, limits, cause and correlation.
@Suite("Rules of the origin")
struct OriginRuleTests {
    let a = Duel.a
    let b = Duel.b

    @Test("a timeout by force is overruled by a late answer, recorded once")
    func overruled() {
        let duel = Duel()
        duel.send(a, Errand(b))
        for index in duel.fresh { duel.deliver(index) }
        let answer = duel.flights(where: \.isAnswer).last!
        duel.lose()
        duel.input(a, .force(duel.name(a, b, 1), reason: Array("tired".utf8)))
        let forced = duel.records(a).last { $0.event.kind == .timedOut }
        #expect(forced?.event.reason == .forced)
        #expect(forced?.payload == Array("tired".utf8))
        #expect(duel.state(a).outcomes == [duel.name(a, b, 1): 1])
        for _ in 0..<3 { duel.deliver(answer) }
        #expect(duel.events(a, .conflicted).map(\.reason) == [.overruled])
        duel.crash(a)
        #expect(duel.settle())
        var again = duel.bag[answer].envelope
        again.header = duel.header(from: b, to: a)
        duel.deliver(again)
        #expect(duel.events(a, .conflicted).count == 1)
        #expect(duel.stop(a) == nil)
        #expect(duel.terminal(a, b, 1).count == 1)
        #expect(duel.problems == [])
    }

    @Test("a late expiry does not overrule a timeout by force")
    func expiryAfterForce() {
        let duel = Duel()
        duel.send(a, Errand(b, deadlineAfter: 1))
        let delivery = duel.flights(where: \.isDelivery).last!
        duel.lose()
        duel.input(a, .force(duel.name(a, b, 1), reason: []))
        duel.deliver(delivery)
        for index in duel.fresh { duel.deliver(index) }
        #expect(duel.events(b, .received).map(\.outcome) == [.expired])
        #expect(duel.events(a, .conflicted).isEmpty)
    }

    @Test("only what is pending can be timed out by force")
    func forceNeedsPending() {
        let duel = Duel()
        duel.send(a, Errand(b))
        #expect(duel.settle())
        let count = duel.records(a).count
        for name in [
            duel.name(a, b, 1), duel.name(a, b, 2), duel.name(b, a, 1),
            MessageName(from: a, to: ShardID(9), SequenceNumber(1)),
        ] {
            guard case .command(.refused(let refusal)) = duel.input(a, .force(name, reason: []))
            else {
                Issue.record("\(name) was forced")
                continue
            }
            #expect(refusal.code == .notApplicable)
        }
        #expect(duel.records(a).count == count)
    }

    @Test("an answer that names other bytes is a conflict, and settles nothing")
    func answerNamesBytes() {
        let duel = Duel()
        duel.send(a, Errand(b))
        duel.lose()
        duel.deliver(
            duel.forgedAnswer(from: b, to: a, 1, result: .accepted) { item, _ in
                item.digest = Digest((1, 2, 3, 4))
            })
        #expect(duel.terminal(a, b, 1).isEmpty)
        #expect(duel.events(a, .conflicted).map(\.reason) == [.answer])
        guard case .conflict(let name, let held, _)? = duel.stop(a) else {
            Issue.record("a goes on")
            return
        }
        #expect(name == duel.name(a, b, 1))
        #expect(held == Digest((1, 2, 3, 4)))
        duel.crash(a)
        duel.deliver(
            duel.forgedAnswer(from: b, to: a, 1, result: .accepted) { item, _ in
                item.digest = Digest((1, 2, 3, 4))
            })
        #expect(duel.events(a, .conflicted).count == 1)
        #expect(duel.settle())
        #expect(duel.terminal(a, b, 1).count == 1)
    }

    @Test("a conflict that is told of the very bytes held here is ignored")
    func falseConflict() {
        let duel = Duel()
        duel.send(a, Errand(b))
        let sent = duel.records(a).last { $0.event.kind == .sent }!
        let digest = duel[a].log.digest(sent.message(in: a))
        let item = ConflictItem(sequence: SequenceNumber(1), held: digest, offered: .none)
        duel.deliver(Envelope(header: duel.header(from: b, to: a), content: .conflict([item])))
        #expect(duel.stop(a) == nil)
        #expect(duel.settle())
        #expect(duel.problems == [])
    }

    @Test("an answer that cannot be true is refused")
    func untrueAnswers() {
        let duel = Duel()
        duel.send(a, Errand(b))
        duel.lose()
        let count = duel.records(a).count
        let changes: [(inout AnswerItem, inout EnvelopeHeader) -> Void] = [
            { item, _ in item.offset = .none },
            { item, _ in item.offset.rawValue += 1 },
            { item, _ in item.result = .expired },
            { _, header in header.durableEnd.timestamp.rawValue += 3_600_000_000_000 },
        ]
        for change in changes {
            duel.deliver(
                duel.forgedAnswer(from: b, to: a, 1, result: .accepted, change: change))
        }
        #expect(duel.records(a).count == count)
        #expect(duel[a].machine.counters.refused == 4)
        #expect(duel.stop(a) == nil)
        #expect(duel.settle())
        #expect(duel.problems == [])
    }

    @Test("the terminal event and what it leads to are one commit")
    func terminalFirst() {
        let duel = Duel()
        duel.send(a, Errand(b, afterwards: [Errand(b, mark: 7), Errand(a, mark: 8)]))
        for index in duel.fresh { duel.deliver(index) }
        let count = duel.commits(a)
        let records = duel.records(a).count
        for index in duel.fresh { duel.deliver(index) }
        #expect(duel.commits(a) == count + 1)
        #expect(duel.kinds(a, from: records) == [.acknowledged, .sent, .sent])
        let terminal = duel.records(a)[records]
        #expect(
            duel.events(a, .sent).suffix(2).allSatisfy {
                $0.cause == Offset(UInt64(records + 1))
                    && $0.correlation == terminal.event.correlation
            })
        #expect(duel.settle())
        #expect(duel.problems == [])
    }

    @Test("the correlation of a command goes with all that it causes, across shards")
    func correlation() {
        let duel = Duel()
        let trace = Bytes16(low: 0xA, high: 0xB)
        let order = Order.send([Errand(b, .later, then: [Errand(a, afterwards: [Errand(b)])])])
        duel.input(
            a,
            .command(
                Command(
                    client: Bytes16(low: 5, high: 0), sequence: SequenceNumber(1),
                    correlation: trace, payload: order.bytes)))
        #expect(duel.settle(answering: true))
        let correlated: Set<EventKind> = [.sent, .received, .answered, .acknowledged]
        for shard in [a, b] {
            let events = duel.records(shard).map(\.event).filter { correlated.contains($0.kind) }
            #expect(events.count >= 4)
            #expect(events.allSatisfy { $0.correlation == trace })
        }
        #expect(duel.problems == [])
    }

    @Test("only commands are refused for back-pressure, and taken again once something settles")
    func backpressure() {
        var options = MachineOptions()
        options.pendingMax = 2
        let duel = Duel(options: options)
        guard case .refused(let tooMany) = duel.send(a, Errand(b), Errand(b), Errand(b)) else {
            Issue.record("three were taken at once")
            return
        }
        #expect(tooMany.code == .backpressure)
        duel.send(a, Errand(b), Errand(b))
        let count = duel.records(a).count
        guard case .refused = duel.send(a, Errand(b)) else {
            Issue.record("taken past the limit")
            return
        }
        #expect(duel.records(a).count == count)
        // The limit is the channel's: a to itself is free.
        guard case .recorded = duel.send(a, Errand(a)) else {
            Issue.record("refused for another channel")
            return
        }
        duel.send(b, Errand(a, then: [Errand(b), Errand(b)]))
        #expect(duel.settle())
        #expect(duel[a].machine.counters.pastPendingMax > 0)
        #expect(duel.problems == [])
        guard case .recorded = duel.send(a, Errand(b)) else {
            Issue.record("refused although all is settled")
            return
        }
    }
}
