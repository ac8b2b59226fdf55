import TallyCore
import TallyVenue
import Testing

@Suite("The venue's workload")
struct VenueWorkloadTests {
    private func commands(
        _ names: [String], seed: UInt64, trades: Int, deadline: UInt64? = 5
    ) throws -> [String] {
        let directory = try #require(ShardDirectory(names))
        var workload = VenueWorkload(
            directory: directory, seed: seed, trades: trades, deadline: deadline)
        var lines: [String] = []
        while let (shard, command) = workload.next() {
            lines.append("\(directory.name(of: shard)): \(command)")
        }
        #expect(workload.position == lines.count)
        let end = workload.next()
        #expect(end == nil)
        return lines
    }

    private let names = ["trades-0", "trades-1", "collateral-0", "collateral-1"]

    @Test("the same seed gives the same commands, another seed others")
    func deterministic() throws {
        let first = try commands(names, seed: 1, trades: 500)
        #expect(try commands(names, seed: 1, trades: 500) == first)
        #expect(try commands(names, seed: 2, trades: 500) != first)
        // Recorded: a run must be the same on every machine and in every version.
        #expect(first[0] == "collateral-1: deposit 56395 into account 1")
        var checksum: UInt64 = 0xCBF2_9CE4_8422_2325
        for byte in first.joined(separator: "\n").utf8 {
            checksum = (checksum ^ UInt64(byte)) &* 0x100_0000_01B3
        }
        #expect(checksum == 6_868_495_850_391_988_339)
    }

    @Test("a workload goes on where it stopped")
    func resumed() throws {
        let directory = try #require(ShardDirectory(names))
        var whole = VenueWorkload(directory: directory, seed: 4, trades: 200, deadline: 5)
        var resumed = whole
        resumed.advance(to: 100)
        #expect(resumed.position == 100)
        for _ in 0..<100 { _ = whole.next() }
        while let step = whole.next() {
            let other = resumed.next()
            #expect(other?.shard == step.shard && other?.command == step.command)
        }
        let end = resumed.next()
        #expect(end == nil)
    }

    @Test("it is the mix it promises")
    func mix() throws {
        let directory = try #require(ShardDirectory(names))
        var workload = VenueWorkload(directory: directory, seed: 9, trades: 2_000, deadline: 5)
        var trades: Set<UInt64> = []
        var (deposits, deferred, short, closes, transfers, settles) = (0, 0, 0, 0, 0, 0)
        var last: VenueCommand?
        while let (shard, command) = workload.next() {
            let isMoney = directory.name(of: shard).hasPrefix("collateral-")
            last = command
            switch command {
            case .deposit: deposits += 1
            case .transfer: transfers += 1
            case .settle: settles += 1
            case .trade(let tradeID, _, _, let deferAnswer, let deadline):
                #expect(trades.insert(tradeID).inserted)
                #expect(tradeID >> 32 == 9)
                deferred += deferAnswer ? 1 : 0
                short += deadline == nil ? 0 : 1
                #expect(!isMoney)
                continue
            case .close(let tradeID):
                #expect(trades.contains(tradeID))
                closes += 1
                #expect(!isMoney)
                continue
            }
            #expect(isMoney)
        }
        #expect(deposits == Int(VenueWorkload.accountCount))
        #expect(trades.count == 2_000)
        #expect((120...280).contains(deferred) && (50...150).contains(short))
        #expect((120...280).contains(transfers) && (1_200...2_000).contains(closes))
        #expect((20...100).contains(settles))
        #expect(last == .settle)
    }

    @Test("without a deadline, or shards for it, there is none")
    func corners() throws {
        let lines = try commands(names, seed: 1, trades: 300, deadline: nil)
        #expect(!lines.contains { $0.contains("deadline") })
        #expect(try commands(["trades-0"], seed: 1, trades: 5).isEmpty)
        #expect(try commands(["collateral-0"], seed: 1, trades: 5).isEmpty)
        #expect(try commands(names, seed: 1, trades: 0).count == 42)
        #expect(try commands(names, seed: 1, trades: -1).count == 42)
    }
}
