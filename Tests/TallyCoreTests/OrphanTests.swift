// swift-format-ignore-file: NeverForceUnwrap

import TallyCore
import Testing

/// Pending messages, classified from both halves.
@Suite("Orphans")
struct OrphanTests {
    let a = Duel.a
    let b = Duel.b

    private func orphans(_ duel: Duel, reading: Bool = true, now: Timestamp? = nil) -> [Orphan] {
        let latest = max(duel.messaging(a).timestamp, duel.messaging(b).timestamp)
        return duel.messaging(a).orphans(now: now ?? latest) {
            reading ? duel.messaging($0) : nil
        }
    }

    private func evidence(_ duel: Duel, _ shard: ShardID, _ kind: EventKind) -> Evidence {
        let index = duel.records(shard).lastIndex { $0.event.kind == kind }!
        return Evidence(shard, Offset(UInt64(index + 1)))
    }

    @Test("what the destination does not know is undelivered, overdue past its deadline")
    func undelivered() {
        let duel = Duel()
        duel.send(a, Errand(b, deadlineAfter: 1_000))
        let found = orphans(duel)
        #expect(found.map(\.class) == [.undelivered])
        #expect(found[0].message == duel.name(a, b, 1))
        #expect(found[0].evidence == [evidence(duel, a, .sent)])
        #expect(found[0].since == duel.records(a).last?.timestamp)
        #expect(!found[0].isOverdue)
        let deadline = duel.events(a, .sent)[0].deadline
        #expect(orphans(duel, now: deadline)[0].isOverdue)
        #expect(orphans(duel, now: Timestamp(deadline.rawValue - 1))[0].isOverdue == false)
        #expect(found[0].class.action == "re-emit")
    }

    @Test("what was applied and not answered is owed")
    func owed() {
        let duel = Duel()
        duel.send(a, Errand(b, .later))
        for index in duel.fresh { duel.deliver(index) }
        let found = orphans(duel, now: .greatest)
        #expect(found.map(\.class) == [.owed])
        #expect(found[0].evidence == [evidence(duel, a, .sent), evidence(duel, b, .received)])
        #expect(!found[0].isOverdue)
        #expect(found[0].class.action == "wait")
    }

    @Test("what was answered is unacknowledged")
    func unacknowledged() {
        let duel = Duel()
        duel.send(a, Errand(b))
        for index in duel.fresh { duel.deliver(index) }
        let found = orphans(duel)
        #expect(found.map(\.class) == [.unacknowledged])
        #expect(
            found[0].evidence == [
                evidence(duel, a, .sent), evidence(duel, b, .received),
                evidence(duel, b, .answered),
            ])
    }

    @Test("what expired at the destination is expired")
    func expired() {
        let duel = Duel()
        duel.send(a, Errand(b, deadlineAfter: 1))
        for index in duel.fresh { duel.deliver(index) }
        let found = orphans(duel)
        #expect(found.map(\.class) == [.expired])
        #expect(found[0].isOverdue)
        #expect(found[0].evidence == [evidence(duel, a, .sent), evidence(duel, b, .received)])
    }

    @Test("what cannot be read, or lies below the destination's floor, is unknown")
    func unknown() {
        let duel = Duel()
        duel.send(a, Errand(b))
        #expect(orphans(duel, reading: false).map(\.class) == [.unknown])
        #expect(orphans(duel, reading: false)[0].class.action == "bring-log")
        let before = duel.messaging(a)
        #expect(duel.settle())
        duel.send(a, Errand(b))
        #expect(duel.settle())
        let found = before.orphans(now: .greatest) { duel.messaging($0) }
        #expect(found.map(\.class) == [.unknown])
        #expect(duel.messaging(b).receiverHalf(of: duel.name(a, b, 1)) == nil)
        #expect(duel.messaging(b).receiverHalf(of: duel.name(a, b, 3)) == .absent)
    }

    @Test("a shard's messages to itself are classified from its own log")
    func itself() {
        let duel = Duel()
        duel.send(a, Errand(a, .later), Errand(a))
        let found = duel.messaging(a).orphans(now: .greatest) { _ in nil }
        #expect(found.map(\.class) == [.undelivered, .undelivered])
        for index in duel.fresh { duel.deliver(index) }
        let later = duel.messaging(a).orphans(now: .greatest) { _ in nil }
        #expect(later.map(\.class) == [.owed, .unacknowledged])
    }

    @Test("what is settled is no orphan")
    func settled() {
        let duel = Duel()
        duel.send(a, Errand(b), Errand(a))
        #expect(duel.settle())
        #expect(orphans(duel).isEmpty)
    }
}
