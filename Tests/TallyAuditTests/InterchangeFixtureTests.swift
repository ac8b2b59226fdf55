import Foundation
import TallyAudit
import TallyCore
import TallyStore
import Testing

/// What the tests of the interchange form share.
enum InterchangeFixture {
    /// A new empty directory, in memory where there is such a place.
    static func scratch() throws -> String {
        let root = FileManager.default.fileExists(atPath: "/dev/shm") ? "/dev/shm" : "/tmp"
        let path = root + "/tally-interchange-\(UInt64.random(in: 0 ... .max))"
        try FileManager.default.createDirectory(
            atPath: path, withIntermediateDirectories: false)
        return path
    }

    static func remove(_ path: String) { try? FileManager.default.removeItem(atPath: path) }

    static func list(_ path: String) -> [String] {
        ((try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []).sorted()
    }

    static func write(_ text: [UInt8], to path: String) throws {
        try Data(text).write(to: URL(fileURLWithPath: path))
    }

    static func write(_ text: String, to path: String) throws {
        try write(Array(text.utf8), to: path)
    }

    static func importing(_ text: String, in scratch: String) throws -> ImportReport {
        try importing(Array(text.utf8), in: scratch)
    }

    static func export(_ ledger: Ledger) throws -> [UInt8] {
        var bytes: [UInt8] = []
        try LedgerExport(ledger).write { bytes += $0 }
        return bytes
    }

    static func lines(_ bytes: [UInt8]) -> [String] {
        String(decoding: bytes, as: UTF8.self).split(separator: "\n").map(String.init)
    }

    /// Writes the text to a file and imports it.
    static func importing(_ text: [UInt8], in scratch: String, as name: String = "copy")
        throws -> ImportReport
    {
        let file = scratch + "/lines"
        try write(text, to: file)
        defer { remove(file) }
        return try Import.run(file, to: scratch + "/" + name)
    }

    /// Every commit of a shard: its bytes.
    static func commits(_ ledger: Ledger, _ shard: ShardID) throws -> [[UInt8]] {
        let log = try ledger.openForReading(shard, depth: .whole)
        var commits: [[UInt8]] = []
        try log.forEachCommit(from: Offset(1)) { commit in
            commits.append(commit.withBytes { (bytes: RawSpan) -> [UInt8] in bytes.copied })
            return true
        }
        try log.close()
        return commits
    }

    // MARK: A native ledger

    struct Record {
        var event: Event
        var payload: [UInt8] = []
        var result: [UInt8] = []
    }

    static func bytes16(_ seed: UInt64) -> Bytes16 {
        Bytes16(low: 0x0102_0304_0506_0708 &* seed, high: 0xF0E0_D0C0_B0A0_9080 &+ seed)
    }

    static func digest(_ seed: UInt64) -> Digest {
        Digest((seed, seed &* 0x9E37_79B9_7F4A_7C15, ~seed, seed << 40 | 0xFF))
    }

    static func counting(_ count: Int) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 37 &+ 11) }
    }

    /// One event of a kind, every field of its row in the byte table set.
    static func record(_ kind: EventKind, peer: UInt32 = 2, sequence: UInt64 = 5) -> Record {
        var event = Event(kind)
        switch kind {
        case .opened, .commanded, .noted: break
        default: event.peer = ShardID(peer)
        }
        switch kind {
        case .opened, .witnessed, .intervened, .noted: break
        default: event.sequence = SequenceNumber(sequence)
        }
        switch kind {
        case .commanded, .sent, .received, .answered, .acknowledged, .timedOut, .noted:
            event.correlation = bytes16(3)
        default: break
        }
        setFields(of: &event, sequence)
        var record = Record(event: event)
        switch kind {
        case .opened, .reemitted, .conflicted, .witnessed: break
        case .commanded: (record.payload, record.result) = (counting(200), [1, 2])
        default: record.payload = counting(Int(kind.rawValue))
        }
        return record
    }

    private static func setFields(of event: inout Event, _ sequence: UInt64) {
        switch event.kind {
        case .opened:
            event.clean = true
            event.identity = bytes16(1)
            event.foldVersion = .max
        case .commanded:
            event.identity = bytes16(2)
            event.settledThrough = SequenceNumber(4)
        case .sent:
            event.deadline = .greatest
            event.cause = Offset(1)
        case .received:
            event.outcome = .expired
            event.deadline = Timestamp(1)
            event.sentAt = Timestamp(1_700_000_000_000_000_001)
            event.peerOffset = Offset(77)
            event.settledThrough = SequenceNumber(3)
        case .answered:
            event.outcome = .rejected
            event.cause = Offset(2)
        case .acknowledged:
            event.outcome = .accepted
            event.cause = Offset(3)
            event.peerOffset = Offset(.max)
        case .timedOut:
            event.reason = .forced
            event.cause = Offset(4)
            event.peerOffset = Offset(9)
        case .reemitted:
            event.reason = .recovery
            event.attempt = .max
            event.through = SequenceNumber(sequence)
            event.identity = bytes16(4)
        case .conflicted:
            event.reason = .overruled
            event.held = digest(5)
            event.offered = digest(6)
        case .witnessed, .intervened:
            if event.kind == .intervened { event.reason = .peer }
            event.peerEpoch = Epoch(12)
            event.identity = bytes16(7)
            event.peerOffset = Offset(13)
            event.held = digest(8)
            guard event.kind == .intervened else { return }
            event.statementOffset = Offset(14)
            event.receivedThrough = SequenceNumber(15)
            event.floor = SequenceNumber(16)
            event.settledThrough = SequenceNumber(17)
            event.difference = .max
        case .noted:
            event.cause = Offset(6)
        }
    }

    struct Commit {
        var time: UInt64
        var epoch: UInt64
        var records: [Record]
    }

    static func manifest(_ shards: [String]) throws -> Manifest {
        var manifest = Manifest(
            name: "all \"kinds\" \\ \u{e4}\n", id: bytes16(9), program: "venue",
            shards: try #require(ShardDirectory(shards)))
        manifest.unordered = [Channel(origin: ShardID(2), destination: ShardID(1))]
        return manifest
    }

    /// Makes a ledger whose logs hold these commits.
    static func ledger(
        _ path: String, _ manifest: Manifest, _ shards: [[Commit]]
    ) throws -> Ledger {
        try Ledger.create(path, manifest) { ledger in
            for (index, commits) in shards.enumerated() {
                let shard = ShardID(UInt32(index + 1))
                let log = try LMDBLog(
                    directory: ledger.path(of: shard), name: manifest.shards.name(of: shard),
                    ledger: manifest.id, shard: shard, access: .write(.process))
                var builder = CommitBuilder()
                for commit in commits {
                    let end = try log.end()
                    builder.open(
                        firstOffset: Offset(end.offset.rawValue + 1),
                        timestamp: Timestamp(commit.time), epoch: Epoch(commit.epoch))
                    for record in commit.records {
                        builder.append(
                            record.event, payload: record.payload, result: record.result)
                    }
                    builder.seal(previousHead: end.head)
                    _ = try log.append(builder, expecting: end.head)
                }
                try log.close()
            }
        }
    }

    /// Every kind with all fields set, every kind as bare as it may be, and odd payloads.
    static func allKinds(_ path: String) throws -> Ledger {
        let full = EventKind.allCases.map { record($0) }
        var bare = EventKind.allCases.map { kind in
            var record = record(kind, sequence: .max)
            let (peer, sequence) = (record.event.peer, record.event.sequence)
            let (outcome, reason) = (record.event.outcome, record.event.reason)
            record.event = Event(kind)
            (record.event.peer, record.event.sequence) = (peer, sequence)
            (record.event.outcome, record.event.reason) = (outcome, reason)
            if kind == .reemitted { record.event.through = sequence }
            if kind == .timedOut { record.event.reason = .none }
            record.payload = []
            record.result = []
            return record
        }
        var mark = record(.intervened)
        (mark.event.reason, mark.event.peer) = (.mark, ShardID(0))
        var unknown = record(.sent, peer: 77)
        unknown.payload = counting(70_000)
        bare.append(mark)
        let base: UInt64 = 1_790_000_000_000_000_000
        return try ledger(
            path, manifest(["a", "b-1", "0"]),
            [
                [
                    Commit(time: 1, epoch: 1, records: full),
                    Commit(time: base, epoch: .max, records: [unknown]),
                    Commit(time: base + 1, epoch: 3, records: bare),
                    Commit(time: UInt64(Int64.max), epoch: 3, records: [full[11], full[11]]),
                ],
                [
                    Commit(time: base, epoch: 1, records: Array(full.reversed())),
                    Commit(
                        time: base + 86_400_000_000_000, epoch: 1,
                        records: (0..<300).map { size in
                            Record(event: Event(.noted), payload: counting(size))
                        }),
                ],
                [],
            ])
    }
}
