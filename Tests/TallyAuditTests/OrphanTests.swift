import Testing
import TallyAudit
import TallyCore
import TallyStore

@Suite("Orphans, from both halves")
struct OrphanTests {
    private let a = LedgerDuel.a
    private let b = LedgerDuel.b

    /// One message of each class, in this order: settled, undelivered (late), owed, unacknowledged,
    /// expired, settled by timeout.
    private func mixed() throws -> LedgerDuel {
        let duel = try LedgerDuel(ordered: false)
        try duel.send(a, b)
        try duel.deliver()
        try duel.send(a, b, deadline: 1)
        try duel.deliver { $0.isDelivery }
        try duel.send(a, b, [2])
        try duel.deliver()
        try duel.send(a, b, [1])
        try duel.deliver { $0.isAnswer }
        for isAnswerLost in [true, false] {
            try duel.send(a, b, deadline: 1)
            duel.clock += 2_000_000_000
            try duel.deliver { isAnswerLost && $0.isAnswer }
        }
        return duel
    }

    @Test("each class is told from both logs, with its evidence")
    func classes() throws {
        let duel = try mixed()
        try duel.close()
        let list = try OrphanList(try duel.audit())
        #expect(list.entries.map { $0.orphan.message.sequence.rawValue } == [2, 3, 4, 5])
        #expect(
            list.entries.map { $0.orphan.class }
                == [.undelivered, .owed, .unacknowledged, .expired])
        #expect(list.entries.map { $0.orphan.isOverdue } == [true, false, false, true])
        #expect(list.entries.map { $0.action } == ["re-emit", "wait", "re-emit", "re-emit"])
        #expect(list.entries.map { $0.orphan.evidence.count } == [1, 2, 3, 2])
        #expect(list.entries.allSatisfy { $0.age > 0 && $0.orphan.evidence[0].shard == a })
        #expect(list.findings.isEmpty)
        let summary = try #require(list.channels.first?.summary)
        var expected = ChannelSummary()
        (expected.sent, expected.received, expected.answered) = (6, 5, 2)
        (expected.acknowledged, expected.timedOut, expected.pending) = (1, 1, 4)
        (expected.matched, expected.undelivered, expected.owed) = (5, 1, 1)
        (expected.unacknowledged, expected.expired) = (1, 1)
        #expect(summary.fields.map(\.value) == expected.fields.map(\.value))
    }

    @Test("the same ledger says the same twice, and the state's own orphans agree")
    func repeats() throws {
        let duel = try mixed()
        try duel.close()
        let one = try Join.run(try duel.audit())
        let two = try Join.run(try duel.audit(), comparesBytes: false)
        #expect(one.orphans == two.orphans)
        #expect(one.channels.map(\.summary) == two.channels.map(\.summary))
        let replayed = try Replay.run(Courier.self, try duel.audit())
        let states = replayed.states.compactMap { $0 }
        let known = states[0].messaging.orphans(now: one.latest) { _ in states[1].messaging }
        #expect(known == one.orphans)
    }

    @Test("a clean close leaves nothing; what was settled leaves no trace in the list")
    func settled() throws {
        let duel = try LedgerDuel()
        for index in 0..<40 {
            try duel.send(a, b, [UInt8(index % 2)])
            try duel.send(b, a)
            try duel.deliver()
        }
        try duel.close()
        let joined = try Join.run(try duel.audit())
        #expect(joined.orphans.isEmpty)
        #expect(joined.findings.isEmpty)
        #expect(joined.channels.map(\.summary.matched) == [40, 40])
        #expect(joined.messages == 80)
    }

    @Test("a message owed below the floor is owed all the same")
    func owedBelowFloor() throws {
        let duel = try LedgerDuel(ordered: false)
        try duel.send(a, b, [2])
        try duel.deliver()
        for _ in 0..<3 {
            try duel.send(a, b)
            try duel.deliver()
        }
        try duel.close()
        let list = try OrphanList(try duel.audit())
        #expect(list.entries.map { $0.orphan.class } == [.owed])
    }

    @Test("with the destination's log missing a pending message is unknown, not undelivered")
    func unknown() throws {
        let duel = try mixed()
        try duel.close()
        Files.remove(duel.ledger.dataPath(of: b))
        let audit = try duel.audit()
        #expect(audit.isPartial)
        #expect(audit.problems.map { $0.problem.code } == [.missingShard])
        let joined = try Join.run(audit)
        #expect(joined.isPartial)
        #expect(joined.orphans.map { $0.class } == Array(repeating: .unknown, count: 4))
        // The two settled ones cannot be justified either way.
        #expect(joined.channels[0].summary.unknown == 6)
        #expect(joined.channels[0].summary.unfounded == 0)
        #expect(joined.findings.allSatisfy { $0.class == .unknown })
    }

    @Test("with the origin's log missing a receipt is unknown, not unsent")
    func unknownOrigin() throws {
        let duel = try mixed()
        try duel.close()
        Files.remove(duel.ledger.dataPath(of: a))
        let joined = try Join.run(try duel.audit())
        #expect(joined.channels[0].summary.unsent == 0)
        #expect(joined.channels[0].summary.unknown == 5)
    }

    @Test("at a position an earlier state is classified")
    func positions() throws {
        let duel = try mixed()
        try duel.close()
        let audit = try duel.audit()
        let later = try Join.run(audit)
        let third = try #require(later.orphans.first { $0.class == .owed })
        // Through the send of the owed message, and not its receipt.
        let cut = try audit.cut(
            at: .offsets([
                a: third.evidence[0].offset, b: Offset(third.evidence[1].offset.rawValue - 1),
            ]))
        let joined = try Join.run(audit, at: cut)
        // B is cut off early: that it has no receipt means nothing.
        #expect(joined.orphans.map { $0.class } == [.unknown, .unknown])
        let timed = try Join.run(audit, at: try audit.cut(at: .time(third.since)))
        #expect(timed.orphans.map { $0.class } == [.undelivered, .undelivered])
        #expect(timed.latest == third.since)
        let nothing = try Join.run(audit, at: try audit.cut(at: .time(Timestamp(1))))
        #expect(nothing.channels.isEmpty)
    }

    @Test("on a live ledger only what is pending for long counts")
    func live() throws {
        let duel = try mixed()
        try duel.close()
        // The lock alone makes a writer of this process, which leaves the log to the reader.
        let lock = try WriterLock(duel.ledger.writerPath(of: a), shard: "a")
        let audit = try duel.audit()
        #expect(audit.isLive && audit[a].isLive && !audit[b].isLive)
        let list = try OrphanList(audit)
        #expect(list.entries.isEmpty && list.younger == 4)
        let ages = try OrphanList(audit, olderThan: 0).entries.map(\.age)
        #expect(ages.count == 4 && ages == ages.sorted(by: >))
        #expect(try OrphanList(audit, olderThan: ages[1]).entries.count == 2)
        withExtendedLifetime(lock) {}
    }

    @Test("a writer that starts between opening and reading is noticed, and the pass repeated")
    func starting() throws {
        let duel = try mixed()
        try duel.close()
        let before = try Join.run(try duel.audit())
        let audit = try duel.audit()
        #expect(!audit.isLive)
        let lock = try WriterLock(duel.ledger.writerPath(of: a), shard: "a")
        let joined = try Join.run(audit)
        #expect(audit[a].isLive && !audit[b].isLive)
        #expect(joined.orphans == before.orphans)
        withExtendedLifetime(lock) {}
    }

    @Test("a pass during which a writer started is done again, once")
    func repeatedPass() throws {
        let duel = try mixed()
        try duel.close()
        let audit = try duel.audit()
        var lock: WriterLock?
        var passes = 0
        let report = try Verify.run(Courier.self, audit) { level, _ in
            if level == .halves { passes += 1 }
            if lock == nil {
                lock = try? WriterLock(duel.ledger.writerPath(of: b), shard: "b")
            }
        }
        #expect(lock != nil && passes == 2 && audit[b].isLive)
        #expect(report.isClean)
    }

    @Test("logs that grow while their ends are taken are cut so that no receipt lacks its send")
    func growing() throws {
        let manifest = Hand.manifest(3)
        let world = GrowingWorld(manifest)
        for _ in 0..<50 {
            let logs = world.logs.mapValues { $0 as any LogReading }
            let audit = AuditLedger(
                manifest: manifest, logs: logs, live: Set(manifest.shards.all))
            let joined = try Join.run(audit)
            #expect(joined.findings.isEmpty)
            // The idle log is whole, however old its end.
            #expect(audit.cut.through(ShardID(3)) == Offset(1))
            #expect(joined.channels.count <= 2)
        }
    }
}

/// Two logs that send to each other whenever somebody looks at an end, and one that is idle.
private final class GrowingWorld {
    private(set) var logs: [ShardID: GrowingLog] = [:]
    private var time: UInt64 = 100
    private var looks = 0
    private var counts: [UInt32: UInt64] = [:]

    init(_ manifest: Manifest) {
        for shard in manifest.shards.all {
            logs[shard] = GrowingLog(
                MemoryLog(name: "x", ledger: manifest.id, shard: shard), self)
        }
        for shard in manifest.shards.all { append(shard, Hand.opened()) }
    }

    private func append(_ shard: ShardID, _ events: (Event, [UInt8])...) {
        time += 1
        var commit = HandCommit(time)
        commit.events = events.map { ($0.0, $0.1, []) }
        if let log = logs[shard] { try? Hand.append([commit], to: log.log) }
    }

    func looked() {
        looks += 1
        let (from, to): (UInt32, UInt32) = looks % 3 == 0 ? (1, 2) : (2, 1)
        counts[from, default: 0] += 1
        let number = counts[from, default: 0]
        append(ShardID(from), Hand.sent(to, number))
        append(ShardID(to), Hand.received(from, number), Hand.answered(from, number))
        append(ShardID(from), Hand.acknowledged(to, number))
    }
}

private final class GrowingLog: LogReading {
    let log: MemoryLog
    private unowned let world: GrowingWorld
    init(_ log: MemoryLog, _ world: GrowingWorld) {
        self.log = log
        self.world = world
    }
    var name: String { log.name }
    func end() -> LogPosition {
        world.looked()
        return log.end()
    }
    func forEachCommit(from offset: Offset, _ body: (CommitView) throws -> Bool) throws {
        try log.forEachCommit(from: offset, body)
    }
}
