import Foundation
import TallyAudit
import TallyCore
import TallyRuntime
import TallyStore
import TallyVenue
import TallystickTesting
import Testing

/// What the tests of the runtime share: real directories, real logs.
enum Lab {
    static let a = ShardID(1)
    static let b = ShardID(2)
    static let c = ShardID(3)
    static let client = Bytes16(low: 0xC11E, high: 0x17)

    /// A new empty directory, removed behind the closure.
    static func withScratch(_ body: (String) async throws -> Void) async throws {
        let path =
            FileManager.default.temporaryDirectory.path + "/tally-runtime-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
        defer { try? FileManager.default.removeItem(atPath: path) }
        try await body(path)
    }

    static func ledger(
        _ path: String, _ shards: [String] = ["a", "b"], program: String = Relay.name
    ) throws -> Ledger {
        try Ledger.create(
            path + "/ledger",
            Manifest(
                name: "test", id: Files.random16(), program: program,
                shards: try #require(ShardDirectory(shards))))
    }

    /// Quick retries, durable against a killed process only.
    static var options: RuntimeOptions {
        var options = RuntimeOptions()
        options.durability = .process
        options.machine.retryBase = 20_000_000
        options.machine.retryMax = 200_000_000
        options.machine.askBase = 20_000_000
        options.machine.askMax = 200_000_000
        return options
    }

    /// Nothing is sent again by itself for an hour.
    static var patient: RuntimeOptions {
        var options = Self.options
        options.machine.retryBase = 3_600_000_000_000
        options.machine.retryMax = 3_600_000_000_000
        return options
    }

    static func live(
        _ ledger: Ledger, _ transport: any Transport = InProcessTransport(),
        _ options: RuntimeOptions = Lab.options
    ) throws -> LiveLedger<Relay> {
        try LiveLedger(ledger, program: Relay.self, transport: transport, options: options)
    }

    /// Opens, runs the closure, closes. Who waits in vain is told so after four minutes (a busy machine is slow): closing
    /// refuses whatever is under way.
    static func running(
        _ ledger: Ledger, _ transport: any Transport = InProcessTransport(),
        _ options: RuntimeOptions = Lab.options,
        _ body: (LiveLedger<Relay>) async throws -> Void
    ) async throws {
        let live = try live(ledger, transport, options)
        let watchdog = Task {
            try await Task.sleep(nanoseconds: 240_000_000_000)
            Issue.record("the ledger was closed: something waited in vain")
            await live.close()
        }
        defer { watchdog.cancel() }
        do {
            try await body(live)
        } catch {
            await live.close()
            throw error
        }
        await live.close()
    }

    /// Waits until something is so; fails the test when it never is.
    static func eventually(
        _ what: String, seconds: Double = 15, _ condition: () async throws -> Bool,
        sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
        let end = ContinuousClock.now + .seconds(seconds)
        while ContinuousClock.now < end {
            if try await condition() { return }
            try await Task.sleep(nanoseconds: 4_000_000)
        }
        Issue.record("it never came about that \(what)", sourceLocation: sourceLocation)
        throw Refusal("waited in vain")
    }

    /// Waits until both ways of every pair of shards have been used: then all sessions are heard.
    static func settledSessions(_ live: LiveLedger<Relay>) async throws {
        let shards = live.ledger.shards.all
        try await eventually("all sessions are confirmed") {
            for shard in shards {
                let isDone = try await live.read(shard) { view in
                    shards.allSatisfy { peer in
                        guard peer != shard, let state = view.messaging.peer(peer) else {
                            return true
                        }
                        return state.witness.session != .none
                            && state.witness.recordedAt >= view.messaging.sessions.last?.first
                                ?? .none
                    }
                }
                if !isDone { return false }
            }
            return true
        }
    }

    static func settled<P: Program>(_ live: LiveLedger<P>) async throws {
        try await eventually("everything is settled") {
            for shard in live.ledger.shards.all {
                let open = try await live.read(shard) {
                    UInt64($0.messaging.pendingCount) + $0.messaging.owedCount
                }
                if open > 0 { return false }
            }
            return true
        }
    }

    // MARK: Reading at rest

    /// Every event of a log at rest; the one at offset n is at n - 1.
    static func records(_ ledger: Ledger, _ shard: ShardID) throws -> [LogRecord] {
        try ledger.openForReading(shard).records()
    }

    static func records(
        _ ledger: Ledger, _ shard: ShardID, _ kind: EventKind
    ) throws -> [LogRecord] {
        try records(ledger, shard).filter { $0.event.kind == kind }
    }

    /// Verifies a ledger at rest at every level.
    static func expectClean<P: Program>(
        _ ledger: Ledger, _ program: P.Type = Relay.self,
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let report = try Verify.run(P.self, AuditLedger(ledger))
        #expect(report.findings.map(\.text) == [], sourceLocation: sourceLocation)
        #expect(report.isClean, sourceLocation: sourceLocation)
        #expect(report.levels.count == VerifyLevel.allCases.count, sourceLocation: sourceLocation)
    }

    static func joined(_ ledger: Ledger) throws -> Joined { try Join.run(AuditLedger(ledger)) }

    // MARK: Files

    static func copy(_ from: String, to path: String) throws {
        try? FileManager.default.removeItem(atPath: path)
        try FileManager.default.copyItem(atPath: from, toPath: path)
    }

    static func bytes(_ path: String) throws -> [UInt8] {
        Array(try Data(contentsOf: URL(fileURLWithPath: path)))
    }

    static func write(_ bytes: [UInt8], to path: String) throws {
        try Data(bytes).write(to: URL(fileURLWithPath: path))
    }

    /// The refusal that a call ends with.
    static func refusal(
        sourceLocation: SourceLocation = #_sourceLocation, _ call: () async throws -> Void
    ) async -> Refusal? {
        do {
            try await call()
            Issue.record("nothing was refused", sourceLocation: sourceLocation)
        } catch let refusal as Refusal {
            return refusal
        } catch {
            Issue.record("another error: \(error)", sourceLocation: sourceLocation)
        }
        return nil
    }

    static func storeError(
        sourceLocation: SourceLocation = #_sourceLocation, _ call: () async throws -> Void
    ) async -> StoreError? {
        do {
            try await call()
            Issue.record("nothing was thrown", sourceLocation: sourceLocation)
        } catch let error as StoreError {
            return error
        } catch {
            Issue.record("another error: \(error)", sourceLocation: sourceLocation)
        }
        return nil
    }
}

extension LiveLedger where P == Relay {
    @discardableResult
    func perform(
        _ order: Order, on shard: ShardID, as name: CommandName? = nil, waitsForRoom: Bool = true
    ) async throws -> Performed {
        try await perform(order.bytes, on: shard, as: name, waitsForRoom: waitsForRoom)
    }

    /// Sends one message.
    func send(
        _ parcel: Parcel = .accept(), from origin: ShardID = Lab.a, to shard: ShardID = Lab.b,
        deadlineAfter: UInt64? = nil
    ) async throws -> MessageName {
        let performed = try await perform(
            .send(to: shard, parcel, deadlineAfter: deadlineAfter), on: origin)
        return try #require(performed.messages.first)
    }

    /// Sends one message and waits for its outcome.
    @discardableResult
    func exchange(
        _ parcel: Parcel = .accept(), from origin: ShardID = Lab.a, to shard: ShardID = Lab.b
    ) async throws -> Settled {
        try await outcome(of: send(parcel, from: origin, to: shard))
    }
}
