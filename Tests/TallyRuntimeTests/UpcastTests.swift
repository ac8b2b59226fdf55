import Foundation
import TallyAudit
import TallyCore
import TallyRuntime
import TallyStore
import Testing

/// A log that an older version of a program wrote is read for ever: the fixture was written once and is
/// never recorded anew.
@Suite("Payloads of an older version", .timeLimit(.minutes(2)))
struct UpcastTests {
    private static let shop = ShardID(1)
    private static let store = ShardID(2)

    private static var fixture: String {
        URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().appendingPathComponent("fixtures/versions/stock-1.jsonl")
            .path
    }

    /// How the fixture was made: 5 trades settled, one of them refused, then 3 sent into nothing.
    private static func write(_ path: String) async throws {
        let ledger = try Ledger.open(path, for: StockOne.self, shards: ["shop", "store"])
        var live = try LiveLedger(ledger, program: StockOne.self, options: Lab.options)
        for pieces in [5, 10, 99, 20, 50] {
            let performed = try await live.perform(Array("sell \(pieces)".utf8), on: shop)
            _ = try await live.outcome(of: performed.messages[0])
        }
        await live.close()
        live = try LiveLedger(
            ledger, program: StockOne.self,
            transport: GateTransport { $0.isDelivery ? .drop : .deliver }, options: Lab.patient)
        for pieces in [1, 70, 3] {
            _ = try await live.perform(Array("sell \(pieces)".utf8), on: shop)
        }
        await live.close()
    }

    /// The fixture as a ledger of its own that may be written.
    private static func ledger(_ path: String) async throws -> Ledger {
        if !Files.exists(fixture) {
            try await write(path + "/first")
            var bytes: [UInt8] = []
            let audit = try AuditLedger(Ledger(path + "/first"))
            let export = LedgerExport(audit.manifest) { shard in
                guard let log = audit[shard].log else { throw StoreError(.missingShard, "no log") }
                return log
            }
            try export.write { bytes += $0 }
            try Lab.write(bytes, to: fixture)
        }
        _ = try Import.run(fixture, to: path + "/ledger")
        var manifest = try Ledger(path + "/ledger").manifest
        manifest.isSealed = false
        try Files.replace(path + "/ledger/" + Manifest.fileName, with: manifest.encoded())
        return try Ledger(path + "/ledger")
    }

    @Test("are folded in today's form, and decided again to the same")
    func replayed() async throws {
        try await Lab.withScratch { path in
            let audit = AuditLedger(try await Self.ledger(path))
            let one = try Replay.run(StockOne.self, audit)
            #expect(one.states[0]?.application == StockOne.State(pieces: 85, refused: 1))
            let two = try Replay.run(StockTwo.self, audit)
            for state in two.states {
                #expect(state?.application == StockTwo.State(grams: 8500, refused: 1, unread: 0))
            }
            // The log is what it was.
            #expect(one.shards.map(\.head) == two.shards.map(\.head))
            for checked in try ReplayCheck.run(StockTwo.self, audit) {
                #expect(checked.divergence == nil)
                #expect(checked.stimuli > 0)
                #expect(
                    checked.notes.contains { $0.contains("fold version 1, this program has 2") })
            }
        }
    }

    @Test("that are pending are decided by the new version, and its answers settle them")
    func settled() async throws {
        try await Lab.withScratch { path in
            let ledger = try await Self.ledger(path)
            let lines = Lines()
            var options = Lab.options
            options.logger = lines.logger
            let live = try LiveLedger(ledger, program: StockTwo.self, options: options)
            let pending = try await live.pending(of: Self.shop)
            #expect(pending.map(\.sequence.rawValue) == [6, 7, 8])
            var results: [MessageResult] = []
            for message in pending { results.append(try await live.outcome(of: message).result) }
            #expect(results == [.accepted, .rejected, .accepted])
            let performed = try await live.perform(StockTwo.payload(grams: 250), on: Self.shop)
            _ = try await live.outcome(of: performed.messages[0])
            let state = try await live.read(Self.store) { $0.application }
            #expect(state == StockTwo.State(grams: 8500 + 100 + 300 + 250, refused: 2, unread: 0))
            await live.close()
            try Lab.expectClean(ledger, StockTwo.self)
            // The receipts hold the bytes that the first version sent.
            let received = try Lab.records(ledger, Self.store, .received).map(\.payload)
            #expect(received.suffix(4).first == Array("sell 1".utf8))
            #expect(received.last == StockTwo.payload(grams: 250))
        }
    }

    @Test("make a snapshot of the old version useless, and that is said")
    func oldSnapshot() async throws {
        try await Lab.withScratch { path in
            let ledger = try await Self.ledger(path)
            let replayed = try Replay.run(StockOne.self, AuditLedger(ledger))
            try Snapshot.write(try #require(replayed.states[1]), to: ledger)
            let lines = Lines()
            var options = Lab.options
            options.logger = lines.logger
            let live = try LiveLedger(ledger, program: StockTwo.self, options: options)
            let state = try await live.read(Self.store) { $0.application.refused }
            await live.close()
            #expect(state >= 1)
            #expect(lines.all.contains { $0.contains("it is of another fold version") })
        }
    }
}
