import Foundation
import TallyAudit
import TallyCore
import TallyStore
import Testing

@Suite("what an import accepts")
struct InterchangeImportTests {
    private func imported(_ lines: [String], _ check: (ImportReport) throws -> Void) throws {
        let scratch = try InterchangeFixture.scratch()
        defer { InterchangeFixture.remove(scratch) }
        let text = lines.joined(separator: "\n") + "\n"
        try check(try InterchangeFixture.importing(text, in: scratch))
    }

    private let header = #"{"format":"tally-events","version":1,"ledger":"x","shards":["a","b"]}"#

    private func noted(_ shard: String, _ second: Int, _ rest: String = "") -> String {
        #"{"shard":"\#(shard)","time":"2026-01-01T00:00:0\#(second)Z","kind":"noted"\#(rest)}"#
    }

    @Test("without offsets and commits there is one commit per shard and time")
    func grouping() throws {
        try imported([
            header, noted("a", 1), noted("b", 1), noted("a", 1), noted("b", 2), noted("a", 2),
        ]) { report in
            #expect(report.shards.map(\.events) == [3, 2])
            #expect(report.shards.map(\.commits) == [2, 2])
            let log = try report.ledger.openForReading(ShardID(1))
            #expect(try log.record(at: Offset(2))?.timestamp == Timestamp("2026-01-01T00:00:01Z"))
            #expect(try log.record(at: Offset(3))?.timestamp == Timestamp("2026-01-01T00:00:02Z"))
        }
    }

    @Test("what a header leaves out has its default")
    func defaults() throws {
        try imported([header]) { report in
            let manifest = report.ledger.manifest
            #expect(manifest.isOrdered && manifest.hasAnswers && manifest.unordered.isEmpty)
            #expect(manifest.program.isEmpty && manifest.isSealed && !manifest.isNative)
            #expect(manifest.windows.isEmpty && manifest.name == "x")
            #expect(report.events == 0 && report.lines == 1)
        }
    }

    @Test("keys in any order, spaces, escapes, a carriage return and a missing last newline")
    func looseText() throws {
        let scratch = try InterchangeFixture.scratch()
        defer { InterchangeFixture.remove(scratch) }
        let text =
            header + "\r\n" + #" { "payload" : "\/+\u0041=" , "kind":"no\u0074ed", "#
            + #""t\u0069me":"2026-01-01T02:00:00.5+02:00","epoch":0,"shard":"\u0061","offset":1}"#
        let report = try InterchangeFixture.importing(text, in: scratch)
        let log = try report.ledger.openForReading(ShardID(1))
        let record = try #require(try log.record(at: Offset(1)))
        #expect(record.payload == [0xFF, 0xE0])
        #expect(record.timestamp == Timestamp("2026-01-01T00:00:00.5Z"))
    }

    @Test("numbers are exact through 2^64 - 1")
    func exactNumbers() throws {
        let line =
            #"{"shard":"a","time":"2026-01-01T00:00:00Z","kind":"sent","peer":"b","#
            + #""sequence":18446744073709551615,"cause":9007199254740993}"#
        try imported([header, line]) { report in
            let log = try report.ledger.openForReading(ShardID(1))
            let event = try #require(try log.record(at: Offset(1))).event
            #expect(event.sequence == SequenceNumber(.max))
            #expect(event.cause == Offset(9_007_199_254_740_993))
        }
    }

    @Test("a ledger's name may be any text")
    func names() throws {
        let odd =
            #"{"format":"tally-events","version":1,"#
            + #""ledger":"\ud83d\ude00 \uD840\udc00\u0000\t","shards":["a"]}"#
        try imported([odd]) { report in
            #expect(report.ledger.manifest.name == "\u{1F600} \u{20000}\u{0}\t")
            let read = try Ledger(report.ledger.directory)
            #expect(read.manifest == report.ledger.manifest)
        }
    }

    @Test("a window's log begins at its lower end, and can be folded and read", arguments: [0, 1])
    func windows(_ withOffsets: Int) throws {
        let windowed =
            #"{"format":"tally-events","version":1,"ledger":"x","ordered":false,"#
            + #""windows":{"a":[101,110],"b":[1,2]},"shards":["a","b"]}"#
        func offset(_ number: Int) -> String { withOffsets == 1 ? #","offset":\#(number)"# : "" }
        try imported([
            windowed, noted("a", 1, offset(101)), noted("a", 1, offset(102)),
            noted("b", 1, offset(1)),
            noted("a", 2, offset(103)),
        ]) { report in
            #expect(report.ledger.manifest.windows == [ShardID(1): 101...110, ShardID(2): 1...2])
            #expect(report.shards.map(\.end.offset) == [Offset(103), Offset(1)])
            let log = try report.ledger.openForReading(ShardID(1))
            #expect(try log.record(at: Offset(100)) == nil)
            #expect(try log.record(at: Offset(102)) != nil)
            var state = ShardState<Opaque>(
                context: report.ledger.context(ShardID(1)), manifest: report.ledger.manifest)
            try state.fold(log, checksChain: true)
            #expect(state.eventCount == 3 && state.position == report.shards[0].end)

            let text = try InterchangeFixture.export(report.ledger)
            let scratch = try InterchangeFixture.scratch()
            defer { InterchangeFixture.remove(scratch) }
            let again = try InterchangeFixture.importing(text, in: scratch)
            #expect(try InterchangeFixture.export(again.ledger) == text)
        }
    }

    @Test("a window that does not begin at 1 is verified, joined and cut by time like any log")
    func auditedWindow() throws {
        let windowed =
            #"{"format":"tally-events","version":1,"ledger":"x","ordered":false,"#
            + #""windows":{"a":[101,110]},"shards":["a","b"]}"#
        func half(_ shard: String, _ second: Int, _ rest: String) -> String {
            #"{"shard":"\#(shard)","time":"2026-01-01T00:00:0\#(second)Z",\#(rest)}"#
        }
        try imported([
            windowed, half("a", 1, #""kind":"sent","peer":"b","sequence":7"#), noted("a", 3),
            half("b", 2, #""kind":"received","peer":"a","sequence":7,"outcome":"applied""#),
            half("b", 4, #""kind":"received","peer":"a","sequence":6,"outcome":"applied""#),
        ]) { report in
            let audit = try AuditLedger(report.ledger.directory)
            let verified = try Verify.run(Opaque.self, audit)
            #expect(verified.findings.map(\.text) == [])
            #expect(verified.isClean && !verified.isPartial)
            #expect(verified.levels.map(\.items).prefix(3).dropFirst() == [4, 4])
            // The window hides one send: its channel is not balanced, and that is said.
            #expect(
                verified.notChecked.contains("books: a/b, because a window hides one of its halves")
            )
            for (time, offset) in [("0:01Z", 101), ("0:03Z", 102), ("0:00Z", 0)]
                as [(String, UInt64)]
            {
                let position = try Position("2026-01-01T00:0\(time)", audit.directory)
                #expect(try audit.cut(at: position).through(ShardID(1)) == Offset(offset))
            }
        }
    }

    @Test("more shards than logs that are open at once")
    func manyShards() throws {
        let names = (0..<230).map { "s\($0)" }
        let shards = names.map { "\"\($0)\"" }.joined(separator: ",")
        let header = #"{"format":"tally-events","version":1,"ledger":"x","shards":[\#(shards)]}"#
        let lines = (1...3).flatMap { second in names.map { noted($0, second) } }
        try imported([header] + lines) { report in
            #expect(report.shards.allSatisfy { $0.events == 3 && $0.commits == 3 })
        }
    }
}
