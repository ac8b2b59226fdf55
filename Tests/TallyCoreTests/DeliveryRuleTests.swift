// swift-format-ignore-file: NeverForceUnwrap

@testable import TallyCore
import Testing

/// The destination's rules: identity, order, lateness, answers.
@Suite("Rules of the destination")
struct DeliveryRuleTests {
    let a = Duel.a
    let b = Duel.b

    private func lastDelivery(_ duel: Duel) -> Int { duel.flights(where: \.isDelivery).last! }

    @Test(
        "a duplicate is answered again and appends nothing",
        arguments: [
            Errand.Reply.accept, .reject,
        ])
    func duplicate(reply: Errand.Reply) {
        let duel = Duel()
        duel.send(a, Errand(b, reply))
        duel.deliver(lastDelivery(duel))
        let first = duel.bag.last!.envelope.answers
        let count = duel.records(b).count
        duel.clock += 1_000_000_000
        duel.deliver(lastDelivery(duel))
        #expect(duel.bag.last!.envelope.answers == first)
        #expect(first.map(\.result) == [reply == .accept ? .accepted : .rejected])
        #expect(duel.records(b).count == count)
        #expect(duel[b].machine.counters.repeated == 1)
        // After a restart the answer is read from the log.
        duel.crash(b)
        #expect(duel.settle())
        #expect(duel.applied(a, b, 1) == 1)
        #expect(duel.terminal(a, b, 1).map(\.outcome) == [reply == .accept ? .accepted : .rejected])
        #expect(duel.problems == [])
    }

    @Test("a duplicate answer settles nothing twice")
    func duplicateAnswer() {
        let duel = Duel()
        duel.send(a, Errand(b))
        #expect(duel.settle())
        let count = duel.records(a).count
        for index in duel.flights(where: \.isAnswer) { duel.deliver(index) }
        #expect(duel.records(a).count == count)
        #expect(duel[a].machine.counters.late == 1)
    }

    @Test("a deadline equal to the commit's timestamp is missed, one later is met")
    func deadlineMeetsTimestamp() {
        for (slack, outcome) in [(0 as UInt64, Outcome.expired), (1, .applied)] {
            let duel = Duel()
            duel.clock += 10_000_000_000
            var envelope = duel.forged(from: a, to: b, 1, payload: Errand(b).bytes)
            var items = envelope.deliveries
            items[0].deadline = Timestamp(duel.clock + slack)
            envelope.content = .deliver(items)
            duel.deliver(envelope)
            #expect(
                duel.records(b).last { $0.event.kind == .received }?.timestamp
                    == Timestamp(duel.clock))
            #expect(duel.events(b, .received).map(\.outcome) == [outcome])
        }
    }

    @Test("an expired receipt leads to a timeout, and never to an acknowledgement")
    func expired() {
        let duel = Duel()
        // The program would refuse it, and stop the shard: it is not shown.
        duel.send(a, Errand(b, .fault, deadlineAfter: 1_000_000, then: [Errand(a)]))
        duel.clock += 1_000_000_000
        duel.deliver(lastDelivery(duel))
        #expect(duel.events(b, .received).map(\.outcome) == [.expired])
        #expect(duel.events(b, .sent).isEmpty)
        #expect(duel.state(b).applied.isEmpty)
        let count = duel.records(b).count
        duel.deliver(lastDelivery(duel))
        #expect(duel.records(b).count == count)
        #expect(duel.bag.last!.envelope.answers.map(\.result) == [.expired])
        #expect(duel.settle())
        let terminal = duel.terminal(a, b, 1)
        #expect(terminal.map(\.kind) == [.timedOut])
        #expect(terminal.first?.reason == Reason.none)
        let receipt = duel[b].log.record(at: terminal[0].peerOffset)
        #expect(receipt?.event.outcome == .expired)
        // A forged acceptance comes too late.
        duel.deliver(duel.forgedAnswer(from: b, to: a, 1, result: .accepted))
        #expect(duel.terminal(a, b, 1).count == 1)
        #expect(duel.problems == [])
        // The expired one took its place in the order.
        duel.send(a, Errand(b))
        #expect(duel.settle())
        #expect(duel.terminal(a, b, 2).map(\.kind) == [.acknowledged])
    }

    @Test("a known message is answered by identity, whatever the clock says meanwhile")
    func identityBeforeClock() {
        let duel = Duel()
        duel.send(a, Errand(b, deadlineAfter: 1_000_000_000))
        duel.deliver(lastDelivery(duel))
        duel.lose()
        duel.clock += 3_600_000_000_000
        duel.deliver(lastDelivery(duel))
        #expect(duel.bag.last!.envelope.answers.map(\.result) == [.accepted])
        #expect(duel.settle())
        #expect(duel.terminal(a, b, 1).map(\.kind) == [.acknowledged])
    }

    @Test("an early arrival on an ordered channel is dropped and comes again in order")
    func early() {
        let duel = Duel()
        duel.send(a, Errand(b, mark: 1))
        duel.send(a, Errand(b, mark: 2))
        let count = duel.records(b).count
        duel.deliver(lastDelivery(duel))
        #expect(duel.records(b).count == count)
        #expect(duel[b].machine.counters.early == 1)
        duel.lose()
        #expect(duel.settle())
        #expect(duel.events(b, .received).map(\.sequence.rawValue) == [1, 2])
        #expect(duel.problems == [])
    }

    @Test("an unordered channel takes messages as they come")
    func unordered() {
        let rules = MessagingState.Rules(unordered: [Channel(origin: a, destination: b)])
        let duel = Duel(rules: rules)
        for _ in 0..<3 { duel.send(a, Errand(b)) }
        for index in duel.fresh.reversed() { duel.deliver(index) }
        #expect(duel.events(b, .received).map(\.sequence.rawValue) == [3, 2, 1])
        #expect(duel.settle())
        #expect(duel.problems == [])
        // The other direction is ordered still.
        duel.send(b, Errand(a))
        duel.send(b, Errand(a))
        duel.deliver(lastDelivery(duel))
        #expect(duel.events(a, .received).isEmpty)
    }

    @Test("the floor moves by a receipt that carries it, and drops what lies below")
    func floor() {
        let duel = Duel()
        duel.send(a, Errand(b, mark: 1))
        let first = lastDelivery(duel)
        #expect(duel.settle())
        #expect(duel.messaging(b).peer(a)?.floor == SequenceNumber.none)
        duel.deliver(first)
        #expect(duel[b].machine.counters.repeated == 1)
        duel.send(a, Errand(b, mark: 2))
        #expect(duel.settle())
        #expect(duel.messaging(b).peer(a)?.floor == SequenceNumber(1))
        #expect(duel.messaging(b).peer(a)?.receipts[SequenceNumber(1)] == nil)
        let count = duel.records(b).count
        duel.deliver(first)
        #expect(duel.records(b).count == count)
        #expect(duel[b].machine.counters.belowFloor == 1)
    }

    @Test("other bytes under a known name are recorded once per digest, and answered every time")
    func conflict() {
        let duel = Duel()
        duel.send(a, Errand(b, .later, mark: 1))
        duel.deliver(lastDelivery(duel))
        duel.lose()
        let changes: [(inout Delivery, inout EnvelopeHeader) -> Void] = [
            { delivery, _ in delivery.payload = Errand(Duel.b, mark: 2).bytes[...] },
            { delivery, _ in delivery.deadline = Timestamp(9_000_000_000_000) },
            { delivery, _ in delivery.correlation = Bytes16(low: 1, high: 2) },
        ]
        let payload = Errand(b, .later, mark: 1).bytes
        for (index, change) in changes.enumerated() {
            for _ in 0..<2 {
                duel.deliver(duel.forged(from: a, to: b, 1, payload: payload, change: change))
                #expect(duel.events(b, .conflicted).count == index + 1)
                #expect(duel.bag.last!.envelope.isConflict)
            }
        }
        duel.crash(b)
        _ = duel.settle(rounds: 20)
        duel.lose()
        duel.deliver(duel.forged(from: a, to: b, 1, payload: payload, change: changes[0]))
        #expect(duel.events(b, .conflicted).count == 3)
        #expect(duel.stop(b) == nil)
        // Session, stamp, sent-at and offset are no part of a message's identity.
        duel.deliver(
            duel.forged(from: a, to: b, 1, payload: payload) { delivery, _ in
                delivery.offset = Offset(1)
            })
        #expect(duel.events(b, .conflicted).count == 3)
    }

    @Test("what is owed is hinted at, answered later, and settled by that")
    func deferred() {
        let duel = Duel()
        duel.send(a, Errand(b, .later))
        duel.deliver(lastDelivery(duel))
        #expect(duel.messaging(b).owedCount == 1)
        #expect(duel.flights(where: \.isAnswer).isEmpty)
        duel.deliver(lastDelivery(duel))
        #expect(duel.bag.last!.envelope.answers.map(\.result) == [.owed])
        for index in duel.fresh { duel.deliver(index) }
        #expect(duel.terminal(a, b, 1).isEmpty)
        #expect(duel.messaging(a).pendingCount == 1)
        duel.crash(b)
        #expect(duel.messaging(b).owedCount == 1)
        #expect(duel.state(b).owed == [duel.name(a, b, 1)])
        _ = duel.settle(rounds: 30)
        duel.order(b, .answerOwed(accepted: false))
        #expect(duel.settle())
        #expect(duel.terminal(a, b, 1).map(\.outcome) == [.rejected])
        #expect(duel.messaging(b).owedCount == 0)
        #expect(duel.problems == [])
        let answer = duel.events(b, .answered)[0]
        #expect(duel[b].log.record(at: answer.cause)?.event.kind == .received)
    }

    @Test("an owed message stays known below the floor, and its answer is recorded still")
    func owedBelowTheFloor() {
        let duel = Duel()
        duel.send(a, Errand(b, .later))
        #expect(!duel.settle(rounds: 5))
        duel.input(a, .force(duel.name(a, b, 1), reason: []))
        duel.send(a, Errand(b))
        #expect(duel.settle())
        #expect(duel.messaging(b).peer(a)?.floor == SequenceNumber(1))
        #expect(duel.messaging(b).owedCount == 1)
        duel.order(b, .answerOwed(accepted: true))
        #expect(duel.settle())
        #expect(duel.messaging(b).owedCount == 0)
        #expect(duel.messaging(b).peer(a)?.receipts[SequenceNumber(1)] == nil)
        #expect(duel.messaging(b).anomalyCount == 0)
        #expect(duel.events(a, .conflicted).map(\.reason) == [.overruled])
    }

    @Test("a peer's end is witnessed with its head, once per so many of its offsets")
    func witnessedEnds() {
        var options = MachineOptions()
        options.witnessEvery = 8
        let duel = Duel(options: options)
        for _ in 0..<20 {
            duel.send(a, Errand(b))
            #expect(duel.settle())
        }
        let log = duel[a].log
        let heads = (1...log.commits.count).map { log.position(through: $0) }
        var seen = Offset.none
        var count = 0
        for event in duel.records(b).map(\.event) where event.peer == a {
            if event.kind == .witnessed {
                #expect(count == 0 || event.peerOffset.rawValue >= seen.rawValue + 8)
                #expect(heads.contains { $0.offset == event.peerOffset && $0.head == event.held })
                seen = event.peerOffset
                count += 1
            } else if event.kind == .received {
                #expect(event.peerOffset.rawValue < seen.rawValue + 8)
            }
        }
        #expect(count > 4)
    }

    @Test("a shard's messages to itself take the same way")
    func selfSend() {
        let duel = Duel()
        duel.send(a, Errand(a, then: [Errand(b)], afterwards: [Errand(a)]), Errand(a, .later))
        #expect(duel.settle(answering: true))
        #expect(duel.problems == [])
        #expect(duel.events(a, .acknowledged).count == 4)
        #expect(duel.events(a, .received).allSatisfy { $0.peer == a })
        #expect(duel.events(a, .witnessed).allSatisfy { $0.peer == b })
        duel.send(a, Errand(a))
        duel.lose()
        duel.crash(a)
        #expect(duel.settle())
        #expect(duel.terminal(a, a, 4).count == 1)
        #expect(duel.problems == [])
    }

    @Test("a program that refuses a message is broken, and the shard stops")
    func brokenProgram() {
        let duel = Duel()
        duel.send(a, Errand(b, .fault))
        let count = duel.records(b).count
        duel.deliver(lastDelivery(duel))
        guard case .program? = duel.stop(b) else {
            Issue.record("b goes on")
            return
        }
        #expect(duel.records(b).count == count)
        guard case .refused(let refusal) = duel.order(b, .note(1)) else {
            Issue.record("a stopped shard took a command")
            return
        }
        #expect(refusal.code == .stopped)
        #expect(duel[b].machine.nextWake == nil)
        #expect(duel.stop(a) == nil)
    }
}
