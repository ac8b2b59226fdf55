import Testing
import TallyAudit
import TallyCore
import TallyStore

/// A log that lacks a commit, ends too early, or cannot be read on from some place: as a file that a
/// failing disk or another hand has changed.
private final class RaggedLog: LogReading {
    let name: String
    private let log: MemoryLog
    /// The first offset of a commit that is not there.
    var hole: UInt64?
    /// Reading stops with an error at the commit that begins there.
    var breaksAt: UInt64?
    /// The log ends before this offset, whatever it said of its end.
    var endsBefore: UInt64?

    init(_ log: MemoryLog) { (self.log, name) = (log, log.name) }

    func end() -> LogPosition { log.end() }

    func forEachCommit(from offset: Offset, _ body: (CommitView) throws -> Bool) throws {
        try log.forEachCommit(from: offset) { commit in
            let first = commit.firstOffset.rawValue
            if let endsBefore, first >= endsBefore { return false }
            if first == hole { return true }
            if first == breaksAt {
                throw StoreError(
                    .damaged, "\(name)@\(first): its bytes are others; run: tally verify DIR")
            }
            return try body(commit)
        }
    }
}

@Suite("Logs that are not whole, read in every way")
struct RaggedLogTests {
    private let a = ShardID(1)
    private let b = ShardID(2)

    /// Five commits of two events in `a`, two in `b`.
    private func logs() throws -> (log: RaggedLog, other: MemoryLog, manifest: Manifest) {
        let manifest = Hand.manifest()
        let note: (Event, [UInt8]) = (Event(.noted), [1])
        let log = try Hand.log(
            manifest, 1,
            [HandCommit(10, Hand.opened(), note)]
                + (2...5).map { HandCommit($0 * 10, Hand.sent(2, $0 - 1), note) })
        let other = try Hand.log(
            manifest, 2, [HandCommit(15, Hand.opened()), HandCommit(25, Hand.received(1, 1))])
        return (RaggedLog(log), other, manifest)
    }

    private func audit(_ change: (RaggedLog) -> Void) throws -> AuditLedger {
        let (log, other, manifest) = try logs()
        let audit = AuditLedger(manifest: manifest, logs: [a: log, b: other])
        change(log)
        return audit
    }

    private func expect(
        _ problems: [(shard: ShardID, problem: StoreError)], _ says: String...,
        at location: SourceLocation = #_sourceLocation
    ) {
        #expect(problems.map(\.shard) == [a], sourceLocation: location)
        let text = problems.first?.problem.text ?? ""
        for part in says { #expect(text.contains(part), "\(text)", sourceLocation: location) }
    }

    private func replayed(_ audit: AuditLedger) throws -> [(shard: ShardID, problem: StoreError)] {
        try Replay.run(Opaque.self, audit).shards.compactMap { shard in
            shard.problem.map { (shard.shard, $0) }
        }
    }

    /// Decisions checked again, of a log that holds none.
    private func checked(
        _ change: (RaggedLog) -> Void
    ) throws -> [(shard: ShardID, problem: StoreError)] {
        let manifest = Hand.manifest(1)
        let made = try Hand.log(
            manifest, 1, (1...5).map { HandCommit($0 * 10, Hand.opened(), Hand.opened()) })
        let log = RaggedLog(made)
        let audit = AuditLedger(manifest: manifest, logs: [a: log])
        change(log)
        return try ReplayCheck.run(Courier.self, audit).compactMap { shard in
            shard.problem.map { (shard.shard, $0) }
        }
    }

    @Test("a hole is a finding at its place, and every other reading stops before it and says so")
    func hole() throws {
        let audit = try audit { $0.hole = 5 }
        let report = try Verify.run(Opaque.self, audit)
        #expect(report.findings.map(\.code) == ["gap"])
        #expect(report.findings.map(\.offset) == [Offset(7)])
        #expect(report.findings.map(\.text) == ["offset 5 is expected, 7 is there"])
        expect(try replayed(audit), "the log of a has a gap: offset 5 is expected", "tally verify")
        expect(
            try checked { $0.hole = 5 }, "the log of a has a gap at a@5", "tally verify")
        expect(
            try Join.run(audit).problems, "the log of a makes no sense at a@5", "tally verify")
        expect(try OrphanList(audit).problems, "a@5")
    }

    @Test("a log that ends before the place it was read to is named with both places")
    func short() throws {
        let audit = try audit { $0.endsBefore = 7 }
        let report = try Verify.run(Opaque.self, audit)
        #expect(report.findings.map(\.code) == ["ends-early"])
        expect(try replayed(audit), "the log of a ends at a@6 and not at a@10", "tally verify")
    }

    @Test("a log that cannot be read on is read up to there, by every reader")
    func broken() throws {
        let audit = try audit { $0.breaksAt = 7 }
        expect(try replayed(audit), "a@7: its bytes", "tally verify")
        expect(try checked { $0.breaksAt = 7 }, "a@7")
        expect(try Join.run(audit).problems, "a@7")
        let trace = try Trace(MessageName(from: a, to: b, SequenceNumber(1)), audit)
        expect(trace.problems, "a@7")

        var query = EventQuery()
        for isReverse in [false, true] {
            query.isReverse = isReverse
            var seen: [UInt64] = []
            let problems = try query.run(audit) { event in
                if event.shard == a { seen.append(event.offset.rawValue) }
                return true
            }
            expect(problems, "a@7")
            #expect(seen == (isReverse ? (1...6).reversed() : Array(1...6)))
        }
        query.isReverse = false
        query.until = Timestamp(40)
        expect(try query.run(audit) { _ in true }, "a@7")
        for text in ["a@7", "1970-01-01T00:00:00.000000040Z"] {
            let error = #expect(throws: StoreError.self) {
                try audit.cut(at: Position(text, audit.directory))
            }
            #expect(error?.code == .damaged && error?.text.contains("a@7") == true)
        }
    }

    @Test("a log that breaks while it is followed is named once, and the others are followed on")
    func followed() throws {
        let (log, other, manifest) = try logs()
        log.endsBefore = 7
        let audit = AuditLedger(manifest: manifest, logs: [a: log, b: other])
        var cut = EventQuery()
        cut.kinds = [.noted]
        let position = try Position("a@6", audit.directory)
        let follower = EventFollower(cut, audit, after: try audit.cut(at: position))
        log.endsBefore = nil
        log.breaksAt = 7
        _ = follower.poll(now: 0)
        expect(follower.problems, "a@7", "tally verify")
        #expect(follower.isFollowing)
        try Hand.append([HandCommit(100, (Event(.noted), [2]))], to: other)
        let shown = follower.poll(now: 1) + follower.drain()
        #expect(shown.map(\.shard) == [b])
        #expect(follower.problems.count == 1)
    }

    @Test("a shard without a log is a problem that says what to do")
    func missing() throws {
        let audit = try Hand.audit(Hand.manifest(), [nil, [HandCommit(5, Hand.opened())]])
        expect(audit.problems, "shard a is missing", "give its log")
    }

    @Test("what verify leaves out of its findings it says: anomalies beyond the list, foreign laws")
    func leftOut() throws {
        let far = (0..<70).map { HandCommit(10 + $0, Hand.sent(2, 1000 + $0 * 2)) }
        let logs = [[HandCommit(4, Hand.opened())] + far, [HandCommit(5, Hand.opened())]]
        let report = try Verify.run(Opaque.self, try Hand.audit(Hand.manifest(), logs))
        #expect(report.findings.count { $0.code == "sent-out-of-sequence" } == 64)
        #expect(report.notes.contains("a has 6 more anomalies than are listed"))
        let foreign = try Verify.run(
            Courier.self, try Hand.audit(Hand.manifest(native: false), logs))
        #expect(
            foreign.notChecked.contains(
                "books: the program's own law, because the logs are a foreign import"))
    }

    @Test("a snapshot behind the end of its log is not compared, and that is said")
    func snapshotBehind() throws {
        let duel = try LedgerDuel()
        try duel.send(LedgerDuel.a, LedgerDuel.b, [0])
        try duel.deliver()
        try duel.close()
        let audit = try duel.audit()
        let state = try #require(try Replay.run(Courier.self, audit).states[0])
        let short = try Hand.rebuild(duel.ledger, at: duel.scratch.path + "/short") {
            $0 == LedgerDuel.a ? Array($1.dropLast()) : $1
        }
        try Snapshot.write(state, to: short)
        let report = try Verify.run(Courier.self, try AuditLedger(short.directory), through: .fold)
        let offset = state.position.offset.rawValue
        #expect(
            report.notes.contains(
                "the snapshot of a at \(offset) was not compared: it lies behind what was read"))
    }
}
