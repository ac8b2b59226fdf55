// swift-format-ignore-file: NeverForceUnwrap

@testable import TallyCore
import Testing

/// Write, then speak; and the pace of speaking again.
@Suite("Release and re-emission")
struct ReleaseTests {
    let a = Duel.a
    let b = Duel.b

    @Test("nothing leaves before its offset is durable, the question for confirmation included")
    func nothingEarly() {
        let duel = Duel(connected: false)
        #expect(duel.settle())
        duel.isAutomatic = false
        duel.crash(a)
        duel.wake(a)
        duel.send(a, Errand(b))
        duel.seal(a)
        let bag = duel.bag.count
        duel.flush(a, through: duel[a].durable)
        #expect(duel.bag.count == bag)
        // The opening alone is durable: the question may leave, the message may not.
        let opening = duel[a].log.commits.firstIndex { commit in
            commit.end.offset
                >= Offset(
                    UInt64(
                        duel.records(a).lastIndex {
                            $0.event.kind == .opened
                        }! + 1))
        }!
        duel.flush(a, through: opening + 1)
        let left = duel.bag[bag...].map(\.envelope)
        #expect(left.contains { $0.isAsk })
        #expect(!left.contains { $0.isDelivery } || duel.commits(a) == opening + 1)
        duel.flush(a)
        #expect(duel.bag.last!.envelope.isDelivery)
    }

    @Test("envelopes leave commit by commit, each naming the durable end it rests on")
    func byCommit() {
        let duel = Duel()
        duel.isAutomatic = false
        let first = duel.commits(a)
        for mark in 1...3 as ClosedRange<UInt32> {
            duel.send(a, Errand(b, mark: mark))
            duel.seal(a)
        }
        for count in 1...3 {
            let bag = duel.bag.count
            duel.flush(a, through: first + count)
            #expect(duel.bag.count == bag + 1)
            let envelope = duel.bag.last!.envelope
            #expect(envelope.deliveries.map(\.sequence.rawValue) == [UInt64(count)])
            #expect(envelope.header.durableEnd == duel[a].log.position(through: first + count))
        }
        duel.flush(a)
        #expect(duel.bag.filter { $0.envelope.isDelivery }.count == 3)
    }

    @Test("messages to one peer that may leave together travel together")
    func runs() {
        let duel = Duel(shards: 3)
        let bag = duel.bag.count
        duel.send(a, Errand(b, mark: 1), Errand(Duel.c, mark: 2), Errand(b, mark: 3))
        let left = duel.bag[bag...].map(\.envelope)
        #expect(left.map { $0.deliveries.count }.sorted() == [1, 2])
    }

    @Test("re-emission backs off, and records each attempt as a range")
    func backoff() {
        let duel = Duel()
        duel.send(a, Errand(b, mark: 1))
        duel.send(a, Errand(b, mark: 2))
        var gaps: [UInt64] = []
        for attempt in 1...8 as ClosedRange<UInt32> {
            duel.lose()
            let before = duel.clock
            duel.clock = duel[a].machine.nextWake!
            gaps.append(duel.clock - before)
            duel.wake(a)
            let event = duel.events(a, .reemitted).last!
            #expect(event.attempt == attempt)
            // A timer covers what was sent when it was set.
            let through = attempt == 1 ? 1 : 2 as UInt64
            #expect(event.sequence.rawValue == 1 && event.through.rawValue == through)
            #expect(event.reason == .retry && event.peer == b && event.identity == .none)
            #expect(duel.bag.last!.envelope.deliveries.count == Int(through))
        }
        for (index, gap) in gaps.enumerated() {
            let delay = min(200_000_000 << UInt64(index), 10_000_000_000)
            #expect(gap >= delay * 3 / 4 - 1 && gap <= delay * 5 / 4 + 1)
        }
        #expect(duel.settle())
        #expect(duel.messaging(a).peer(b)?.attempt == 0)
        #expect(duel.messaging(a).peer(b)?.counts.reemitted == 8)
        #expect(duel[a].machine.nextWake == nil)
        #expect(duel.problems == [])
    }

    @Test("a wake before its time does nothing")
    func earlyWake() {
        let duel = Duel()
        duel.send(a, Errand(b))
        let count = duel.records(a).count
        duel.wake(a)
        #expect(duel.records(a).count == count)
    }

    @Test("past the deadline the reason is the deadline, until the outcome is known")
    func pastDeadline() {
        let duel = Duel()
        duel.send(a, Errand(b, deadlineAfter: 1_000))
        duel.lose()
        duel.clock = duel[a].machine.nextWake!
        duel.wake(a)
        #expect(duel.events(a, .reemitted).map(\.reason) == [.deadline])
        #expect(duel.terminal(a, b, 1).isEmpty)
        #expect(duel.settle())
        #expect(duel.terminal(a, b, 1).map(\.kind) == [.timedOut])
    }

    @Test("one attempt is bounded in messages and in bytes")
    func budget() {
        var options = MachineOptions()
        options.reemitMessagesMax = 3
        let duel = Duel(options: options)
        for _ in 0..<5 { duel.send(a, Errand(b)) }
        wakeTwice(duel)
        #expect(duel.bag.last!.envelope.deliveries.map(\.sequence.rawValue) == [1, 2, 3])
        #expect(duel.events(a, .reemitted).last!.through == SequenceNumber(3))
        #expect(duel.settle())
        options = MachineOptions()
        options.reemitBytesMax = Errand(b).bytes.count * 2
        let narrow = Duel(options: options)
        for _ in 0..<5 { narrow.send(a, Errand(b)) }
        wakeTwice(narrow)
        #expect(narrow.bag.last!.envelope.deliveries.count == 2)
        #expect(narrow.settle())
    }

    private func wakeTwice(_ duel: Duel) {
        for _ in 0..<2 {
            duel.lose()
            duel.clock = duel[a].machine.nextWake!
            duel.wake(a)
        }
    }

    @Test("a hint that a message is owed slows its re-emission, and does not end it")
    func owedHint() {
        let duel = Duel()
        duel.send(a, Errand(b, .later))
        duel.lose()
        duel.clock = duel[a].machine.nextWake!
        duel.wake(a)
        for index in duel.fresh { duel.deliver(index) }
        for index in duel.flights(where: \.isDelivery) { duel.deliver(index) }
        for index in duel.fresh { duel.deliver(index) }
        let hinted = duel.clock
        let count = duel.events(a, .reemitted).count
        while duel.clock < hinted + 9_900_000_000 {
            duel.clock = max(duel.clock + 1, duel[a].machine.nextWake!)
            if duel.clock < hinted + 10_000_000_000 { duel.wake(a) }
        }
        #expect(duel.events(a, .reemitted).count == count)
        duel.clock += 20_000_000_000
        duel.wake(a)
        #expect(duel.events(a, .reemitted).count == count + 1)
    }

    @Test("a recovery plan sends what it names, one record for each contiguous range")
    func recovery() {
        let duel = Duel()
        for _ in 0..<5 { duel.send(a, Errand(b)) }
        duel.lose()
        let plan = Bytes16(low: 3, high: 4)
        let names = [5, 1, 2, 4, 9].map { duel.name(a, b, $0) } + [duel.name(b, a, 1)]
        duel.input(a, .recover(plan: plan, names, reason: Array("plan 9".utf8)))
        let events = duel.events(a, .reemitted)
        #expect(events.map(\.sequence.rawValue) == [1, 4])
        #expect(events.map(\.through.rawValue) == [2, 5])
        #expect(events.allSatisfy { $0.reason == .recovery && $0.identity == plan })
        let reasons = duel.records(a).filter { $0.event.kind == .reemitted }.map(\.payload)
        #expect(reasons.allSatisfy { $0 == Array("plan 9".utf8) })
        #expect(duel.bag.last!.envelope.deliveries.map(\.sequence.rawValue) == [1, 2, 4, 5])
        #expect(duel.settle())
        #expect(duel.problems == [])
    }

    @Test("a re-emission carries the same name and bytes, and the present sessions")
    func sameBytes() {
        let duel = Duel()
        duel.send(a, Errand(b, deadlineAfter: 90_000_000_000_000, mark: 5))
        let first = duel.bag.last!.envelope
        duel.lose()
        duel.crash(a)
        duel.crash(b)
        #expect(duel.settle())
        let later = duel.bag.last { $0.envelope.isDelivery }!.envelope
        #expect(later.deliveries == first.deliveries)
        #expect(later.header.senderSession == duel.messaging(a).session)
        #expect(later.header.receiverSession == duel.messaging(b).session)
        #expect(later.header.senderSession != first.header.senderSession)
    }

    @Test("what a dead session's question has stood in for is sent again all the same")
    func timerSurvivesOldQuestion() {
        let duel = Duel()
        duel.crash(b)
        duel.wake(b)
        let old = duel.fresh.last { duel.bag[$0].envelope.isAsk }!
        #expect(duel.settle())
        duel.send(a, Errand(b))
        duel.lose()
        duel.crash(b)
        duel.crash(a)
        duel.wake(a)
        let ask = duel.fresh.last { duel.bag[$0].envelope.isAsk }!
        duel.lose()
        duel.deliver(ask)
        let reply = duel.fresh.last { duel.bag[$0].envelope.isConfirmed }!
        // b asks and is told; then the old question arrives, then b's reply.
        duel.wake(b)
        for index in duel.fresh where duel.bag[index].envelope.isAsk { duel.deliver(index) }
        duel.deliver(old)
        duel.deliver(reply)
        duel.lose()
        #expect(duel[a].machine.nextWake != nil)
        #expect(duel.settle())
        #expect(duel.terminal(a, b, 1).count == 1)
    }

    @Test("nothing but an opening is taken before the opening")
    func nothingBeforeOpening() {
        let duel = Duel()
        duel.send(a, Errand(b))
        let log = duel[a].log
        let state = try! log.refold(duel.context(a), rules: duel.rules)
        var machine = ShardMachine<Errands>(
            context: duel.context(a), options: duel.options, messaging: state.messaging,
            application: state.application, durable: log.end)
        var statement = Statement()
        statement.session = duel.messaging(a).session
        let inputs: [Input] = [
            .wake, .force(duel.name(a, b, 1), reason: []),
            .recover(plan: .none, [duel.name(a, b, 1)], reason: []),
            .intervene(.admitClock(difference: 1, reason: [])),
            .confirmAsk(duel.header(from: b, to: a), statement),
            .command(Command(client: .none, sequence: SequenceNumber(9), payload: [])),
        ]
        for input in inputs {
            _ = machine.step(input, now: duel.now(a), log: log)
            #expect(machine.commit.isEmpty, "\(input)")
            #expect(machine.release(durable: log.end).isEmpty)
        }
    }
}
