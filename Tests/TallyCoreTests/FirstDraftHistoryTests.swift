import TallyCore
import Testing

/// The histories that a model checker found in the first draft of the rules (LESSONS.md).
@Suite("Histories of the first draft")
struct FirstDraftHistoryTests {
    let a = Duel.a
    let b = Duel.b

    /// a has sent m1 and b has received it; a is then put back to where it was before.
    private func lostSend(crashes: Int = 0) -> Duel {
        let duel = Duel()
        let before = duel.commits(a)
        duel.send(a, Errand(b))
        #expect(duel.settle())
        duel.restore(a, to: before)
        for _ in 0..<crashes { duel.crash(a) }
        return duel
    }

    @Test("an origin that lost a send its peer has received stops, and goes on once accepted")
    func lostSendIsNoticed() {
        let duel = lostSend()
        let start = duel.records(a).count - 1
        #expect(duel.settle())
        let refused = duel.refused(a)
        #expect(refused?.peer == b)
        #expect(refused?.statement.receivedThrough == SequenceNumber(1))
        #expect(duel.stop(b) == nil)
        #expect(!duel.kinds(a, from: start).contains(.intervened))
        duel.acceptAll(lost: [duel.name(a, b, 1)])
        #expect(duel.events(a, .intervened).count == 1)
        #expect(duel.messaging(a).peer(b)?.next == SequenceNumber(2))
        duel.send(a, Errand(b))
        #expect(duel.settle())
        #expect(duel.terminal(a, b, 2).map(\.kind) == [.acknowledged])
        #expect(duel.applied(a, b, 1) == 1)
        #expect(duel.applied(a, b, 2) == 1)
    }

    @Test("an origin restored to a settled message's pending stops instead of waiting for ever")
    func settledBecomesPending() {
        let duel = Duel()
        duel.send(a, Errand(b))
        let pending = duel.commits(a)
        #expect(duel.settle())
        duel.send(a, Errand(b))
        #expect(duel.settle())
        #expect(duel.messaging(b).peer(a)?.floor == SequenceNumber(1))
        duel.restore(a, to: pending)
        #expect(duel.messaging(a).pendingCount == 1)
        #expect(duel.settle())
        #expect(duel.refused(a)?.peer == b)
        duel.acceptAll(lost: [duel.name(a, b, 1), duel.name(a, b, 2)])
        #expect(duel.messaging(a).peer(b)?.counts.lost == 1)
        #expect(duel.messaging(a).peer(b)?.next == SequenceNumber(3))
        #expect(duel.applied(a, b, 1) == 1)
    }

    @Test("so does one that holds every message its peer has seen, and lost only a settlement")
    func settledBecomesPendingBehindItsSends() {
        let duel = Duel()
        duel.send(a, Errand(b, mark: 1))
        duel.send(a, Errand(b, mark: 2))
        let pending = duel.commits(a)
        let first = duel.fresh[0]
        duel.lose()
        duel.deliver(first)
        // m1 settles; m2 is sent again, and says so. b holds nothing of a's log behind m2's send.
        #expect(duel.settle())
        #expect(duel.messaging(b).peer(a)?.floor == SequenceNumber(1))
        duel.restore(a, to: pending)
        #expect(duel.messaging(a).pendingCount == 2)
        #expect(duel.settle())
        #expect(duel.refused(a)?.statement.floor == SequenceNumber(1))
        duel.acceptAll(lost: [duel.name(a, b, 1)])
        #expect(duel.messaging(a).peer(b)?.counts.lost == 1)
        #expect(duel.terminal(a, b, 1).isEmpty)
        #expect(duel.terminal(a, b, 2).map(\.kind) == [.acknowledged])
        #expect(duel.applied(a, b, 1) == 1)
        #expect(duel.applied(a, b, 2) == 1)
    }

    @Test("a destination that lost a receipt whose answer arrived stops")
    func lostReceipt() {
        let duel = Duel()
        let before = duel.commits(b)
        duel.send(a, Errand(b))
        #expect(duel.settle())
        #expect(duel.terminal(a, b, 1).count == 1)
        duel.restore(b, to: before)
        #expect(duel.settle())
        #expect(duel.refused(b)?.peer == a)
        #expect(duel.stop(a) == nil)
        duel.acceptAll(lost: [duel.name(a, b, 1)])
        // The effect is gone with the tail, and it is not done again: a knows it as settled.
        #expect(duel.applied(a, b, 1) == 0)
        #expect(duel.messaging(b).peer(a)?.floor == SequenceNumber(1))
        duel.send(a, Errand(b))
        #expect(duel.settle())
        #expect(duel.applied(a, b, 2) == 1)
        #expect(duel.terminal(a, b, 2).count == 1)
    }

    @Test("an answer of a lost session settles nothing once the next session is heard")
    func lostReceiptUnseen() {
        let duel = Duel()
        let before = duel.commits(b)
        duel.send(a, Errand(b, .reject))
        for index in duel.fresh { duel.deliver(index) }
        let answers = duel.flights(where: \.isAnswer)
        duel.lose()
        duel.restore(b, to: before)
        for index in answers { duel.bag[index].isFresh = false }
        // The new session is confirmed before the old answer arrives.
        while !duel.hears(a, b) {
            for index in duel.fresh { duel.deliver(index) }
            duel.clock += 200_000_000
            for shard in duel.directory.all { duel.wake(shard) }
        }
        let unheard = duel[a].machine.counters.unheard
        for index in answers { duel.deliver(index) }
        #expect(duel[a].machine.counters.unheard > unheard)
        #expect(duel.settle())
        #expect(duel.problems == [])
        #expect(duel.applied(a, b, 1) == 1)
        #expect(duel.terminal(a, b, 1).count == 1)
    }

    @Test("one more crash does not hide a fork")
    func forkBehindCrash() {
        let duel = lostSend(crashes: 2)
        #expect(duel.settle())
        #expect(duel.refused(a)?.peer == b)
        duel.acceptAll(lost: [duel.name(a, b, 1)])
    }

    @Test("the old answer to a lost message does not settle another message of its name")
    func oldAnswer() {
        let duel = Duel()
        let before = duel.commits(a)
        duel.send(a, Errand(b, mark: 1))
        #expect(duel.settle())
        duel.restore(a, to: before)
        duel.send(a, Errand(b, mark: 2))
        for index in duel.flights(where: \.isAnswer) { duel.deliver(index) }
        #expect(duel.terminal(a, b, 1).isEmpty)
        #expect(duel.settle())
        #expect(duel.refused(a)?.peer == b)
        duel.acceptAll(lost: [duel.name(a, b, 1)])
        #expect(duel.terminal(a, b, 1).isEmpty)
        #expect(duel.messaging(a).peer(b)?.counts.lost == 1)
        #expect(duel.messaging(a).peer(b)?.next == SequenceNumber(2))
        #expect(duel.applied(a, b, 1) == 1)
    }

    @Test("a conflicting delivery is answered, and its origin stops")
    func conflictingDelivery() {
        let duel = Duel()
        duel.send(a, Errand(b, mark: 1))
        duel.lose()
        let other = Errand(b, mark: 2).bytes
        duel.deliver(duel.forged(from: a, to: b, 1, payload: other))
        duel.lose()
        #expect(duel.settle())
        guard case .conflict(let name, let held, let offered)? = duel.stop(a) else {
            Issue.record("a goes on")
            return
        }
        #expect(name == duel.name(a, b, 1))
        #expect(held != offered)
        #expect(duel.events(a, .conflicted).map(\.reason) == [.notice])
        #expect(duel.events(b, .conflicted).map(\.reason) == [.delivery])
        #expect(duel.events(b, .conflicted).first?.held == held)
        #expect(duel.events(b, .conflicted).first?.offered == offered)
        #expect(duel.terminal(a, b, 1).isEmpty)
        #expect(duel.applied(a, b, 1) == 1)
        // It is still so after a restart, and nothing is recorded twice.
        duel.crash(a)
        #expect(duel.settle())
        #expect(duel.stop(a) != nil)
        #expect(duel.events(a, .conflicted).count == 1)
        #expect(duel.events(b, .conflicted).count == 1)
    }

    @Test("two shards that answer by sending do not deadlock at their limits")
    func noDeadlock() {
        var options = MachineOptions()
        options.pendingMax = 1
        let duel = Duel(options: options)
        duel.send(a, Errand(b, then: [Errand(a)]))
        duel.send(b, Errand(a, then: [Errand(b)]))
        guard case .refused(let refusal) = duel.send(a, Errand(b)) else {
            Issue.record("taken past the limit")
            return
        }
        #expect(refusal.code == .backpressure)
        #expect(duel.settle())
        #expect(duel.problems == [])
        #expect(duel[a].machine.counters.pastPendingMax == 1)
        #expect(duel.events(a, .acknowledged).count == 2)
        #expect(duel.events(b, .acknowledged).count == 2)
    }

    @Test("one message owed for ever bounds the span, not the count")
    func boundedSpan() {
        var options = MachineOptions()
        options.pendingMax = 4
        let duel = Duel(options: options)
        duel.send(a, Errand(b, .later))
        for _ in 0..<3 {
            duel.send(a, Errand(b))
            for index in duel.fresh { duel.deliver(index) }
            for index in duel.fresh { duel.deliver(index) }
        }
        #expect(duel.messaging(a).pendingCount == 1)
        guard case .refused(let refusal) = duel.send(a, Errand(b)) else {
            Issue.record("taken past the limit")
            return
        }
        #expect(refusal.code == .backpressure)
        #expect(duel.settle(answering: true))
        guard case .recorded = duel.send(a, Errand(b)) else {
            Issue.record("refused although all is settled")
            return
        }
    }
}
