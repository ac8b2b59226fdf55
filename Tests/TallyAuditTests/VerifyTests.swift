import Testing
import TallyAudit
import TallyCore
import TallyStore

@Suite("Verify, level by level")
struct VerifyTests {
    private let a = LedgerDuel.a
    private let b = LedgerDuel.b

    /// Traffic both ways with every ending there is, killed in mid-flight.
    private func busy() throws -> LedgerDuel {
        let duel = try LedgerDuel(shards: 3, ordered: false)
        duel.options.witnessEvery = 8
        for index in 0..<60 {
            let to = ShardID(UInt32(2 + index % 2))
            try duel.send(a, to, [UInt8(index % 3)], deadline: index % 7 == 0 ? 1 : 0)
            if index % 7 == 0 { duel.clock += 2_000_000_000 }
            if index % 5 == 0 { try duel.send(to, a, [3, UInt8(to.rawValue), 0]) }
            try duel.deliver { $0.isAnswer && index % 11 == 0 }
        }
        try duel.close()
        return duel
    }

    private func codes(_ report: VerifyReport) -> Set<String> { Set(report.findings.map(\.code)) }

    @Test("a ledger killed in mid-flight verifies clean at every level")
    func clean() throws {
        let duel = try busy()
        let report = try Verify.run(Courier.self, try duel.audit())
        #expect(report.findings.map(\.text) == [])
        #expect(report.isClean && !report.isPartial)
        #expect(report.levels.map(\.level) == VerifyLevel.allCases)
        #expect(report.levels.allSatisfy { $0.isChecked && $0.items > 0 && $0.findings == 0 })
        #expect(report.notChecked == [])
        let again = try Verify.run(Courier.self, try duel.audit())
        #expect(again.levels == report.levels && again.notes == report.notes)
        let some = try Verify.run(Courier.self, try duel.audit(), through: .chain)
        #expect(some.levels.map(\.level) == [.structure, .commits, .chain])
    }

    @Test("without the program its state and law are named as not checked")
    func opaque() throws {
        let duel = try busy()
        let report = try Verify.run(Opaque.self, try duel.audit())
        #expect(report.isClean)
        #expect(report.notChecked.count == 2)
    }

    @Test("a ledger with nothing in it is not clean: nothing was checked")
    func nothing() throws {
        let scratch = try Scratch()
        let ledger = try Ledger.create(scratch.path + "/empty", Hand.manifest())
        let report = try Verify.run(Opaque.self, try AuditLedger(ledger.directory))
        #expect(report.findings.isEmpty && !report.isClean)
        #expect(report.levels.map(\.isChecked) == [true, false, false, false, false, false])
    }

    @Test("a missing shard is partial, the others are checked")
    func missing() throws {
        let duel = try busy()
        Files.remove(duel.ledger.dataPath(of: b))
        let report = try Verify.run(Courier.self, try duel.audit())
        #expect(report.isPartial && report.findings.isEmpty)
        #expect(report.levels.allSatisfy { $0.isChecked })
        #expect(report.notChecked.contains { $0.hasPrefix("b: ") })
        #expect(report.notChecked.contains { $0.contains("a/b") })
    }

    @Test("a damaged file is a finding of its shard")
    func structure() throws {
        let duel = try busy()
        let path = duel.ledger.dataPath(of: b)
        var bytes = try Files.read(path, max: 1 << 30)
        for index in 0..<4096 { bytes[index] = 0xFF }
        for index in 4096..<8192 { bytes[index] = 0xFF }
        try Files.replace(path, with: bytes)
        let report = try Verify.run(Courier.self, try duel.audit())
        #expect(codes(report) == ["structure"])
        #expect(report.isPartial)
        try Files.replace(path, with: [])
        #expect(codes(try Verify.run(Courier.self, try duel.audit())) == ["structure"])
    }

    @Test(
        "a flipped byte in a commit is found with its place, and the others go on",
        arguments: 0..<12)
    func flipped(_ seed: UInt64) throws {
        let duel = try busy()
        let path = duel.ledger.dataPath(of: b)
        var bytes = try Files.read(path, max: 1 << 30)
        // The commits' magics; flip one bit of a payload or header behind one of them.
        let places = bytes.indices.dropLast(200).filter {
            bytes[$0] == 0x54 && bytes[$0 + 1] == 0x4C && bytes[$0 + 2] == 0x4C
                && bytes[$0 + 3] == 0x59
        }
        var random = SplitMix64(seed: seed)
        let place = places[Int(random.next() % UInt64(places.count))]
        bytes[place + Int(24 + random.next() % 100)] ^= 1 << UInt8(random.next() % 8)
        try Files.replace(path, with: bytes)
        let report = try Verify.run(Courier.self, try duel.audit())
        // What was hit may be the remains of an older page: nothing, or the page around it.
        guard !report.findings.isEmpty, codes(report) != ["structure"] else { return }
        #expect(codes(report) == ["damaged-commit"])
        #expect(report.findings.allSatisfy { $0.shard == b && $0.offset != nil })
        #expect(report.isPartial && !report.isClean)
        #expect(report.notChecked.contains { $0.hasPrefix("b: chain") })
    }

    @Test("a log rewritten with new checksums and heads is contradicted by what a peer witnessed")
    func rewritten() throws {
        let duel = try busy()
        var isFirst = true
        let copy = try Hand.rebuild(duel.ledger, at: duel.scratch.path + "/rewritten") {
            guard $0 == a else { return $1 }
            var commits = $1
            // A note in the first commit, then everything else as it was: no message differs.
            for index in commits.indices where commits[index].events[0].event.kind == .opened {
                guard isFirst else { break }
                isFirst = false
                commits[index].time -= 1
            }
            return commits
        }
        let report = try Verify.run(Courier.self, try AuditLedger(copy.directory))
        #expect(codes(report) == ["witnessed-head"])
        #expect(Set(report.findings.compactMap(\.shard)) == [b, ShardID(3)])
        #expect(report.findings.allSatisfy { $0.evidence.count == 2 })
        #expect(report.notes.count == 3)
    }

    @Test("a log behind its mark is a finding, a missing mark a note")
    func mark() throws {
        let duel = try busy()
        let copy = try Hand.rebuild(duel.ledger, at: duel.scratch.path + "/short") {
            $0 == b ? Array($1.dropLast(1)) : $1
        }
        for shard in [a, b] {
            let mark = try Files.read(duel.ledger.markPath(of: shard), max: 4096)
            try Files.replace(copy.markPath(of: shard), with: mark)
        }
        let report = try Verify.run(Courier.self, try AuditLedger(copy.directory), through: .chain)
        #expect(report.findings.map(\.code) == ["behind-mark"])
        #expect(report.notes.count == 1)
    }

    @Test("gaps, time and epochs that go back, and broken chains are found where they are")
    func commits() throws {
        func codes(_ change: (inout CommitBuilder, Digest) -> Digest) throws -> [String] {
            let log = RawLog()
            let seed = Hashing.seed(ledger: Hand.manifest(1).id, shard: ShardID(1))
            var builder = CommitBuilder()
            builder.open(firstOffset: Offset(1), timestamp: Timestamp(5), epoch: Epoch(1))
            builder.append(Hand.opened().0)
            builder.seal(previousHead: seed)
            log.commits.append((1, builder.bytes))
            let head = change(&builder, Hashing.digest(builder.bytes))
            builder.append(Event(.noted), payload: [1])
            builder.seal(previousHead: head)
            log.commits.append((builder.firstOffset.rawValue, builder.bytes))
            let audit = AuditLedger(manifest: Hand.manifest(1), logs: [ShardID(1): log])
            let report = try Verify.run(Opaque.self, audit, through: .chain)
            #expect(report.findings.allSatisfy { $0.shard == ShardID(1) && $0.offset != nil })
            return report.findings.map(\.code)
        }
        #expect(
            try codes { builder, head in
                builder.open(firstOffset: Offset(2), timestamp: Timestamp(6), epoch: Epoch(1))
                return head
            } == [])
        #expect(
            try codes { builder, head in
                builder.open(firstOffset: Offset(3), timestamp: Timestamp(6), epoch: Epoch(1))
                return head
            } == ["gap"])
        #expect(
            try codes { builder, head in
                builder.open(firstOffset: Offset(2), timestamp: Timestamp(5), epoch: Epoch(1))
                return head
            } == ["time-back"])
        #expect(
            try codes { builder, head in
                builder.open(firstOffset: Offset(2), timestamp: Timestamp(6), epoch: Epoch(0))
                return head
            } == ["epoch-back"])
        #expect(
            try codes { builder, head in
                builder.open(firstOffset: Offset(2), timestamp: Timestamp(6), epoch: Epoch(1))
                return .none
            } == ["broken-chain"])
    }

    @Test("a commit whose bytes changed, and an end that is no longer there, are found")
    func damaged() throws {
        let manifest = Hand.manifest(1)
        func log() throws -> RawLog {
            let made = try Hand.log(
                manifest, 1, (1...4).map { HandCommit($0 * 10, $0 == 1 ? Hand.opened() : note) })
            let raw = RawLog()
            try made.forEachCommit(from: Offset(1)) { commit in
                raw.commits.append(
                    (commit.firstOffset.rawValue, commit.withBytes { $0.copied }))
                return true
            }
            return raw
        }
        func report(_ log: RawLog, _ change: (RawLog) -> Void) throws -> VerifyReport {
            let audit = AuditLedger(manifest: manifest, logs: [ShardID(1): log])
            change(log)
            return try Verify.run(Opaque.self, audit)
        }
        #expect(try report(try log()) { _ in }.isClean)
        for byte in [0, 30, 79, 90, 136] {
            let found = try report(try log()) { $0.commits[2].bytes[byte] ^= 4 }
            #expect(found.findings.map(\.code) == ["damaged-commit"])
            #expect(found.findings.map(\.offset) == [Offset(3)])
            // The finding has its place; its text is the damage, and no verb that ran already.
            let text = found.findings.first?.text ?? ""
            #expect(text.contains(" of the commit); what stands before it can be read"), "\(text)")
            #expect(!text.contains("a@3") && !text.contains("tally verify"), "\(text)")
            #expect(found.isPartial && found.levels.map(\.isChecked)[2] == false)
        }
        let short = try report(try log()) { $0.commits.removeLast() }
        #expect(short.findings.map(\.code) == ["ends-early"])
        #expect(short.findings.map(\.offset) == [Offset(4)])
    }

    private var note: (Event, [UInt8]) { (Event(.noted), [1, 2, 3]) }

    @Test("another ledger's log does not begin with this one's seed")
    func seed() throws {
        let log = try Hand.log(Hand.manifest(1), 1, [HandCommit(4, Hand.opened())])
        var other = Hand.manifest(1)
        other.id = Bytes16(low: 9, high: 9)
        let report = try Verify.run(
            Opaque.self, AuditLedger(manifest: other, logs: [ShardID(1): log]))
        #expect(codes(report) == ["wrong-seed"])
    }

    @Test("anomalies of a native log are findings; of a foreign one they are not looked for")
    func anomalies() throws {
        let a = [HandCommit(4, Hand.opened(), Hand.sent(2, 5)), HandCommit(6, Hand.sent(7, 1))]
        let b = [HandCommit(5, Hand.opened(), Hand.received(1, 5))]
        let native = try Verify.run(Opaque.self, try Hand.audit(Hand.manifest(), [a, b]))
        #expect(
            codes(native) == ["sent-out-of-sequence", "unknown-peer", "received-out-of-order"])
        let foreign = try Verify.run(
            Opaque.self, try Hand.audit(Hand.manifest(native: false), [a, b]))
        #expect(foreign.isClean)
        #expect(foreign.notChecked.contains { $0.contains("foreign") })
    }

    @Test("contradicting halves are findings with both places, and the books do not balance")
    func halves() throws {
        let a = [
            HandCommit(
                4, Hand.opened(), Hand.sent(2, 1), Hand.sent(2, 2), Hand.sent(2, 3),
                Hand.sent(2, 4), Hand.sent(2, 5)),
            HandCommit(
                9, Hand.acknowledged(2, 1, .rejected), Hand.acknowledged(2, 2), Hand.timedOut(2, 3),
                Hand.timedOut(2, 5, forced: true)),
        ]
        let b = [
            HandCommit(
                5, Hand.opened(), Hand.received(1, 1), Hand.answered(1, 1),
                Hand.received(1, 4, [4]),
                Hand.received(1, 5), Hand.received(1, 6))
        ]
        let report = try Verify.run(
            Opaque.self, try Hand.audit(Hand.manifest(ordered: false), [a, b]))
        #expect(
            codes(report).isSuperset(of: [
                "outcome-differs", "unfounded", "timeout-without-expiry", "conflicting",
                "overruled",
                "unsent", "books",
            ]))
        for finding in report.findings where finding.level == .halves {
            #expect(finding.message != nil && !finding.evidence.isEmpty)
        }
    }

    @Test("books notice a receipt that nothing at the origin stands for")
    func books() throws {
        // Each message settles, but one receipt was counted twice over.
        let a = [
            HandCommit(4, Hand.opened(), Hand.sent(2, 1)), HandCommit(9, Hand.acknowledged(2, 1)),
        ]
        let b = [
            HandCommit(5, Hand.opened(), Hand.received(1, 1), Hand.answered(1, 1)),
            HandCommit(6, Hand.received(1, 1)),
        ]
        let report = try Verify.run(Opaque.self, try Hand.audit(Hand.manifest(), [a, b]))
        #expect(codes(report).isSuperset(of: ["received-twice", "repeated", "books"]))
    }

    @Test("the program's own law is asked at the cut")
    func law() throws {
        let duel = try LedgerDuel()
        try duel.command(a, [3, 13])
        try duel.close()
        let report = try Verify.run(Courier.self, try duel.audit())
        #expect(report.findings.map(\.code) == ["law"])
    }

    @Test("a snapshot that is not what the log folds to is a finding; a damaged one is a note")
    func snapshots() throws {
        let duel = try busy()
        let audit = try duel.audit()
        let state = try #require(try Replay.run(Courier.self, audit).states[0])
        try Snapshot.write(state, to: duel.ledger)
        #expect(try Verify.run(Courier.self, try duel.audit()).isClean)
        let path = duel.ledger.snapshotsPath(of: a)
        let file = path + "/" + (try #require(Files.list(path).first))
        var bytes = try Files.read(file, max: 1 << 20)
        bytes[200] ^= 1
        try Files.replace(file, with: bytes)
        let noted = try Verify.run(Courier.self, try duel.audit())
        #expect(noted.isClean && noted.notes.count == 1)
        // The same offset and head, another state: the fold of a program that lies about its name.
        let other = try Replay.run(Impostor.self, audit)
        try Snapshot.write(try #require(other.states[0]), to: duel.ledger)
        let found = try Verify.run(Courier.self, try duel.audit())
        #expect(found.findings.map(\.code) == ["snapshot-differs"])
    }
}

/// A log that holds whatever bytes it is given.
private final class RawLog: LogReading {
    let name = "a"
    var commits: [(key: UInt64, bytes: [UInt8])] = []

    func end() throws -> LogPosition {
        guard let last = commits.last else {
            return LogPosition(offset: .none, head: .none, timestamp: .none)
        }
        return try unsafe last.bytes.span.bytes.withCommit { commit in
            LogPosition(
                offset: commit.lastOffset, head: commit.head, timestamp: commit.timestamp)
        }
    }

    func forEachCommit(from offset: Offset, _ body: (CommitView) throws -> Bool) throws {
        for (key, bytes) in commits {
            let goesOn = try unsafe bytes.span.bytes.withCommit(key: Offset(key)) { commit in
                commit.lastOffset < offset ? true : try body(commit)
            }
            if !goesOn { return }
        }
    }
}
