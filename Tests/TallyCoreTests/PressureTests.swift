import TallyCore
import Testing

/// Limits of a commit and of the disk: what is refused first, and what is taken to the last.
@Suite("Pressure")
struct PressureTests {
    let a = Duel.a
    let b = Duel.b

    @Test("a filling disk refuses commands first, then new messages, outcomes never")
    func disk() {
        let duel = Duel()
        duel.order(a, .note(1), client: 2, sequence: 1)
        duel.send(a, Errand(b, afterwards: [Errand(b)]))
        let first = duel.flights(where: \.isDelivery).last!
        duel[a].machine.pressure = .refusesCommands
        guard case .refused(let refusal) = duel.order(a, .note(2)) else {
            Issue.record("a command was taken")
            return
        }
        #expect(refusal.code == .full)
        guard case .known = duel.order(a, .note(1), client: 2, sequence: 1) else {
            Issue.record("what is recorded was refused")
            return
        }
        duel[b].machine.pressure = .refusesMessages
        duel.deliver(first)
        #expect(duel.applied(a, b, 1) == 0)
        #expect(duel.bag.last?.envelope.isRefused == true)
        duel[b].machine.pressure = .refusesCommands
        duel.deliver(first)
        duel[b].machine.pressure = .refusesMessages
        duel.deliver(first)
        #expect(duel.bag.last?.envelope.answers.map(\.result) == [.accepted])
        duel[a].machine.pressure = .refusesMessages
        for index in duel.flights(where: \.isAnswer) { duel.deliver(index) }
        #expect(duel.terminal(a, b, 1).count == 1)
        #expect(duel.messaging(a).pendingCount == 1)
        duel[b].machine.pressure = .none
        #expect(duel.settle())
        #expect(duel.problems == [])
    }

    @Test("a commit that is full asks to be sealed, and nothing of the input has happened")
    func fullCommit() {
        var options = MachineOptions()
        options.commitEventsMax = 6
        let duel = Duel(options: options)
        duel.isAutomatic = false
        func command(_ sequence: UInt64, _ order: Order) -> StepResult {
            let command = Command(
                client: Bytes16(low: 7, high: 0), sequence: SequenceNumber(sequence),
                payload: order.bytes)
            return duel.step(a, .command(command))
        }
        _ = command(1, .send([Errand(b), Errand(b)]))
        #expect(duel[a].machine.commit.eventCount == 3)
        let before = duel.messaging(a).encoded()
        let bytes = duel[a].machine.commit.bytes
        #expect(command(2, .send([Errand(b), Errand(b), Errand(b)])).isSealFirst)
        #expect(duel.messaging(a).encoded() == before)
        #expect(duel[a].machine.commit.bytes == bytes)
        _ = command(2, .send([Errand(b), Errand(b)]))
        #expect(duel[a].machine.commit.eventCount == 6)
        duel.seal(a)
        // A decision of more events than that has a commit to itself.
        _ = command(3, .send((0..<9).map { _ in Errand(b) }))
        #expect(duel[a].machine.commit.eventCount == 10)
        duel.isAutomatic = true
        #expect(duel.settle())
        #expect(duel.problems == [])
    }

    @Test("group commit changes nothing: one commit or many, the same events")
    func groupCommit() {
        var kinds: [[EventKind]] = []
        for groups in [true, false] {
            let duel = Duel()
            let start = duel.records(a).count
            duel.isAutomatic = false
            for mark in 1...4 as ClosedRange<UInt32> {
                duel.send(a, Errand(a, mark: mark, then: [Errand(b)]))
                if !groups { duel.flush(a) }
            }
            duel.flush(a)
            kinds.append(duel.kinds(a, from: start))
            #expect(duel.problems == [])
            duel.isAutomatic = true
            #expect(duel.settle())
            #expect(duel.problems == [])
        }
        #expect(kinds[0] == kinds[1])
    }
}
