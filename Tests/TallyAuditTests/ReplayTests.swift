import Testing
import TallyAudit
import TallyCore
import TallyStore

@Suite("Replay, positions, queries, traces")
struct ReplayTests {
    private let a = LedgerDuel.a
    private let b = LedgerDuel.b

    private func talk() throws -> LedgerDuel {
        let duel = try LedgerDuel()
        for index in 0..<30 {
            try duel.send(a, b, index % 3 == 0 ? [1] : index % 3 == 1 ? [3, 1, 0] : [0])
            try duel.deliver()
        }
        try duel.send(a, b, [2])
        try duel.deliver()
        try duel.command(b, [2, 1])
        try duel.deliver()
        return duel
    }

    @Test("replay gives the machines' own states, and the same digests twice")
    func same() throws {
        let duel = try talk()
        let machines = duel.nodes
        try duel.close()
        let one = try Replay.run(Courier.self, try duel.audit(), checksChain: true)
        let two = try Replay.run(Courier.self, try duel.audit())
        for (index, shard) in one.shards.enumerated() {
            let node = try #require(machines[shard.shard])
            #expect(shard.head == node.end.head && shard.offset == node.end.offset)
            #expect(shard.messagingDigest == Hashing.digest(node.machine.messaging.encoded()))
            #expect(one.states[index]?.application == node.machine.application)
            #expect(shard.messagingDigest == two.shards[index].messagingDigest)
            #expect(shard.stateDigest == two.shards[index].stateDigest)
            #expect(shard.events == shard.offset.rawValue && shard.anomalyCount == 0)
        }
        #expect(one.events == one.shards.reduce(0) { $0 + $1.events })
        let opaque = try Replay.run(Opaque.self, try duel.audit())
        #expect(opaque.shards.map(\.messagingDigest) == one.shards.map(\.messagingDigest))
        #expect(opaque.shards.allSatisfy { $0.stateDigest == nil })
    }

    @Test(
        "from a snapshot the result is that from zero, and one behind the position is not used"
    )
    func snapshot() throws {
        let duel = try talk()
        try duel.close()
        let audit = try duel.audit()
        let middle = try audit.cut(at: .offsets([a: Offset(40)]))
        let half = try Replay.run(Courier.self, audit, at: middle)
        try Snapshot.write(try #require(half.states[0]), to: duel.ledger)
        let whole = try Replay.run(Courier.self, audit)
        let resumed = try Replay.run(Courier.self, audit, from: .snapshot)
        #expect(resumed.shards.map(\.stateDigest) == whole.shards.map(\.stateDigest))
        #expect(resumed.shards.map(\.messagingDigest) == whole.shards.map(\.messagingDigest))
        #expect(resumed.shards.map(\.events) == whole.shards.map(\.events))
        let early = try audit.cut(at: .offsets([a: Offset(10)]))
        let zero = try Replay.run(Courier.self, audit, at: early)
        let same = try Replay.run(Courier.self, audit, at: early, from: .snapshot)
        #expect(zero.shards[0].offset == Offset(10))
        #expect(same.shards[0].messagingDigest == zero.shards[0].messagingDigest)
    }

    @Test("positions are read from text")
    func positions() throws {
        let directory = ShardDirectory(["trades-0", "collateral-0"])!
        #expect(
            try Position("trades-0@120,collateral-0@88", directory)
                == .offsets([ShardID(1): Offset(120), ShardID(2): Offset(88)]))
        #expect(
            try Position("2026-11-23T12:00:00Z", directory)
                == .time(Timestamp("2026-11-23T12:00:00Z")!))
        #expect(try Position("-90s", directory) == .before(nanoseconds: 90_000_000_000))
        #expect(try Position("-2d", directory) == .before(nanoseconds: 172_800_000_000_000))
        for bad in [
            "", "-", "-h", "-1w", "-1.5h", "-99999999999d", "12:00", "trades-0@", "trades-0@x",
            "trades-0@1,", "trades-0@1@2", "trades-0@1,trades-0@2",
        ] {
            #expect(throws: StoreError(.malformed, "")) { try Position(bad, directory) }
        }
        #expect(throws: StoreError(.unknown, "")) { try Position("nobody@1", directory) }
    }

    @Test("a time is a cut: what it holds of each log is what stands at or before it")
    func times() throws {
        let duel = try talk()
        try duel.close()
        let audit = try duel.audit()
        var times: [Timestamp] = []
        try EventQuery().run(audit) {
            times.append($0.record.timestamp)
            return true
        }
        #expect(times == times.sorted() && times.last == audit.cut.latest)
        for time in [times[0], times[times.count / 2], times[times.count - 2]] {
            let cut = try audit.cut(at: .time(time))
            let replayed = try Replay.run(Courier.self, audit, at: cut)
            #expect(replayed.events == UInt64(times.count { $0 <= time }))
            let joined = try Join.run(audit, at: cut)
            #expect(joined.findings.isEmpty, "no receipt is inside whose send is outside")
        }
        #expect(throws: StoreError(.unknown, "")) {
            try audit.cut(at: .offsets([a: Offset(100_000)]))
        }
    }

    @Test(
        "every filter of a query does what a filter of everything would", arguments: [false, true])
    func queries(isReverse: Bool) throws {
        let duel = try talk()
        try duel.close()
        let audit = try duel.audit()
        func run(_ change: (inout EventQuery) -> Void) throws -> [RecordedEvent] {
            var query = EventQuery()
            query.isReverse = isReverse
            change(&query)
            var found: [RecordedEvent] = []
            try query.run(audit) {
                found.append($0)
                return true
            }
            return found
        }
        let all = try run { _ in }
        #expect(UInt64(all.count) == (try Replay.run(Opaque.self, audit)).events)
        #expect(try run { $0.shard = a } == all.filter { $0.shard == a })
        #expect(
            try run { $0.kinds = [.sent, .noted] }
                == all.filter { [.sent, .noted].contains($0.event.kind) })
        #expect(try run { $0.peer = b } == all.filter { $0.event.peer == b })
        #expect(try run { $0.limit = 7 } == Array(all.prefix(7)))
        #expect(try run { $0.limit = 0 }.isEmpty)
        #expect(
            try run { $0.offsets = 5...20 } == all.filter { (5...20).contains($0.offset.rawValue) })
        let (low, high) = (all[all.count / 3].record.timestamp, all[all.count / 2].record.timestamp)
        let (since, until) = (min(low, high), max(low, high))
        #expect(
            try run {
                $0.since = since
                $0.until = until
            } == all.filter { $0.record.timestamp >= since && $0.record.timestamp <= until })
        let message = MessageName(from: a, to: b, SequenceNumber(4))
        #expect(try run { $0.message = message } == all.filter { $0.message == message })
        #expect(all.filter(\.isLastOfCommit).count < all.count)
        let head = try #require(all.last { $0.shard == b && $0.isLastOfCommit }?.head)
        #expect(isReverse || head == audit[b].end?.head)
    }

    @Test(
        "deciding again gives what was decided; another program is caught at its first difference")
    func check() throws {
        let duel = try talk()
        try duel.close()
        let same = try ReplayCheck.run(Courier.self, try duel.audit())
        #expect(same.allSatisfy { $0.divergence == nil && $0.problem == nil && $0.stimuli > 30 })
        let other = try ReplayCheck.run(Impostor.self, try duel.audit())
        #expect(other[0].divergence == nil)
        let divergence = try #require(other[1].divergence)
        #expect(divergence.field == "outcome" && divergence.shard == b)
        #expect(divergence.recorded == "rejected" && divergence.decided == "accepted")
        #expect(throws: StoreError(.unknown, "")) {
            try ReplayCheck.run(Opaque.self, try duel.audit())
        }
    }

    @Test("a decision that lost an event, gained one or has other bytes diverges", arguments: 0..<3)
    func tampered(_ kind: Int) throws {
        let duel = try talk()
        try duel.close()
        var isDone = false
        let copy = try Hand.rebuild(duel.ledger, at: duel.scratch.path + "/tampered") {
            guard $0 == b else { return $1 }
            var commits = $1
            for index in commits.indices where !isDone {
                guard
                    let note = commits[index].events.firstIndex(where: { $0.event.kind == .noted })
                else { continue }
                isDone = true
                switch kind {
                case 0: commits[index].events.remove(at: note)
                case 1: commits[index].events.insert(commits[index].events[note], at: note)
                default: commits[index].events[note].payload = [8]
                }
            }
            return commits
        }
        let checked = try ReplayCheck.run(Courier.self, try AuditLedger(copy.directory))
        #expect(checked[0].divergence == nil)
        let field = try #require(checked[1].divergence?.field)
        #expect(["kind", "payload"].contains(field) && (kind != 2 || field == "payload"))
    }

    @Test("a trace shows both halves in order, the cause, and what came of it")
    func trace() throws {
        let duel = try talk()
        let lost = try duel.send(a, b, [0])
        try duel.deliver { $0.isDelivery }
        try duel.input(a, .recover(plan: Bytes16(low: 4, high: 4), [lost], reason: []))
        try duel.deliver { $0.isAnswer }
        try duel.close()
        let audit = try duel.audit()
        let settled = try Trace(MessageName(from: a, to: b, SequenceNumber(2)), audit)
        #expect(settled.verdict == .settled)
        #expect(
            settled.steps.map { $0.event.event.kind } == [
                .sent, .received, .answered, .acknowledged,
            ])
        #expect(settled.steps.map { $0.sincePrevious == nil } == [true, false, false, false])
        #expect(settled.steps.allSatisfy { $0.sincePrevious ?? 0 >= 0 })
        #expect(settled.cause?.event.kind == .commanded)
        #expect(settled.consequences.map { $0.event.kind } == [.answered, .noted, .sent])
        let orphan = try Trace(lost, audit)
        #expect(orphan.verdict == .orphan(.unacknowledged))
        #expect(
            orphan.steps.map { $0.event.event.kind } == [.sent, .reemitted, .received, .answered])
        let nobody = try Trace(MessageName(from: a, to: b, SequenceNumber(999)), audit)
        #expect(nobody.verdict == .notFound)
    }
}
