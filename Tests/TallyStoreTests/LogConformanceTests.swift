import TallyCore
import TallyStore
import Testing

/// What every log promises, asked of every kind of log.
@Suite("a log")
struct LogConformanceTests {
    enum Kind: CaseIterable { case memory, lmdb }

    /// Runs a closure over an empty log.
    private func withLog(_ kind: Kind, _ body: (any LogStore) throws -> Void) throws {
        switch kind {
        case .memory:
            let log = MemoryLog(name: "a", ledger: StoreFixture.id, shard: StoreFixture.shard)
            try body(log)
        case .lmdb:
            try StoreFixture.withScratch { scratch in
                let ledger = try Ledger.create(scratch + "/ledger", try StoreFixture.manifest())
                try StoreFixture.writing(ledger) { try body($0.log) }
            }
        }
    }

    private func visited(_ log: any LogStore, from offset: UInt64) throws -> [UInt64] {
        var firsts: [UInt64] = []
        try log.forEachCommit(from: Offset(offset)) { commit in
            firsts.append(commit.firstOffset.rawValue)
            return true
        }
        return firsts
    }

    @Test("is empty at first", arguments: Kind.allCases)
    func empty(_ kind: Kind) throws {
        try withLog(kind) { log in
            let end = try log.end()
            let seed = Hashing.seed(ledger: StoreFixture.id, shard: StoreFixture.shard)
            #expect(end == LogPosition(offset: .none, head: seed, timestamp: .none))
            #expect(log.name == "a")
            for offset: UInt64 in [0, 1, 2, .max] {
                #expect(try visited(log, from: offset) == [])
                #expect(try log.record(at: Offset(offset)) == nil)
            }
        }
    }

    @Test("moves its end with each commit, and chains the heads", arguments: Kind.allCases)
    func append(_ kind: Kind) throws {
        try withLog(kind) { log in
            var builder = CommitBuilder()
            var end = try log.end()
            for count in 1...3 {
                let payloads = [[UInt8]](repeating: [7], count: count)
                StoreFixture.seal(&builder, behind: end, payloads)
                let returned = try log.append(builder, expecting: end.head)
                let expected = LogPosition(
                    offset: builder.lastOffset, head: Hashing.digest(builder.bytes),
                    timestamp: builder.timestamp)
                #expect(returned == expected)
                #expect(try log.end() == expected)
                end = returned
            }
            var previous = Hashing.seed(ledger: StoreFixture.id, shard: StoreFixture.shard)
            try log.forEachCommit(from: Offset(1)) { commit in
                #expect(commit.previousHead == previous)
                previous = commit.head
                return true
            }
            #expect(previous == end.head)
        }
    }

    @Test("is read from any offset, inside a commit too", arguments: Kind.allCases)
    func reading(_ kind: Kind) throws {
        try withLog(kind) { log in
            try StoreFixture.appendSample(to: log)
            let starts: [UInt64] = [1, 2, 4, 7, 11]
            for offset: UInt64 in 0...15 {
                let holds = starts.lastIndex { $0 <= max(1, offset) } ?? 0
                #expect(try visited(log, from: offset) == Array(starts[holds...]), "\(offset)")
            }
            for offset: UInt64 in [16, 17, 1000, .max] {
                #expect(try visited(log, from: offset) == [], "\(offset)")
            }
        }
    }

    @Test(
        "stops reading when told to, and hands on what a closure throws", arguments: Kind.allCases)
    func stopping(_ kind: Kind) throws {
        struct Odd: Error {}
        try withLog(kind) { log in
            try StoreFixture.appendSample(to: log)
            var seen = 0
            try log.forEachCommit(from: Offset(1)) { _ in
                seen += 1
                return seen < 2
            }
            #expect(seen == 2)
            #expect(throws: Odd.self) {
                try log.forEachCommit(from: Offset(5)) { _ in throw Odd() }
            }
            // A log that was left in the middle goes on as before.
            #expect(try StoreFixture.append([[1]], to: log).offset == Offset(16))
        }
    }

    @Test("gives each event at its offset", arguments: Kind.allCases)
    func records(_ kind: Kind) throws {
        try withLog(kind) { log in
            try StoreFixture.appendSample(to: log)
            for offset: UInt64 in 1...15 {
                let record = try #require(try log.record(at: Offset(offset)))
                #expect(record.event == Event(.noted))
                #expect(record.payload.first == UInt8(offset))
                #expect(record.timestamp == Timestamp(UInt64(record.payload[1]) * 10))
            }
            for offset: UInt64 in [0, 16, .max] {
                #expect(try log.record(at: Offset(offset)) == nil)
            }
        }
    }

    @Test("refuses a commit made on another end, and is as it was", arguments: Kind.allCases)
    func moved(_ kind: Kind) throws {
        try withLog(kind) { log in
            var stale = CommitBuilder()
            let start = try log.end()
            StoreFixture.seal(&stale, behind: start, [[1]])
            try StoreFixture.appendSample(to: log)
            let end = try log.end()
            var overlapping = CommitBuilder()
            overlapping.open(firstOffset: Offset(15), timestamp: Timestamp(900), epoch: Epoch(1))
            overlapping.append(Event(.noted))
            overlapping.seal(previousHead: end.head)
            var gapped = CommitBuilder()
            gapped.open(firstOffset: Offset(17), timestamp: Timestamp(900), epoch: Epoch(1))
            gapped.append(Event(.noted))
            gapped.seal(previousHead: end.head)
            var next = CommitBuilder()
            StoreFixture.seal(&next, behind: end, [[1]])
            func refused(_ commit: borrowing CommitBuilder, _ head: Digest) -> StoreError? {
                do {
                    _ = try log.append(commit, expecting: head)
                    return nil
                } catch { return error as? StoreError }
            }
            #expect(refused(stale, start.head)?.code == .moved)
            #expect(refused(stale, end.head)?.code == .moved)
            #expect(refused(overlapping, end.head)?.code == .moved)
            #expect(refused(gapped, end.head)?.code == .moved)
            #expect(refused(next, start.head)?.code == .moved)
            #expect(refused(next, .none)?.code == .moved)
            #expect(refused(gapped, end.head)?.text.contains("the log of a") == true)
            #expect(try log.end() == end)
            #expect(try visited(log, from: 1) == [1, 2, 4, 7, 11])
        }
    }

    @Test("keeps payloads of 0 bytes and of 16 MiB", arguments: Kind.allCases)
    func payloads(_ kind: Kind) throws {
        try withLog(kind) { log in
            var event = Event(.commanded)
            event.sequence = SequenceNumber(1)
            let large = [UInt8](repeating: 0xA5, count: CommitFormat.payloadLengthMax)
            let end = try log.end()
            var builder = CommitBuilder()
            builder.open(firstOffset: Offset(1), timestamp: Timestamp(1), epoch: Epoch(1))
            builder.append(event, payload: [], result: [])
            builder.append(event, payload: large, result: large)
            builder.append(event, payload: [], result: [9])
            builder.seal(previousHead: end.head)
            _ = try log.append(builder, expecting: end.head)
            try log.flush()
            let records = try (1...3).map { try #require(try log.record(at: Offset($0))) }
            #expect(records[0].payload.isEmpty && records[0].result.isEmpty)
            #expect(records[1].payload == large && records[1].result == large)
            #expect(records[2].payload.isEmpty && records[2].result == [9])
        }
    }

    @Test("on LMDB is the same after reopening, for a writer and for a reader")
    func reopening() throws {
        try StoreFixture.withScratch { scratch in
            let ledger = try StoreFixture.ledger(scratch + "/ledger")
            var end = LogPosition(offset: .none, head: .none, timestamp: .none)
            let reader = try ledger.openForReading(StoreFixture.shard, depth: .whole)
            end = try reader.end()
            #expect(end.offset == Offset(15))
            #expect(try visited(reader, from: 3) == [2, 4, 7, 11])
            try reader.close()
            try StoreFixture.writing(ledger) { shard throws in
                #expect(shard.end == end)
                #expect(try shard.log.end() == end)
                #expect(try StoreFixture.append([[1]], to: shard.log).offset == Offset(16))
            }
            let again = try ledger.openForReading(StoreFixture.shard)
            #expect(try again.record(at: Offset(16))?.payload == [1])
        }
    }

    @Test("on LMDB begins where it is told to, and nowhere else")
    func window() throws {
        try StoreFixture.withScratch { scratch in
            let ledger = try Ledger.create(scratch + "/ledger", try StoreFixture.manifest())
            let log = try LMDBLog(
                directory: ledger.path(of: StoreFixture.shard), name: "a", ledger: StoreFixture.id,
                shard: StoreFixture.shard, access: .write(.process), first: Offset(101))
            let end = try log.end()
            #expect(throws: StoreError(.moved, "")) { try StoreFixture.append([[1]], to: log) }
            for offset: UInt64 in [101, 102] {
                var builder = CommitBuilder()
                let end = try log.end()
                builder.open(
                    firstOffset: Offset(offset), timestamp: Timestamp(offset), epoch: Epoch(0))
                builder.append(Event(.noted), payload: [UInt8(offset)])
                builder.seal(previousHead: end.head)
                _ = try log.append(builder, expecting: end.head)
            }
            #expect(end.offset == .none)
            #expect(try log.record(at: Offset(100)) == nil)
            #expect(try log.record(at: Offset(101))?.payload == [101])
            #expect(try visited(log, from: 1) == [101, 102])
        }
    }
}
