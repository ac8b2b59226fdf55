// swift-format-ignore-file: NeverForceUnwrap

@testable import TallyCore
import Testing

/// The histories found in the second draft, which confirmed sessions by envelopes (LESSONS.md).
@Suite("Histories of the second draft")
struct SecondDraftHistoryTests {
    let a = Duel.a
    let b = Duel.b

    @Test("two fresh shards confirm each other, each question waiting for nothing")
    func handshakeIsExempt() {
        let duel = Duel(connected: false)
        #expect(!duel[a].machine.hears(b) && !duel[b].machine.hears(a))
        duel.wake(a)
        // One and a half round trips: a asks, b replies and asks, a replies.
        for index in duel.fresh { duel.deliver(index) }
        duel.wake(b)
        for index in duel.fresh { duel.deliver(index) }
        for index in duel.fresh { duel.deliver(index) }
        #expect(duel.hears(a, b) && duel.hears(b, a))
        #expect(duel.kinds(a) == [.opened, .witnessed])
        #expect(duel.kinds(b) == [.opened, .witnessed])
        #expect(duel.bag.allSatisfy { $0.envelope.isAsk || $0.envelope.isConfirmed })
    }

    /// a has asked; b replied, was put back to before the session that replied, and replied again.
    private func twoReplies() -> (duel: Duel, first: Int, second: Int) {
        let duel = Duel()
        let before = duel.commits(b)
        duel.restore(b, to: before)
        duel.crash(a)
        duel.wake(a)
        let ask = duel.fresh.last { duel.bag[$0].envelope.isAsk }!
        duel.lose()
        duel.deliver(ask)
        let first = duel.fresh.last { duel.bag[$0].envelope.isConfirmed }!
        duel.lose()
        duel.restore(b, to: before)
        duel.deliver(ask)
        let second = duel.fresh.last { duel.bag[$0].envelope.isConfirmed }!
        duel.lose()
        return (duel, first, second)
    }

    @Test("the reply of a lost session is heard, the fork is found by the next question")
    func replyOfLostSession() {
        let (duel, first, second) = twoReplies()
        let lost = duel.bag[first].envelope.header.senderSession
        duel.deliver(first)
        duel.deliver(second)
        #expect(duel[a].machine.links[2].heard == lost)
        #expect(duel.messaging(a).peer(b)?.witness.session == lost)
        #expect(duel.settle())
        #expect(duel.refused(b)?.statement.session == lost)
        #expect(duel.stop(a) == nil)
        duel.acceptAll(lost: [])
    }

    @Test("the reply of a lost session that comes second is dropped, and nobody stops")
    func replyOfLostSessionSecond() {
        let (duel, first, second) = twoReplies()
        duel.deliver(second)
        #expect(duel.hears(a, b))
        let count = duel.records(a).count
        duel.deliver(first)
        #expect(duel.hears(a, b))
        #expect(duel.records(a).count == count)
        #expect(duel.settle())
        #expect(duel.problems == [])
    }

    @Test("a witnessed offset that another session has taken is not found")
    func offsetInsideItsSession() {
        let duel = Duel(connected: false)
        duel.restore(b, to: 0)
        duel.restore(b, to: 1)
        #expect(duel.settle())
        let witness = duel.messaging(a).peer(b)!.witness
        #expect(witness.offset == Offset(2))
        duel.restore(b, to: 1)
        #expect(duel.events(b, .opened).count == 2)
        #expect(!duel.messaging(b).holds(witness.offset, in: witness.session, through: Offset(9)))
        #expect(duel.settle())
        #expect(duel.refused(b)?.statement.offset == Offset(2))
        duel.acceptAll(lost: [])
    }

    @Test("once the next session is confirmed, the lost session's message is dropped")
    func onlyTheLastSessionIsHeard() {
        let duel = Duel()
        let before = duel.commits(b)
        duel.send(b, Errand(a, mark: 1))
        let lost = duel.flights(where: \.isDelivery).last!
        duel.lose()
        duel.restore(b, to: before)
        #expect(duel.settle())
        #expect(duel.stop(b) == nil)
        duel.deliver(lost)
        #expect(duel.events(a, .received).isEmpty)
        #expect(duel[a].machine.counters.unheard == 1)
        duel.send(b, Errand(a, mark: 2))
        #expect(duel.settle())
        #expect(duel.problems == [])
        #expect(
            duel.records(a).last { $0.event.kind == .received }?.payload
                == Errand(a, mark: 2).bytes)
    }

    @Test("an old question of a dead session does not stop a healthy shard")
    func oldQuestion() {
        let duel = Duel()
        let before = duel.commits(a)
        duel.send(a, Errand(b))
        #expect(duel.settle())
        // b asks in a session of its own, naming a's present one; the question is kept.
        duel.crash(b)
        duel.wake(b)
        let old = duel.fresh.last { duel.bag[$0].envelope.isAsk }!
        duel.lose()
        #expect(duel.settle())
        duel.send(a, Errand(b))
        #expect(duel.settle())
        duel.restore(a, to: before)
        #expect(duel.settle())
        #expect(duel.refused(a) != nil)
        let stopped = duel.records(a).count
        duel.crash(a)
        #expect(duel.records(a).count == stopped + 1)
        duel.crash(a)
        duel.accept(try! #require(stopAgain(duel)))
        #expect(duel.settle())
        // The old question names an offset that is lost, in a session that is not the present one.
        let statement = duel.bag[old].envelope
        guard case .confirmAsk(let asked) = statement.content else { return }
        #expect(!duel.messaging(a).holds(asked.offset, in: asked.session, through: Offset(99)))
        duel.deliver(old)
        #expect(duel.stop(a) == nil)
        duel.send(a, Errand(b))
        duel.acceptAll(lost: [duel.name(a, b, 1), duel.name(a, b, 2)])
    }

    private func stopAgain(_ duel: Duel) -> ShardID? {
        #expect(duel.settle())
        return duel.refused(a) == nil ? nil : a
    }

    @Test("an answer to a lost session's message does not reach the present one of its name")
    func envelopesNameBothSessions() {
        let duel = Duel()
        // a asks b's first session; its reply stays under way.
        duel.crash(a)
        let before = duel.commits(b)
        duel.wake(a)
        let ask = duel.fresh.last { duel.bag[$0].envelope.isAsk }!
        duel.deliver(ask)
        let late = duel.fresh.last { duel.bag[$0].envelope.isConfirmed }!
        duel.lose()
        // The first session hears a, and sends m1, which stays under way too.
        duel.wake(b)
        duel.deliver(duel.fresh.last { duel.bag[$0].envelope.isAsk }!)
        duel.deliver(duel.fresh.last { duel.bag[$0].envelope.isConfirmed }!)
        #expect(duel.hears(b, a))
        duel.send(b, Errand(a, mark: 1))
        let lost = duel.flights(where: \.isDelivery).last!
        duel.lose()
        // b is put back; its next session hears a, and sends another m1.
        duel.restore(b, to: before)
        duel.wake(b)
        let question = duel.fresh.last { duel.bag[$0].envelope.isAsk }!
        duel.deliver(question)
        duel.deliver(duel.fresh.last { duel.bag[$0].envelope.isConfirmed }!)
        #expect(duel.hears(b, a))
        duel.send(b, Errand(a, mark: 2))
        duel.lose()
        // The late reply makes a hear the dead session; it takes its m1 and answers it.
        duel.deliver(late)
        duel.deliver(lost)
        #expect(duel.applied(b, a, 1) == 1)
        // So it does again after the present session has asked: a knows it, and does not hear it.
        duel.deliver(question)
        duel.deliver(lost)
        #expect(duel[a].machine.links[2].known == duel.messaging(b).session)
        #expect(duel.flights(where: \.isAnswer).count == 2)
        for index in duel.flights(where: \.isAnswer) { duel.deliver(index) }
        #expect(duel.terminal(b, a, 1).isEmpty)
        // The fork is found: b's log does not hold the session that a has witnessed.
        #expect(duel.settle())
        #expect(duel.refused(b)?.statement.session == duel.bag[lost].envelope.header.senderSession)
        duel.acceptAll(lost: [duel.name(b, a, 1)])
        #expect(duel.messaging(b).peer(a)?.counts.lost == 1)
        duel.send(b, Errand(a, mark: 3))
        #expect(duel.settle())
        #expect(duel.applied(b, a, 2) == 1)
    }

    @Test("the openings of two sessions made at one time are not alike")
    func openingsDiffer() {
        let duel = Duel()
        duel.clock += 5_000_000_000
        let before = duel.commits(a)
        let time = duel.clock
        duel.restore(a, to: before)
        let lost = duel[a].log.commits.last!
        #expect(duel.settle())
        #expect(duel.stop(a) == nil)
        duel.clock = time
        duel.restore(a, to: before)
        let present = duel[a].log.commits.last!
        #expect(present.end.timestamp == lost.end.timestamp)
        #expect(present.end.offset == lost.end.offset)
        #expect(present.bytes != lost.bytes)
        #expect(duel.settle())
        #expect(duel.refused(a) != nil)
        duel.acceptAll(lost: [])
    }
}
