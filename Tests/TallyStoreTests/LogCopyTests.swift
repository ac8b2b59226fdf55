import TallyCore
import Testing

@testable import TallyStore

@Suite("a log's copy")
struct LogCopyTests {
    /// A log whose reader fails once, in the middle of a part, as one does that a writer disturbs.
    private final class Disturbed: LogReading {
        let log: LMDBLog
        var failsAt: Int?

        init(_ log: LMDBLog, failsAt: Int) { (self.log, self.failsAt) = (log, failsAt) }

        var name: String { log.name }
        func end() throws -> LogPosition { try log.end() }
        func forEachCommit(from offset: Offset, _ body: (CommitView) throws -> Bool) throws {
            var seen = 0
            try log.forEachCommit(from: offset) { commit in
                if seen == failsAt {
                    failsAt = nil
                    throw StoreError(.damaged, "disturbed")
                }
                seen += 1
                return try body(commit)
            }
        }
    }

    @Test("goes on behind what it has written when reading fails in between")
    func resumes() throws {
        try StoreFixture.withScratch { scratch throws in
            let source = try StoreFixture.ledger(scratch + "/source")
            let log = try source.openForReading(StoreFixture.shard)
            let end = try log.end()
            let ledger = try Ledger.create(scratch + "/copy", source.manifest)
            let copy = try LogCopy(into: ledger, StoreFixture.shard)
            let disturbed = Disturbed(log, failsAt: 3)
            #expect(throws: StoreError(.damaged, "")) {
                try copy.append(from: disturbed, through: end.offset) { _ in }
            }
            #expect(copy.end.offset == .none)
            try copy.append(from: disturbed, through: end.offset) { _ in }
            #expect(copy.end == end)
            #expect(copy.events == end.offset.rawValue)
            #expect(copy.commits == 5)
            try copy.finish()
            let copied = try ledger.openForReading(StoreFixture.shard, depth: .whole)
            #expect(try copied.end() == end)
            var bytes: [[UInt8]] = []
            try log.forEachCommit(from: Offset(1)) { commit in
                bytes.append(commit.withBytes { (span: RawSpan) in span.copied })
                return true
            }
            try copied.forEachCommit(from: Offset(1)) { commit in
                let expected = bytes.removeFirst()
                #expect(commit.withBytes { (span: RawSpan) in span.copied } == expected)
                return true
            }
            #expect(bytes.isEmpty)
        }
    }

    @Test("names the place where the source ends early, or does not hang together")
    func refuses() throws {
        try StoreFixture.withScratch { scratch throws in
            let source = try StoreFixture.ledger(scratch + "/source")
            let log = try source.openForReading(StoreFixture.shard)
            let ledger = try Ledger.create(scratch + "/copy", source.manifest)
            let copy = try LogCopy(into: ledger, StoreFixture.shard)
            let early = #expect(throws: StoreError.self) {
                try copy.append(from: log, through: Offset(16)) { _ in }
            }
            #expect(early?.code == .damaged)
            #expect(early?.text.contains("ends at a@15") == true, "\(early?.text ?? "")")
            try copy.finish()
            // Another ledger's seed is another one's log.
            var manifest = source.manifest
            manifest = Manifest(
                name: "other", id: Bytes16(low: 1, high: 1), program: "", shards: manifest.shards)
            let other = try Ledger.create(scratch + "/other", manifest)
            let foreign = try LogCopy(into: other, StoreFixture.shard)
            let refused = #expect(throws: StoreError.self) {
                try foreign.append(from: log, through: Offset(15)) { _ in }
            }
            #expect(refused?.text.contains("a@1 does not follow") == true, "\(refused?.text ?? "")")
            try foreign.finish()
        }
    }
}
