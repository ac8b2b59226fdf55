import TallyCore
import TallyStore
import Testing

@Suite("a full map")
struct FullMapTests {
    @Test("refuses the commit, loses nothing, reads on, and goes on in a larger map")
    func full() throws {
        try StoreFixture.withScratch { scratch in
            let ledger = try Ledger.create(scratch + "/ledger", try StoreFixture.manifest())
            let payload = [UInt8](repeating: 3, count: 50_000)
            var kept = 0
            do {
                let shard = try ledger.openForWriting(
                    StoreFixture.shard, durability: .process, mapSize: 1 << 20)
                var end = try shard.log.end()
                var refusal: StoreError?
                while refusal == nil, kept < 100 {
                    do {
                        end = try StoreFixture.append([payload, [UInt8(kept)]], to: shard.log)
                        kept += 1
                    } catch { refusal = error as? StoreError }
                }
                #expect(refusal?.code == .full)
                #expect(refusal?.text.contains("shard a") == true)
                #expect(kept > 5 && kept < 25)
                #expect(try shard.log.end() == end)
                #expect(end.offset == Offset(UInt64(kept) * 2))
                #expect(try shard.log.record(at: end.offset)?.payload == [UInt8(kept - 1)])
                // A second time as well, and what is small may still fit.
                #expect(throws: StoreError(.full, "")) {
                    try StoreFixture.append([payload], to: shard.log)
                }
                #expect(try shard.log.end() == end)
                try shard.log.close()
            }
            try StoreFixture.writing(ledger) { shard throws in
                #expect(shard.end.offset == Offset(UInt64(kept) * 2))
                try StoreFixture.append([payload], to: shard.log)
            }
            let log = try ledger.openForReading(StoreFixture.shard, depth: .whole)
            var state = ShardState<Counter>(
                context: ledger.context(StoreFixture.shard), manifest: ledger.manifest)
            try state.fold(log, checksChain: true)
            #expect(state.eventCount == UInt64(kept) * 2 + 1)
        }
    }
}
