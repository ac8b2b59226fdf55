import TallyCore
import Testing

/// The other histories of the first draft: what is durable, clocks, forged deliveries.
@Suite("Histories of the first draft: durability, clocks and poison")
struct FirstDraftDurabilityTests {
    let a = Duel.a
    let b = Duel.b

    @Test("the floor moves in an event, so that a replay knows it")
    func floorIsAnEvent() throws {
        let duel = Duel()
        for _ in 0..<3 {
            duel.send(a, Errand(b))
            #expect(duel.settle())
        }
        #expect(duel.messaging(a).peer(b)?.settledThrough == SequenceNumber(3))
        #expect(duel.messaging(b).peer(a)?.floor == SequenceNumber(2))
        let refolded = try duel[b].log.refold(duel.context(b), rules: duel.rules)
        #expect(refolded.messaging.encoded() == duel.messaging(b).encoded())
        // A duplicate that says more of what is settled moves nothing.
        let floor = duel.messaging(b).peer(a)?.floor
        let count = duel.records(b).count
        var again = duel.bag[duel.flights(where: \.isDelivery).last!].envelope
        var items = again.deliveries
        items[0].settledThrough = SequenceNumber(2)
        again.content = .deliver(items)
        duel.deliver(again)
        #expect(duel.messaging(b).peer(a)?.floor == floor)
        #expect(duel.records(b).count == count)
    }

    @Test("a re-emission says only what is durable of what is settled")
    func stampsAreDurable() {
        let duel = Duel()
        duel.send(a, Errand(b, mark: 1))
        duel.send(a, Errand(b, .later, mark: 2))
        for index in duel.fresh { duel.deliver(index) }
        duel.isAutomatic = false
        // The outcome of m1 is appended at a, and not flushed; m2 is sent again.
        for index in duel.fresh { duel.deliver(index) }
        duel.seal(a)
        #expect(duel.terminal(a, b, 1).count == 1)
        let flights = duel.bag.count
        duel.clock += 20_000_000_000
        _ = duel.step(a, .wake)
        duel.seal(a)
        #expect(duel.events(a, .reemitted).count == 1)
        duel.flush(a, through: duel[a].durable)
        #expect(duel.bag.count == flights)
        duel.isAutomatic = true
        duel.crash(a)
        #expect(duel.terminal(a, b, 1).isEmpty)
        #expect(duel.settle(answering: true))
        #expect(duel.problems == [])
        #expect(duel.terminal(a, b, 1).count == 1)
        #expect(duel.applied(a, b, 1) == 1)
        let stamps = duel.bag.filter { $0.envelope.header.sender == a }
            .flatMap { flight in
                flight.envelope.deliveries.map { ($0.settledThrough, flight.envelope.header) }
            }
        for (settled, header) in stamps where settled != .none {
            let durable = duel.records(a).prefix(Int(header.durableEnd.offset.rawValue))
            #expect(durable.contains { $0.event.kind == .acknowledged })
        }
    }

    @Test("a duplicate is not answered before its first answer is durable")
    func answersAreDurable() {
        let duel = Duel()
        duel.send(a, Errand(b))
        let delivery = duel.flights(where: \.isDelivery).last!
        duel.isAutomatic = false
        duel.deliver(delivery)
        duel.seal(b)
        duel.deliver(delivery)
        #expect(duel[b].machine.counters.repeated == 1)
        let flights = duel.bag.count
        duel.flush(b, through: duel[b].durable)
        #expect(duel.bag.count == flights)
        duel.isAutomatic = true
        duel.crash(b)
        #expect(duel.applied(a, b, 1) == 0)
        #expect(duel.settle())
        #expect(duel.problems == [])
        #expect(duel.applied(a, b, 1) == 1)
    }

    @Test("a log a year ahead refuses commands until it is admitted, and peers do not follow it")
    func clockAhead() {
        let year: Int64 = 365 * 86_400 * 1_000_000_000
        let duel = Duel()
        duel.clockError[0] = year
        duel.order(a, .note(1))
        duel.clockError[0] = 0
        guard case .refused(let refusal) = duel.send(a, Errand(b)) else {
            Issue.record("a command was taken")
            return
        }
        #expect(refusal.code == .clockBehind)
        let ahead = duel.messaging(a).timestamp.nanoseconds(since: duel.now(a).wall)
        duel.input(a, .intervene(.admitClock(difference: ahead, reason: [1])))
        guard case .recorded = duel.send(a, Errand(b)) else {
            Issue.record("refused although it was admitted")
            return
        }
        for index in duel.fresh { duel.deliver(index) }
        for index in duel.fresh { duel.deliver(index) }
        #expect(duel.applied(a, b, 1) == 0)
        #expect(duel[b].machine.counters.refused > 0)
        #expect(duel[a].machine.counters.skewHeard > UInt64(year) / 2)
        #expect(duel.messaging(b).timestamp < Timestamp(UInt64(year)))
        #expect(duel.stop(a) == nil && duel.stop(b) == nil)
        // A restart knows what was admitted.
        duel.crash(a)
        guard case .recorded = duel.order(a, .note(2)) else {
            Issue.record("the admission was forgotten")
            return
        }
        duel.clock += UInt64(year)
        #expect(duel.settle())
        #expect(duel.problems == [])
        #expect(duel.applied(a, b, 1) == 1)
    }

    @Test("an ordered channel survives a timeout by force of a message that never arrives")
    func forcedTimeoutOnOrdered() {
        let duel = Duel()
        duel.send(a, Errand(b))
        duel.lose()
        duel.input(a, .force(duel.name(a, b, 1), reason: Array("gone".utf8)))
        #expect(duel.terminal(a, b, 1).map(\.reason) == [.forced])
        duel.send(a, Errand(b))
        #expect(duel.settle())
        #expect(duel.problems == [])
        #expect(duel.terminal(a, b, 2).map(\.kind) == [.acknowledged])
        // The forced one arrives after all: it lies below the floor.
        let count = duel.records(b).count
        for index in duel.flights(where: { $0.deliveries.first?.sequence.rawValue == 1 }) {
            duel.deliver(index)
        }
        #expect(duel.records(b).count == count)
        #expect(duel[b].machine.counters.belowFloor == 1)
    }

    @Test("what needs a later time than an open commit has asks to seal it first")
    func timestampIsFixed() {
        let duel = Duel()
        duel.isAutomatic = false
        duel.clock = 2_000_000_000_000
        let base = duel.clock
        let header = duel.header(from: a, to: b)
        func arrive(_ sequence: UInt64, sentAt: UInt64, deadline: UInt64) -> StepResult {
            var header = header
            header.durableEnd.timestamp = Timestamp(sentAt)
            header.durableEnd.offset = Offset(100)
            let payload = Errand(b).bytes
            return duel.step(
                b,
                .deliver(
                    header,
                    Delivery(
                        sequence: SequenceNumber(sequence), offset: Offset(90 + sequence),
                        sentAt: Timestamp(sentAt), deadline: Timestamp(deadline),
                        settledThrough: .none, correlation: .none, payload: payload[...])))
        }
        duel.clock = base + 99
        #expect(arrive(1, sentAt: base + 50, deadline: base + 100).isDone)
        let opened = duel[b].machine.commit.timestamp
        #expect(opened == Timestamp(base + 99))
        duel.clock = base + 160
        let count = duel[b].machine.commit.eventCount
        #expect(arrive(2, sentAt: base + 150, deadline: base + 300).isSealFirst)
        #expect(duel[b].machine.commit.eventCount == count)
        duel.seal(b)
        #expect(arrive(2, sentAt: base + 150, deadline: base + 300).isDone)
        #expect(duel[b].machine.commit.timestamp == Timestamp(base + 160))
        duel.seal(b)
        let receipts = duel.events(b, .received)
        #expect(receipts.map(\.outcome) == [.applied, .applied])
    }

    @Test("what would fold to an anomaly is refused, and nothing is appended")
    func poisonIsRefused() {
        let duel = Duel(
            rules: MessagingState.Rules(unordered: [Channel(origin: a, destination: b)]))
        duel.send(a, Errand(b))
        #expect(duel.settle())
        let count = duel.records(b).count
        let payload = Errand(b).bytes
        let poison: [(String, (inout Delivery, inout EnvelopeHeader) -> Void)] = [
            (
                "settled through itself",
                { delivery, _ in delivery.settledThrough = delivery.sequence }
            ),
            ("settled beyond itself", { delivery, _ in delivery.settledThrough.rawValue = 90 }),
            ("far beyond the window", { delivery, _ in delivery.sequence.rawValue = 1 << 40 }),
            ("no offset", { delivery, _ in delivery.offset = .none }),
            ("beyond the durable end", { delivery, _ in delivery.offset.rawValue += 1 }),
            ("no time", { delivery, _ in delivery.sentAt = .none }),
            ("sent after the durable end", { delivery, _ in delivery.sentAt.rawValue += 1 }),
            (
                "from the future",
                { _, header in
                    header.durableEnd.timestamp.rawValue += 3_600_000_000_000
                }
            ),
        ]
        for (what, change) in poison {
            let refused = duel[b].machine.counters.refused
            duel.deliver(duel.forged(from: a, to: b, 2, payload: payload, change: change))
            #expect(duel.records(b).count == count, "\(what)")
            #expect(duel.stop(b) == nil, "\(what)")
            #expect(duel[b].machine.counters.refused == refused + 1, "\(what)")
            #expect(duel.bag.last?.envelope.isRefused == true, "\(what)")
        }
        duel.send(a, Errand(b))
        #expect(duel.settle())
        #expect(duel.problems == [])
    }
}

extension StepResult {
    var isDone: Bool { if case .done = self { true } else { false } }
    var isSealFirst: Bool { if case .sealFirst = self { true } else { false } }
}
