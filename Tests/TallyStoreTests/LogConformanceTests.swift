import TallyCore
import TallyStore
import TallystickTesting
import Testing

/// What every log promises, asked of ours; what only LMDB's promises stands behind it.
@Suite("a log")
struct LogConformanceTests {
    @Test("in memory keeps what every log promises")
    func memory() throws {
        try LogStoreConformance.check(
            make: { MemoryLog(name: $0, ledger: $1, shard: $2) }, reopen: { $0 })
    }

    @Test("on LMDB keeps what every log promises, reopened too")
    func lmdb() throws {
        try StoreFixture.withScratch { scratch in
            var ledgers = 0
            // Each holds its writer's lock.
            var shards: [WritableShard] = []
            func open() throws -> any LogStore {
                let ledger = try Ledger(scratch + "/ledger-\(ledgers)")
                shards.removeAll()
                shards.append(try ledger.openForWriting(StoreFixture.shard, durability: .process))
                return shards[0].log
            }
            try LogStoreConformance.check(
                make: { name, id, _ in
                    ledgers += 1
                    let directory = try #require(ShardDirectory([name, "b"]))
                    _ = try Ledger.create(
                        scratch + "/ledger-\(ledgers)",
                        Manifest(name: "test", id: id, program: "counting", shards: directory))
                    return try open()
                },
                reopen: { _ in try open() })
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
