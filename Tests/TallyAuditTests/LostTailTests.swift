import Testing
import TallyAudit
import TallyCore
import TallyStore

@Suite("Lost tails that an operator accepted")
struct LostTailTests {
    private let a = LedgerDuel.a
    private let b = LedgerDuel.b

    /// The first of the commits that goes: from here on the log of a shard is lost.
    private func lose(
        _ shard: ShardID, behind kept: Offset, of duel: LedgerDuel
    ) throws -> LedgerDuel {
        try duel.close()
        let copy = try Hand.rebuild(duel.ledger, at: duel.scratch.path + "/restored") {
            guard $0 == shard else { return $1 }
            var offset: UInt64 = 0
            return $1.filter { commit in
                offset += UInt64(commit.events.count)
                return offset <= kept.rawValue
            }
        }
        return try LedgerDuel(copy, scratch: duel.scratch, clock: duel.clock)
    }

    /// Lets the shards talk until one stops, then has its operator accept.
    private func accept(_ shard: ShardID, in duel: LedgerDuel) throws {
        for _ in 0..<4 {
            duel.clock += 10_000_000_000
            for shard in duel.ledger.shards.all { try duel.input(shard, .wake) }
            try duel.deliver()
        }
        let stop = try #require(duel.nodes[shard]?.machine.stop)
        guard case .fork(let peer, _, let statement, _, _) = stop else {
            Issue.record("stopped for another reason: \(stop)")
            return
        }
        duel.bag = []
        try duel.close(shard)
        try duel.open(shard)
        try duel.input(
            shard, .intervene(.acceptPeer(peer, statement, reason: Array("restored".utf8))))
        for _ in 0..<4 {
            duel.clock += 10_000_000_000
            for shard in duel.ledger.shards.all { try duel.input(shard, .wake) }
            try duel.deliver()
        }
        #expect(duel.nodes[shard]?.machine.stop == nil)
    }

    @Test(
        "an origin that lost its sends: their receipts are lost, not unsent, and the books balance")
    func origin() throws {
        let first = try LedgerDuel()
        try first.send(a, b)
        try first.deliver()
        let kept = try first.folded(a).position.offset
        for _ in 0..<3 {
            try first.send(a, b)
            try first.deliver()
        }
        let duel = try lose(a, behind: kept, of: first)
        // Before it notices, it uses two of the lost names again.
        try duel.send(a, b, [0, 9])
        try duel.send(a, b, [0, 8])
        try accept(a, in: duel)
        try duel.send(a, b)
        try duel.deliver()
        try duel.close()
        let joined = try Join.run(try duel.audit())
        let summary = joined[Channel(origin: a, destination: b)]
        #expect(summary.lost == 3 && summary.unsent == 0 && summary.conflicting == 0)
        #expect(summary.pending == 0 && summary.matched == 2)
        let report = try Verify.run(Courier.self, try duel.audit())
        #expect(report.findings.map(\.text) == [])
        #expect(report.isClean)
        #expect(report.notes.contains { $0.contains("lost") })
    }

    @Test("a destination that lost receipts: their acknowledgements are lost, not unfounded")
    func destination() throws {
        let first = try LedgerDuel()
        try first.send(a, b)
        try first.deliver()
        let kept = try first.folded(b).position.offset
        for _ in 0..<3 {
            try first.send(a, b)
            try first.deliver()
        }
        let duel = try lose(b, behind: kept, of: first)
        try accept(b, in: duel)
        try duel.send(a, b)
        try duel.deliver()
        try duel.close()
        let joined = try Join.run(try duel.audit())
        let summary = joined[Channel(origin: a, destination: b)]
        #expect(summary.lost == 3 && summary.unfounded == 0 && summary.pending == 0)
        let report = try Verify.run(Courier.self, try duel.audit())
        #expect(report.findings.map(\.text) == [])
        #expect(report.isClean)
    }

    @Test("an accepted statement covers what it names, and nothing beyond")
    func bounds() throws {
        let a = [
            HandCommit(4, Hand.sent(2, 1), Hand.sent(2, 2), Hand.sent(2, 3)),
            HandCommit(
                6, Hand.acknowledged(2, 1), Hand.acknowledged(2, 2), Hand.acknowledged(2, 3)),
            HandCommit(7, Hand.received(2, 1), Hand.received(2, 2)),
        ]
        func join(_ settled: UInt64, _ statement: UInt64, _ received: UInt64) throws -> [String] {
            let accepted = Hand.accepted(
                1, receivedThrough: received, settledThrough: settled, statement: statement)
            let joined = try Join.run(
                try Hand.audit(Hand.manifest(), [a, [HandCommit(9, accepted)]]))
            return joined.findings.map { "\($0.class.rawValue) \($0.message.sequence.rawValue)" }
        }
        let all = ["unfounded 1", "unfounded 2", "unfounded 3", "unsent 1", "unsent 2"]
        #expect(try join(0, 0, 0) == all)
        #expect(try join(2, 0, 0) == ["lost 1", "lost 2"] + all[2...])
        #expect(try join(0, 4, 0) == ["lost 1"] + all[1...])
        #expect(try join(0, 0, 1) == all[..<3] + ["lost 1", "unsent 2"])
    }

    @Test("without the operator's word the same losses are findings")
    func unaccepted() throws {
        let first = try LedgerDuel()
        let kept = try first.folded(a).position.offset
        try first.send(a, b)
        try first.deliver()
        try first.send(b, a)
        try first.deliver()
        try first.close()
        let copy = try Hand.rebuild(first.ledger, at: first.scratch.path + "/cut") {
            $0 == a ? Array($1.prefix(Int(kept.rawValue))) : $1
        }
        let report = try Verify.run(Courier.self, try AuditLedger(copy.directory))
        #expect(Set(report.findings.map(\.code)) == ["unsent", "unfounded", "books"])
        #expect(!report.isClean)
    }
}
