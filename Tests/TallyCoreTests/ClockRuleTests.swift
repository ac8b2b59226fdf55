@testable import TallyCore
import Testing

/// Time: hybrid, never back, never led astray by a peer.
@Suite("Clocks")
struct ClockRuleTests {
    let a = Duel.a
    let b = Duel.b
    let second: UInt64 = 1_000_000_000

    @Test("a commit's time is the wall clock's, or one behind the last, or one behind what arrived")
    func hybrid() {
        func time(_ wall: UInt64, _ last: UInt64, _ received: UInt64) -> UInt64 {
            HybridClock.timestamp(
                wall: Timestamp(wall), last: Timestamp(last), received: Timestamp(received)
            ).rawValue
        }
        #expect(time(100, 50, 60) == 100)
        #expect(time(100, 100, 60) == 101)
        #expect(time(100, 50, 100) == 101)
        #expect(time(100, 200, 300) == 301)
        #expect(time(0, 0, 0) == 1)
        #expect(time(5, Timestamp.greatest.rawValue, 0) == Timestamp.greatest.rawValue)
        #expect(time(5, 0, .max) == Timestamp.greatest.rawValue)
    }

    @Test("skew counts from the later of the wall clock and the own last")
    func skew() {
        func skew(_ received: UInt64, _ wall: UInt64, _ last: UInt64) -> UInt64? {
            HybridClock.skew(
                of: Timestamp(received), wall: Timestamp(wall), last: Timestamp(last), skewMax: 10)
        }
        #expect(skew(110, 100, 0) == nil)
        #expect(skew(111, 100, 0) == 11)
        #expect(skew(111, 100, 101) == nil)
        #expect(skew(50, 100, 0) == nil)
        #expect(skew(.max, 0, 0) == .max)
    }

    @Test("time never goes back in a log, whatever the wall clock does")
    func neverBack() {
        let duel = Duel()
        for step in [-500, 300, -900, 10] as [Int64] {
            duel.clockError[0] += step * 1_000_000
            duel.order(a, .note(1))
            duel.crash(a)
        }
        let times = duel[a].log.commits.map(\.end.timestamp)
        #expect(zip(times, times.dropFirst()).allSatisfy { $0 < $1 })
    }

    @Test("a peer more than the limit ahead is refused and not followed, one within it is followed")
    func peerAhead() {
        for (ahead, isTaken) in [(900_000_000 as Int64, true), (1_500_000_000, false)] {
            let duel = Duel(connected: false)
            duel.clockError[0] = 0
            #expect(duel.settle())
            duel.clockError[0] = ahead
            duel.send(a, Errand(b))
            let wall = duel.now(b).wall
            for index in duel.fresh { duel.deliver(index) }
            #expect(duel.applied(a, b, 1) == (isTaken ? 1 : 0))
            if isTaken {
                #expect(duel.messaging(b).timestamp > wall)
            } else {
                #expect(duel.messaging(b).timestamp <= wall)
                #expect(duel[b].machine.counters.refused == 1)
                let refused = duel.bag.last!.envelope
                guard case .refused(let items) = refused.content else {
                    Issue.record("not refused")
                    return
                }
                #expect(items.map(\.code) == [Refusal.Code.clockSkew.rawValue])
                #expect(items[0].difference > second && items[0].difference < 2 * second)
                duel.deliver(refused)
                #expect(duel[a].machine.counters.skewHeard == items[0].difference)
            }
            // The peer's clock is set right, and time passes: what was refused is taken.
            duel.clockError[0] = 0
            duel.clock += 2 * second
            #expect(duel.settle())
            #expect(duel.problems == [])
            #expect(duel.applied(a, b, 1) == 1)
        }
    }

    @Test("a session whose time is too far ahead is not confirmed until it can be followed")
    func sessionAhead() {
        let duel = Duel(connected: false)
        duel.clockError[0] = Int64(5 * second)
        duel.crash(a)
        duel.clockError[0] = 0
        _ = duel.settle(rounds: 8)
        #expect(duel.hears(a, b))
        #expect(!duel.hears(b, a))
        #expect(duel.events(b, .witnessed).isEmpty)
        #expect(duel.messaging(b).timestamp <= duel.now(b).wall)
        #expect(duel.settle())
        #expect(duel.hears(b, a))
    }

    @Test("a log ahead of its wall clock refuses commands, and takes messages and outcomes")
    func logAhead() {
        let duel = Duel()
        duel.send(a, Errand(b, mark: 1))
        duel.lose()
        duel.clockError[0] = Int64(3 * second)
        duel.order(a, .note(1))
        duel.clockError[0] = 0
        guard case .refused(let refusal) = duel.order(a, .note(2)) else {
            Issue.record("a command was taken")
            return
        }
        #expect(refusal.code == .clockBehind)
        duel.send(b, Errand(a))
        for index in duel.fresh { duel.deliver(index) }
        #expect(duel.applied(b, a, 1) == 1)
        duel.clock += 3 * second
        guard case .recorded = duel.order(a, .note(3)) else {
            Issue.record("refused although the clock has caught up")
            return
        }
        #expect(duel.settle())
        #expect(duel.problems == [])
    }

    @Test("an admission covers its difference and no more; the greatest possible one does not trap")
    func admission() {
        let duel = Duel()
        duel.clockError[0] = Int64(10 * second)
        duel.order(a, .note(1))
        duel.clockError[0] = 0
        duel.input(a, .intervene(.admitClock(difference: 5 * second, reason: [])))
        guard case .refused(let refusal) = duel.order(a, .note(2)) else {
            Issue.record("taken past the admission")
            return
        }
        #expect(refusal.code == .clockBehind)
        duel.input(a, .intervene(.admitClock(difference: .max, reason: [])))
        guard case .recorded = duel.order(a, .note(3)) else {
            Issue.record("refused although admitted")
            return
        }
        #expect(duel.messaging(a).admittedDifference == .max)
    }
}
