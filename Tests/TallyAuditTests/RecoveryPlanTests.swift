import Testing
import TallyAudit
import TallyCore
import TallyStore

@Suite("Recovery plans")
struct RecoveryPlanTests {
    private let a = LedgerDuel.a
    private let b = LedgerDuel.b

    private func orphaned() throws -> (LedgerDuel, RecoveryPlan) {
        let duel = try LedgerDuel(ordered: false)
        try duel.send(a, b, deadline: 1)
        try duel.deliver { $0.isDelivery }
        try duel.send(a, b, [2])
        try duel.send(b, a)
        try duel.deliver { $0.isAnswer }
        try duel.close()
        return (duel, try RecoveryPlan.make(try duel.audit()))
    }

    @Test("a plan is the same for the same logs, names each orphan, and reads back as it was")
    func roundTrip() throws {
        let (duel, plan) = try orphaned()
        #expect(try RecoveryPlan.make(try duel.audit()) == plan)
        #expect(plan.entries.map(\.class) == [.undelivered, .owed, .unacknowledged])
        #expect(plan.entries.map(\.action) == [.reemit, .wait, .reemit])
        #expect(plan.messages.count == 2)
        let text = plan.encoded()
        let read = try RecoveryPlan(decoding: text, duel.ledger.shards)
        #expect(read == plan && read.id == plan.id && read.encoded() == text)
        #expect(String(decoding: text, as: UTF8.self).hasSuffix("{\"plan\":\"\(plan.id)\"}\n"))
    }

    @Test("every changed, missing or added byte of a plan is refused with a line number")
    func malformed() throws {
        let (duel, plan) = try orphaned()
        let text = plan.encoded()
        var random = SplitMix64(seed: 3)
        func expectRefused(_ bytes: [UInt8], _ what: String) {
            do throws(StoreError) {
                _ = try RecoveryPlan(decoding: bytes, duel.ledger.shards)
                Issue.record("read: \(what)")
            } catch {
                #expect(
                    error.code == .newerFormat
                        || error.code == .malformed && error.text.hasPrefix("line "))
            }
        }
        for index in text.indices {
            var bytes = text
            bytes[index] = UInt8(truncatingIfNeeded: UInt64(bytes[index]) + 1 + random.next() % 254)
            if bytes[index] == text[index] { bytes[index] ^= 1 }
            expectRefused(bytes, "byte \(index)")
            expectRefused(Array(text.prefix(index)), "cut at \(index)")
        }
        expectRefused(text + [10], "a line more")
        expectRefused(text + text, "twice")
    }

    @Test(
        "a session and what it witnesses move no log; a command does; the plan's own act resumes it"
    )
    func moved() throws {
        let (duel, plan) = try orphaned()
        #expect(try plan.isCurrent(for: try duel.audit()))
        let next = try LedgerDuel(duel.ledger, scratch: duel.scratch, clock: duel.clock)
        try next.connect()
        try next.close()
        #expect(try plan.isCurrent(for: try duel.audit()))
        // The first act: the plan's own re-emission, and what the peer does with it.
        let acting = try LedgerDuel(next.ledger, scratch: duel.scratch, clock: next.clock)
        try acting.connect()
        try acting.input(a, .recover(plan: plan.id, plan.messages, reason: Array("drill".utf8)))
        try acting.deliver()
        try acting.close()
        let begun = try plan.currency(for: try duel.audit())
        #expect(begun.hasBegun && begun.isCurrent)
        let settled = try RecoveryPlan.make(try duel.audit())
        #expect(settled.entries.map(\.class) == [.owed, .unacknowledged])
        #expect(try settled.isCurrent(for: try duel.audit()))
        let last = try LedgerDuel(next.ledger, scratch: duel.scratch, clock: acting.clock)
        try last.command(b, [3, 1])
        try last.close()
        let moved = try settled.currency(for: try duel.audit())
        #expect(!moved.isCurrent && moved.moved.map(\.shard) == [b] && !moved.hasBegun)
    }

    @Test("a log that was cut or rewritten since is replaced, and no plan for it is current")
    func replaced() throws {
        let (duel, plan) = try orphaned()
        let copy = try Hand.rebuild(duel.ledger, at: duel.scratch.path + "/cut") {
            $0 == b ? Array($1.dropLast(1)) : $1
        }
        let currency = try plan.currency(for: try AuditLedger(copy.directory))
        #expect(currency.replaced.map(\.shard) == [b] && !currency.isCurrent)
        var other = duel.ledger.manifest
        other.id = Bytes16(low: 1, high: 1)
        let empty = try Ledger.create(duel.scratch.path + "/other", other)
        #expect(throws: StoreError(.malformed, "")) {
            try plan.isCurrent(for: try AuditLedger(empty.directory))
        }
    }

    @Test("evidence has no plan, and neither has a ledger whose writer runs")
    func refused() throws {
        let foreign = try Hand.audit(Hand.manifest(native: false), [[], []])
        #expect(throws: StoreError(.sealed, "")) { try RecoveryPlan.make(foreign) }
        let duel = try LedgerDuel()
        #expect(throws: StoreError(.held, "")) { try RecoveryPlan.make(try duel.audit()) }
    }
}
