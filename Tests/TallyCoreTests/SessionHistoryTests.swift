// swift-format-ignore-file: NeverForceUnwrap

@testable import TallyCore
import Testing

/// Histories that the exhaustive exploration found.
@Suite("Histories of sessions")
struct SessionHistoryTests {
    let a = Duel.a
    let b = Duel.b

    /// b asks the session of a that dies behind its reply; the next session of a is heard by nobody:
    /// its own question came before that reply did. It hears b, so it asked no more; b had never asked
    /// it, so it sent nothing; b waited for nothing. The message was pending for ever.
    @Test("a session that no peer has asked asks for itself while something is pending")
    func pendingAndNeverAsked() {
        let duel = Duel()
        duel.crash(b)
        duel.wake(b)
        duel.deliver(duel.fresh.last { duel.bag[$0].envelope.isAsk }!)
        let late = duel.fresh.last { duel.bag[$0].envelope.isConfirmed }!
        duel.lose()
        duel.send(a, Errand(b))
        duel.crash(a)
        duel.lose()
        duel.wake(a)
        duel.deliver(duel.fresh.last { duel.bag[$0].envelope.isAsk }!)
        duel.deliver(duel.fresh.last { duel.bag[$0].envelope.isConfirmed }!)
        duel.deliver(late)
        duel.lose()
        #expect(duel.hears(a, b) && !duel.hears(b, a))
        #expect(duel[b].machine.nextWake == nil)
        #expect(duel.messaging(a).pendingCount == 1)
        #expect(duel.settle())
        #expect(duel.applied(a, b, 1) == 1 && duel.terminal(a, b, 1).count == 1)
        #expect(duel.problems == [])
    }
}
