import TallyCore
import Testing

/// What follows once an operator has accepted a lost tail.
@Suite("Histories of the second draft: after an accept")
struct AcceptHistoryTests {
    let a = Duel.a
    let b = Duel.b

    @Test("an accepted shard does not stop again over the same statement, restarts included")
    func stopsOnce() {
        let duel = Duel()
        let before = duel.commits(a)
        duel.send(a, Errand(b))
        #expect(duel.settle())
        duel.restore(a, to: before)
        #expect(duel.settle())
        duel.accept(a)
        duel.crash(a)
        duel.crash(a)
        #expect(duel.settle())
        duel.crash(b)
        #expect(duel.settle())
        #expect(duel.stop(a) == nil && duel.stop(b) == nil)
        #expect(duel.events(a, .intervened).count == 1)
    }

    @Test("the statement is covered exactly: another one stops the shard again")
    func anotherStatement() {
        let duel = Duel()
        let before = duel.commits(a)
        duel.send(a, Errand(b))
        #expect(duel.settle())
        duel.restore(a, to: before)
        #expect(duel.settle())
        var (peer, statement) = duel.refused(a)!
        statement.statementOffset.rawValue += 1
        duel.crash(a)
        duel.input(a, .intervene(.acceptPeer(peer, statement, reason: [])))
        #expect(duel.settle())
        #expect(duel.refused(a) != nil)
        duel.acceptAll(lost: [duel.name(a, b, 1)])
        peer = a
    }

    @Test("own sends that the peer holds under other bytes are closed, others stay")
    func overlappingSends() {
        let duel = Duel()
        duel.send(a, Errand(b, .later, mark: 1))
        #expect(duel.settle(rounds: 3) == false)
        let before = duel.commits(a)
        duel.send(a, Errand(b, .later, mark: 2))
        for index in duel.fresh { duel.deliver(index) }
        #expect(duel.messaging(b).peer(a)?.receivedThrough == SequenceNumber(2))
        duel.lose()
        duel.restore(a, to: before)
        duel.send(a, Errand(b, mark: 3))
        duel.send(a, Errand(b, mark: 4))
        duel.lose()
        // a has m1 in common with b; its own m2 overlaps what b holds; its m3 does not.
        _ = duel.settle(rounds: 20)
        #expect(duel.refused(a)?.statement.receivedThrough == SequenceNumber(2))
        duel.accept(a)
        #expect(duel.messaging(a).peer(b)?.counts.lost == 1)
        #expect(duel.messaging(a).peer(b)?.pending.count == 2)
        duel.acceptAll(lost: [duel.name(a, b, 2)])
        #expect(duel.terminal(a, b, 1).count == 1)
        #expect(duel.terminal(a, b, 2).isEmpty)
        #expect(duel.terminal(a, b, 3).count == 1)
        #expect(duel.events(b, .conflicted).isEmpty)
        #expect(duel.messaging(a).anomalyCount == 0)
    }

    @Test("a message at or below the peer's floor does not stay pending")
    func belowTheFloor() {
        let duel = Duel()
        duel.send(a, Errand(b, mark: 1))
        let before = duel.commits(a)
        #expect(duel.settle())
        duel.send(a, Errand(b, mark: 2))
        #expect(duel.settle())
        #expect(duel.messaging(b).peer(a)?.floor == SequenceNumber(1))
        duel.restore(a, to: before)
        #expect(duel.settle())
        duel.accept(a)
        #expect(duel.messaging(a).peer(b)?.pending.isEmpty == true)
        #expect(duel.messaging(a).peer(b)?.counts.lost == 1)
        duel.acceptAll(lost: [duel.name(a, b, 1), duel.name(a, b, 2)])
    }

    @Test("a destination that lost receipts takes what is pending again, and no settled message")
    func lostReceipts() {
        let duel = Duel()
        let before = duel.commits(b)
        duel.send(a, Errand(b, mark: 1))
        #expect(duel.settle())
        duel.send(a, Errand(b, .later, mark: 2))
        _ = duel.settle(rounds: 3)
        duel.restore(b, to: before)
        _ = duel.settle(rounds: 30)
        #expect(duel.refused(b)?.statement.settledThrough == SequenceNumber(1))
        duel.acceptAll(lost: [duel.name(a, b, 1)])
        #expect(duel.messaging(b).peer(a)?.floor == SequenceNumber(1))
        #expect(duel.applied(a, b, 1) == 0)
        #expect(duel.applied(a, b, 2) == 1)
        #expect(duel.terminal(a, b, 2).count == 1)
    }

    @Test("with three shards each peer is accepted for itself, and the others go on meanwhile")
    func threeShards() {
        let c = Duel.c
        let duel = Duel(shards: 3)
        let before = duel.commits(a)
        duel.send(a, Errand(b), Errand(c))
        #expect(duel.settle())
        duel.restore(a, to: before)
        #expect(duel.settle())
        #expect(duel.refused(a) != nil)
        duel.send(b, Errand(c))
        duel.send(c, Errand(b))
        #expect(duel.settle())
        #expect(duel.terminal(b, c, 1).count == 1)
        #expect(duel.terminal(c, b, 1).count == 1)
        duel.acceptAll(lost: [duel.name(a, b, 1), duel.name(a, c, 1)])
        #expect(duel.events(a, .intervened).count == 2)
        duel.send(a, Errand(b), Errand(c))
        #expect(duel.settle())
        #expect(duel.terminal(a, b, 2).count == 1)
        #expect(duel.terminal(a, c, 2).count == 1)
    }

    @Test("overlapping sends are closed whatever the epochs of the lost and the present sessions")
    func overlapAcrossEpochs() {
        // How often a starts before it loses its tail, and how often behind that.
        for (lost, later) in [(0, 0), (3, 0), (0, 3), (2, 2), (1, 4)] {
            let duel = Duel()
            let before = duel.commits(a)
            for _ in 0..<lost { duel.crash(a) }
            #expect(duel.settle())
            duel.send(a, Errand(b, .later, mark: 1))
            for index in duel.fresh { duel.deliver(index) }
            duel.lose()
            duel.restore(a, to: before)
            duel.send(a, Errand(b, mark: 2))
            duel.lose()
            for _ in 0..<later { duel.crash(a) }
            duel.acceptAll(lost: [duel.name(a, b, 1)])
            #expect(duel.messaging(a).peer(b)?.counts.lost == 1, "\(lost) \(later)")
            #expect(duel.events(b, .conflicted).isEmpty)
            duel.send(a, Errand(b))
            #expect(duel.settle())
            #expect(duel.applied(a, b, 2) == 1)
        }
    }
}
