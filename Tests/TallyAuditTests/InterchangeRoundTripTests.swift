import Foundation
import TallyAudit
import TallyCore
import TallyStore
import Testing

@Suite("the interchange form loses nothing")
struct InterchangeRoundTripTests {
    static let repository = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent().path
    static let recorded = repository + "/../shared/data/ton/messages.jsonl"
    static let golden = repository + "/fixtures/interchange/all-kinds.jsonl"

    @Test("a native ledger with every kind comes back byte for byte")
    func native() throws {
        let scratch = try InterchangeFixture.scratch()
        defer { InterchangeFixture.remove(scratch) }
        let original = try InterchangeFixture.allKinds(scratch + "/original")
        let text = try InterchangeFixture.export(original)
        let report = try InterchangeFixture.importing(text, in: scratch)

        #expect(try InterchangeFixture.export(report.ledger) == text)
        for shard in original.shards.all {
            let commits = try InterchangeFixture.commits(original, shard)
            #expect(try InterchangeFixture.commits(report.ledger, shard) == commits)
            let log = try original.openForReading(shard)
            #expect(try log.end() == report.shards[Int(shard.rawValue) - 1].end)
        }
        #expect(report.events == 12 + 1 + 13 + 2 + 12 + 300)
        #expect(report.commits == 6)
        #expect(report.lines == Int(report.events) + 1)

        var manifest = original.manifest
        manifest.isSealed = true
        #expect(try Ledger(scratch + "/copy").manifest == manifest)
        let error = #expect(throws: StoreError.self) {
            try report.ledger.openForWriting(ShardID(1), durability: .process)
        }
        #expect(error?.code == .sealed)
    }

    @Test("the lines of every kind are those of the golden file")
    func goldenLines() throws {
        let scratch = try InterchangeFixture.scratch()
        defer { InterchangeFixture.remove(scratch) }
        let commit = InterchangeFixture.Commit(
            time: 1_795_435_200_123_456_789, epoch: 3,
            records: EventKind.allCases.map { InterchangeFixture.record($0) })
        let ledger = try InterchangeFixture.ledger(
            scratch + "/ledger", InterchangeFixture.manifest(["trades-0", "collateral-0"]),
            [[commit], []])
        let text = try InterchangeFixture.export(ledger)
        if ProcessInfo.processInfo.environment["TALLY_RECORD"] != nil {
            try InterchangeFixture.write(text, to: Self.golden)
        }
        let golden = try Data(contentsOf: URL(fileURLWithPath: Self.golden))
        #expect(InterchangeFixture.lines(text) == InterchangeFixture.lines(Array(golden)))
        #expect(text == Array(golden))
    }

    @Test("one event's line is the line of the export")
    func oneLine() throws {
        let scratch = try InterchangeFixture.scratch()
        defer { InterchangeFixture.remove(scratch) }
        let ledger = try InterchangeFixture.allKinds(scratch + "/original")
        let lines = InterchangeFixture.lines(try InterchangeFixture.export(ledger)).dropFirst()
        var single: [UInt8] = []
        for shard in ledger.shards.all {
            var line = InterchangeLine(shard: shard, directory: ledger.shards)
            try ledger.openForReading(shard).forEachCommit(from: Offset(1)) { commit in
                commit.forEach { line.write($0, of: commit, into: &single) }
                return true
            }
        }
        #expect(InterchangeFixture.lines(single) == Array(lines))
    }

    @Test("an export of open logs leaves them open")
    func openLogs() throws {
        let scratch = try InterchangeFixture.scratch()
        defer { InterchangeFixture.remove(scratch) }
        let ledger = try InterchangeFixture.allKinds(scratch + "/original")
        var logs: [ShardID: LMDBLog] = [:]
        for shard in ledger.shards.all { logs[shard] = try ledger.openForReading(shard) }
        let export = LedgerExport(ledger.manifest) { shard in try #require(logs[shard]) }
        for _ in 0..<2 {
            var text: [UInt8] = []
            try export.write { text += $0 }
            #expect(try InterchangeFixture.export(ledger) == text)
        }
        #expect(try logs[ShardID(1)]?.end().offset == Offset(28))
    }

    @Test("an export ends each shard where it is told to")
    func positions() throws {
        let scratch = try InterchangeFixture.scratch()
        defer { InterchangeFixture.remove(scratch) }
        let ledger = try InterchangeFixture.allKinds(scratch + "/original")
        let whole = InterchangeFixture.lines(try InterchangeFixture.export(ledger))
        var export = LedgerExport(ledger)
        export.positions = [ShardID(1): Offset(14), ShardID(2): Offset(0)]
        var text: [UInt8] = []
        let events = try export.write { text += $0 }
        // The commit that ends at 13 is in; the one through 26 goes further than 14.
        #expect(events == 13)
        #expect(InterchangeFixture.lines(text) == Array(whole[..<14]))
    }

    @Test("the text comes in chunks of whole lines, and a large ledger is never whole in memory")
    func chunks() throws {
        let scratch = try InterchangeFixture.scratch()
        defer { InterchangeFixture.remove(scratch) }
        let commits = (1...200).map { number in
            InterchangeFixture.Commit(
                time: UInt64(number), epoch: 1,
                records: [
                    InterchangeFixture.Record(
                        event: Event(.noted), payload: InterchangeFixture.counting(9000))
                ])
        }
        let ledger = try InterchangeFixture.ledger(
            scratch + "/ledger", InterchangeFixture.manifest(["a", "b"]), [commits, commits])
        var chunks: [[UInt8]] = []
        var text: [UInt8] = []
        try LedgerExport(ledger).write {
            chunks.append($0)
            text += $0
        }
        #expect(chunks.count > 10)
        #expect(chunks.allSatisfy { $0.last == UInt8(ascii: "\n") })
        #expect(chunks.dropLast().allSatisfy { $0.count >= 65_536 && $0.count < 1 << 20 })
        let report = try InterchangeFixture.importing(text, in: scratch)
        #expect(try InterchangeFixture.export(report.ledger) == text)
    }

    @Test("a payload and a result of 16 MiB make one line that comes back")
    func largest() throws {
        let scratch = try InterchangeFixture.scratch()
        defer { InterchangeFixture.remove(scratch) }
        var record = InterchangeFixture.record(.commanded)
        record.payload = [UInt8](repeating: 0xFF, count: 16 << 20)
        record.result = [UInt8](repeating: 0x5A, count: 16 << 20)
        let ledger = try InterchangeFixture.ledger(
            scratch + "/ledger", InterchangeFixture.manifest(["a", "b"]),
            [[InterchangeFixture.Commit(time: 1, epoch: 1, records: [record])], []])
        let text = try InterchangeFixture.export(ledger)
        let report = try InterchangeFixture.importing(text, in: scratch)
        let log = try report.ledger.openForReading(ShardID(1))
        let read = try #require(try log.record(at: Offset(1)))
        #expect(read.payload.count == 16 << 20 && read.payload == record.payload)
        #expect(read.result == record.result)
    }

    @Test(
        "recorded data comes back as it was, and as itself",
        .enabled(
            if: FileManager.default.fileExists(atPath: recorded),
            "the recorded messages are not beside the repository"))
    func foreign() throws {
        let scratch = try InterchangeFixture.scratch()
        defer { InterchangeFixture.remove(scratch) }
        let report = try Import.run(Self.recorded, to: scratch + "/ton")
        #expect(report.events == 1870)
        #expect(report.commits == 1870)
        #expect(report.shards.count == 17)
        let manifest = report.ledger.manifest
        #expect(manifest.isSealed && !manifest.isNative)
        #expect(!manifest.hasAnswers && !manifest.isOrdered)
        let header = try Data(contentsOf: URL(fileURLWithPath: Self.recorded))
            .prefix { $0 != UInt8(ascii: "\n") }
        let digest = Hashing.digest(Array(header))
        #expect(manifest.id == Bytes16(low: digest.words.0, high: digest.words.1))

        let text = try InterchangeFixture.export(report.ledger)
        let again = try InterchangeFixture.importing(text, in: scratch)
        #expect(try InterchangeFixture.export(again.ledger) == text)
        #expect(again.ledger.manifest == manifest)

        // Less what the import has added, the lines are those of the file.
        let recorded = InterchangeFixture.lines(
            Array(try Data(contentsOf: URL(fileURLWithPath: Self.recorded))))
        let lines = InterchangeFixture.lines(text).dropFirst().map { line in
            line.replacing(/,"commit":[0-9]+/, with: "")
                .replacing(/,"head":"[0-9a-f]{64}"/, with: "")
        }
        #expect(lines == Array(recorded.dropFirst()))
    }
}
