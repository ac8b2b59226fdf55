import Foundation
import TallyAudit
import TallyCore
import TallyRuntime
import TallyStore
import Testing

/// A shard's directory is copied aside, the ledger runs on, the old copy is put back: with its own
/// mark the log looks whole, and only its peers know that it is not.
@Suite("An old backup of a shard is restored", .timeLimit(.minutes(10)))
struct StaleRestoreTests {
    private enum Mark { case restored, left }

    /// Two messages, then the copy, then three messages each way; then the old copy is put back.
    ///
    /// - Returns: Where the shard's log ended before its old copy was put back.
    private func restore(
        _ shard: ShardID, _ mark: Mark, _ ledger: Ledger, _ path: String
    ) async throws -> LogPosition {
        try await Lab.running(ledger) { live in
            for _ in 0..<2 { try await live.exchange() }
        }
        try Lab.copy(ledger.path(of: shard), to: path + "/aside")
        try await Lab.running(ledger) { live in
            for number in 0..<3 {
                try await live.exchange(.accept("lost \(number)"))
                try await live.exchange(from: Lab.b, to: Lab.a)
            }
            try await live.perform(.note([4]), on: shard)
        }
        let end = try ledger.openForReading(shard).end()
        switch mark {
        case .restored:
            try Lab.copy(path + "/aside", to: ledger.path(of: shard))
        case .left:
            try Lab.copy(path + "/aside/data.mdb", to: ledger.dataPath(of: shard))
        }
        return end
    }

    /// Opens the ledger: the handshake has the shard stop, and its text says why.
    private func expectStop(
        _ shard: ShardID, _ end: LogPosition, _ ledger: Ledger, _ held: String
    ) async throws {
        let lines = Lines()
        var options = Lab.options
        options.logger = lines.logger
        try await Lab.running(ledger, InProcessTransport(), options) { live in
            try await Lab.eventually("the shard has stopped") {
                try await live.read(shard) { $0.stop } != nil
            }
            let stop = try #require(try await live.read(shard) { $0.stop })
            let text = stop.text(ledger.shards, shard)
            let (own, peer) = shard == Lab.a ? ("a", "b") : ("b", "a")
            #expect(text.hasPrefix("\(own) has stopped: \(peer) has seen this log up to \(own)@"))
            #expect(text.contains(held) && text.contains("tally recover accept DIR \(own)"))
            guard case .fork(_, _, let statement, let ownEnd, _) = stop else {
                Issue.record("another stop: \(stop)")
                return
            }
            #expect(statement.offset <= end.offset && statement.offset > Offset(0))
            #expect(statement.session.epoch == Epoch(2) && ownEnd < end.offset)
            let refusal = await Lab.refusal { try await live.perform(.note([1]), on: shard) }
            #expect(refusal?.code == .stopped && refusal?.text == text)
            #expect(lines.all.filter { $0 == text }.count == 1)
            // The other shard serves.
            let other = shard == Lab.a ? Lab.b : Lab.a
            #expect(try await live.perform(.note([5]), on: other).result == [5])
            #expect(try await live.read(other) { $0.stop } == nil)
        }
        #expect(TallyStore.Mark.read(ledger.markPath(of: shard))?.isClean == false)
    }

    private func expectSettled(
        _ ledger: Ledger, lost: UInt64, _ channel: Channel
    ) async throws {
        try await Lab.running(ledger) { live in
            for _ in 0..<2 {
                let there = try await live.exchange()
                let back = try await live.exchange(from: Lab.b, to: Lab.a)
                #expect(there.result == .accepted && back.result == .accepted)
            }
            try await Lab.settled(live)
            for shard in ledger.shards.all {
                #expect(try await live.read(shard) { $0.messaging.anomalyCount } == 0)
            }
        }
        let joined = try Lab.joined(ledger)
        let summary = joined[channel]
        #expect(summary.lost == lost && summary.unsent == 0 && summary.unfounded == 0)
        #expect(summary.pending == 0 && summary.conflicting == 0 && summary.repeated == 0)
        let list = OrphanList(joined, try AuditLedger(ledger.directory))
        #expect(list.entries.isEmpty)
        #expect(list.findings.allSatisfy { $0.class == .lost } && !list.findings.isEmpty)
        try Lab.expectClean(ledger)
    }

    @Test("an origin, with its old mark: it stops, an operator accepts, it never uses a name again")
    func origin() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path)
            let end = try await restore(Lab.a, .restored, ledger, path)
            try await expectStop(
                Lab.a, end, ledger, "it holds messages of a/b through 5")
            let loss = try Recovery.accept(
                Lab.a, reason: "restored on purpose", in: ledger, program: Relay.self)
            #expect(loss.statements.map(\.peer) == [Lab.b] && loss.mark == nil)
            #expect(loss.statements.first?.statement.receivedThrough == SequenceNumber(5))
            let intervened = try Lab.records(ledger, Lab.a, .intervened)
            #expect(intervened.map(\.payload) == [Array("restored on purpose".utf8)])
            // Nothing is missing any more: nothing is changed.
            let before = try Lab.records(ledger, Lab.a).count
            let again = try Recovery.accept(
                Lab.a, reason: "twice", in: ledger, program: Relay.self)
            #expect(again.isNone)
            #expect(try Lab.records(ledger, Lab.a).count == before)
            try await expectSettled(ledger, lost: 3, Channel(origin: Lab.a, destination: Lab.b))
            let sent = try Lab.records(ledger, Lab.a, .sent).map(\.event.sequence.rawValue)
            #expect(sent == [1, 2, 6, 7])
        }
    }

    @Test("a destination, with its old mark: it stops, an operator accepts, nothing comes twice")
    func destination() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path)
            let end = try await restore(Lab.b, .restored, ledger, path)
            try await expectStop(
                Lab.b, end, ledger, "it holds messages of b/a through 3")
            let loss = try Recovery.accept(
                Lab.b, reason: "disk replaced", in: ledger, program: Relay.self)
            #expect(loss.statements.map(\.peer) == [Lab.a] && loss.mark == nil)
            try await expectSettled(ledger, lost: 3, Channel(origin: Lab.a, destination: Lab.b))
            let received = try Lab.records(ledger, Lab.b, .received)
            #expect(received.map(\.event.sequence.rawValue) == [1, 2, 6, 7])
        }
    }

    @Test("with the newer mark in its place it is not opened, and both ends are named")
    func behindMark() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path)
            let end = try await restore(Lab.a, .left, ledger, path)
            let old = try ledger.openForReading(Lab.a).end()
            let error = await Lab.storeError { _ = try Lab.live(ledger) }
            #expect(error?.code == .behindMark)
            #expect(error?.text.contains("a@\(old.offset.rawValue)") == true)
            #expect(error?.text.contains("a@\(end.offset.rawValue)") == true)
            #expect(error?.text.contains("recover accept") == true)
            #expect(ledger.writer(of: Lab.a) == nil && ledger.writer(of: Lab.b) == nil)
            #expect(try ledger.openForReading(Lab.a).end() == old)
            let loss = try Recovery.accept(
                Lab.a, reason: "the tail is gone", in: ledger, program: Relay.self)
            #expect(loss.mark == end)
            #expect(loss.statements.map(\.peer) == [Lab.b])
            try await expectSettled(ledger, lost: 3, Channel(origin: Lab.a, destination: Lab.b))
        }
    }

    @Test("a tail that only the mark knew of is accepted by the mark alone")
    func markAlone() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path)
            try await Lab.running(ledger) { try await $0.exchange() }
            try await Lab.running(ledger, GateTransport { _ in .drop }) { live in
                try await live.perform(.note([1]), on: Lab.a)
                try Lab.copy(ledger.path(of: Lab.a), to: path + "/aside")
                try await live.perform(.note([2]), on: Lab.a)
            }
            let end = try ledger.openForReading(Lab.a).end()
            try Lab.copy(path + "/aside/data.mdb", to: ledger.dataPath(of: Lab.a))
            let loss = try Recovery.accept(
                Lab.a, reason: "only notes", in: ledger, program: Relay.self)
            #expect(loss.mark == end && loss.statements.isEmpty)
            let accepted = try Lab.records(ledger, Lab.a, .intervened)
            #expect(accepted.map(\.event.reason) == [.mark])
            #expect(accepted.map(\.event.peerOffset) == [end.offset])
            try await Lab.running(ledger) { try await $0.exchange() }
            #expect(try Lab.records(ledger, Lab.a, .noted).count == 1)
            try Lab.expectClean(ledger)
        }
    }

    @Test("an outcome asked for on a stopped shard is refused, not waited for")
    func outcomeOfStopped() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path)
            try await Lab.running(ledger, GateTransport { $0.isDelivery ? .drop : .deliver }) {
                try await Lab.settledSessions($0)
                _ = try await $0.send()
            }
            _ = try await restoreBehindPending(ledger, path)
            let message = MessageName(from: Lab.a, to: Lab.b, SequenceNumber(1))
            try await Lab.running(ledger) { live in
                try await Lab.eventually("a has stopped") {
                    try await live.read(Lab.a) { $0.stop } != nil
                }
                let asked = Task { try await live.outcome(of: message) }
                let watchdog = Task {
                    try await Task.sleep(nanoseconds: 5_000_000_000)
                    await live.close()
                }
                let refusal = await Lab.refusal { _ = try await asked.value }
                #expect(refusal?.code == .stopped)
                watchdog.cancel()
            }
        }
    }

    /// Restores shard a to where its first message was pending and runs no further.
    private func restoreBehindPending(_ ledger: Ledger, _ path: String) async throws {
        try Lab.copy(ledger.path(of: Lab.a), to: path + "/aside")
        try await Lab.running(ledger) { try await $0.exchange() }
        try Lab.copy(path + "/aside", to: ledger.path(of: Lab.a))
    }
}
