import TallyCore
import TallyRuntime
import TallyStore
import Testing

@Suite("Group commit and writer threads", .timeLimit(.minutes(10)))
struct GroupCommitTests {
    @Test("a thousand commands at once share commits, and every one gets its own result")
    func sharedCommits() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path)
            var options = Lab.options
            options.durability = .power
            try await Lab.running(ledger, InProcessTransport(), options) { live in
                let results = try await withThrowingTaskGroup(of: (UInt16, Performed).self) {
                    group in
                    for number in 0..<1000 as Range<UInt16> {
                        group.addTask {
                            var writer = ByteWriter()
                            writer.write(number)
                            let bytes = writer.bytes
                            return (number, try await live.perform(.note(bytes), on: Lab.a))
                        }
                    }
                    return try await group.reduce(into: [(UInt16, Performed)]()) { $0.append($1) }
                }
                #expect(Set(results.map(\.1.offset)).count == 1000)
                for (number, performed) in results {
                    #expect(performed.result == [UInt8(number & 255), UInt8(number >> 8)])
                }
                #expect(try await live.read(Lab.a) { $0.application.notes } == 1000)
            }
            var commits = 0
            var largest = 0
            try ledger.openForReading(Lab.a).forEachCommit(from: Offset(1)) { commit in
                commits += 1
                largest = max(largest, commit.eventCount)
                return true
            }
            #expect(try Lab.records(ledger, Lab.a, .commanded).count == 1000)
            #expect(commits < 500 && largest > 2)
            try Lab.expectClean(ledger)
        }
    }

    @Test("twenty-four shards share two threads and all speak with each other")
    func fewThreads() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path, (0..<24).map { "s-\($0)" })
            var options = Lab.options
            options.threadsMax = 2
            try await Lab.running(ledger, InProcessTransport(), options) { live in
                var threads: Set<[UInt8]> = []
                for shard in ledger.shards.all {
                    threads.insert(try await live.perform(.thread, on: shard).result)
                }
                #expect(threads.count == 2)
                try await withThrowingTaskGroup(of: Void.self) { group in
                    for shard in ledger.shards.all {
                        for step in [1, 7] as [UInt32] {
                            let to = ShardID((shard.rawValue - 1 + step) % 24 + 1)
                            group.addTask {
                                let settled = try await live.exchange(from: shard, to: to)
                                #expect(settled.result == .accepted)
                            }
                        }
                    }
                    try await group.waitForAll()
                }
                try await Lab.settled(live)
                for shard in ledger.shards.all {
                    #expect(try await live.read(shard) { $0.application.applied } == 2)
                }
            }
            try Lab.expectClean(ledger)
        }
    }

    @Test("a ledger opened without shards closes")
    func noShards() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path)
            let live = try LiveLedger(
                ledger, program: Relay.self, shards: [], options: Lab.options)
            let refusal = await Lab.refusal { try await live.perform(.note([]), on: Lab.a) }
            #expect(refusal?.code == .unknownShard)
            await live.close()
        }
    }
}
