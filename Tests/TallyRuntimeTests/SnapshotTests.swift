import Foundation
import TallyAudit
import TallyCore
import TallyRuntime
import TallyStore
import Testing

@Suite("Snapshots of a running shard", .timeLimit(.minutes(10)))
struct SnapshotTests {
    private static var options: RuntimeOptions {
        var options = Lab.options
        options.snapshotEvery = 40
        options.snapshotAtCloseMin = 10
        return options
    }

    private func digest(_ live: LiveLedger<Relay>, _ shard: ShardID) async throws -> [UInt8] {
        try await live.read(shard) { Relay.encode($0.application) }
    }

    /// Runs until there is a snapshot, and goes on behind it.
    private func run(_ ledger: Ledger, _ options: RuntimeOptions) async throws -> [UInt8] {
        var state: [UInt8] = []
        try await Lab.running(ledger, InProcessTransport(), options) { live in
            for number in 0..<30 {
                try await live.perform(.note([UInt8(number)]), on: Lab.a)
                try await live.exchange()
            }
            _ = try await live.send(.later, from: Lab.b, to: Lab.a)
            if options.snapshotEvery < 1000 {
                try await Lab.eventually("there is a snapshot") {
                    !Snapshot.offsets(in: ledger, of: Lab.a).isEmpty
                }
            }
            try await live.perform(.note([99]), on: Lab.a)
            state = try await digest(live, Lab.a)
        }
        return state
    }

    private func folded(_ ledger: Ledger, _ shard: ShardID) throws -> ShardState<Relay> {
        var state = ShardState<Relay>(context: ledger.context(shard), manifest: ledger.manifest)
        try state.fold(ledger.openForReading(shard))
        return state
    }

    @Test("are cut while it runs, at most two are kept, and they equal the fold")
    func cut() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path)
            _ = try await run(ledger, Self.options)
            try await Lab.eventually("the last snapshot is written") {
                let offsets = Snapshot.offsets(in: ledger, of: Lab.a)
                return try offsets.first == ledger.openForReading(Lab.a).end().offset
            }
            let offsets = Snapshot.offsets(in: ledger, of: Lab.a)
            #expect((1...2).contains(offsets.count))
            let log = try ledger.openForReading(Lab.a)
            for offset in offsets {
                let snapshot = try Snapshot.read(
                    Relay.self, in: ledger, of: Lab.a, at: offset, log: log)
                var fold = ShardState<Relay>(
                    context: ledger.context(Lab.a), manifest: ledger.manifest)
                try fold.fold(log, to: .offset(offset))
                #expect(snapshot.messagingDigest == fold.messagingDigest)
                #expect(snapshot.applicationDigest == fold.applicationDigest)
                #expect(snapshot.eventCount == fold.eventCount)
                #expect(snapshot.commitCount == fold.commitCount)
            }
            try Lab.expectClean(ledger)
        }
    }

    @Test("opening goes on from the newest good one")
    func used() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path)
            _ = try await run(ledger, Lab.options)
            // A snapshot that differs from the fold in the program's state: what opening shows
            // tells where it came from.
            let fold = try folded(ledger, Lab.a)
            var told = fold.application
            told.commands += 1_000_000
            var state = fold
            state.adopt(
                messaging: fold.messaging, application: told, position: fold.position,
                events: fold.eventCount, commits: fold.commitCount)
            try Snapshot.write(state, to: ledger)
            try await Lab.running(ledger) { live in
                #expect(try await live.read(Lab.a) { $0.application.commands } > 1_000_000)
                try await live.exchange()
            }
            // Without it the fold begins at the first event.
            for offset in Snapshot.offsets(in: ledger, of: Lab.a) {
                let digits = String(offset.rawValue)
                let name = String(repeating: "0", count: 20 - digits.count) + digits + ".snapshot"
                Files.remove(ledger.snapshotsPath(of: Lab.a) + "/" + name)
            }
            try await Lab.running(ledger) { live in
                let commands = try await live.read(Lab.a) { $0.application.commands }
                #expect(commands < 1_000_000)
            }
        }
    }

    @Test("a damaged one is reported and passed over, and the state is that of the whole fold")
    func damaged() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path)
            _ = try await run(ledger, Self.options)
            let directory = ledger.snapshotsPath(of: Lab.a)
            try await Lab.eventually("the last snapshot is written") {
                Snapshot.offsets(in: ledger, of: Lab.a).first
                    == Mark.read(ledger.markPath(of: Lab.a))?.position.offset
            }
            let names = Files.list(directory).filter { $0.hasSuffix(".snapshot") }
            for name in names {
                var bytes = try Lab.bytes(directory + "/" + name)
                bytes[bytes.count / 2] ^= 1
                try Lab.write(bytes, to: directory + "/" + name)
            }
            let whole = try Relay.encode(folded(ledger, Lab.a).application)
            let lines = Lines()
            var options = Self.options
            options.snapshotEvery = .max
            options.logger = lines.logger
            try await Lab.running(ledger, GateTransport { _ in .drop }, options) { live in
                let state = try await digest(live, Lab.a)
                #expect(state == whole)
            }
            #expect(!names.isEmpty)
            #expect(
                lines.all.filter { $0.contains("was not used") && $0.contains("checksum") }.count
                    == names.count)
        }
    }

    @Test("one that cannot be written is a warning with its place, and the shard runs on")
    func unwritable() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path)
            let folder = ledger.snapshotsPath(of: Lab.a)
            try Lab.write([1], to: folder)
            let lines = Lines()
            var options = Self.options
            options.snapshotAtCloseMin = .max
            options.logger = lines.logger
            try await Lab.running(ledger, InProcessTransport(), options) { live in
                for number in 0..<60 { try await live.perform(.note([UInt8(number)]), on: Lab.a) }
                try await Lab.eventually("the warning is there") { !lines.all.isEmpty }
                try await live.exchange()
            }
            let line = lines.all.first ?? ""
            #expect(line.contains("no snapshot was written: cannot make the directory \(folder)"))
            try Lab.expectClean(ledger)
        }
    }

    @Test("a short session is closed without one, a longer one with one")
    func atClose() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path)
            var options = Lab.options
            options.snapshotAtCloseMin = 30
            try await Lab.running(ledger, InProcessTransport(), options) { live in
                try await live.exchange()
            }
            #expect(Snapshot.offsets(in: ledger, of: Lab.a).isEmpty)
            try await Lab.running(ledger, InProcessTransport(), options) { live in
                for _ in 0..<20 { try await live.perform(.note([1]), on: Lab.a) }
            }
            let end = try ledger.openForReading(Lab.a).end().offset
            #expect(Snapshot.offsets(in: ledger, of: Lab.a) == [end])
            #expect(Snapshot.offsets(in: ledger, of: Lab.b).isEmpty)
        }
    }
}
