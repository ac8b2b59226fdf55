import Foundation
import TallyCore
import TallyStore
import Testing

/// What the tests of the store share.
enum StoreFixture {
    static let id = Bytes16(low: 0x1122_3344_5566_7788, high: 0x99AA_BBCC_DDEE_FF00)
    static let shard = ShardID(1)

    /// A new empty directory, removed behind the closure; in memory where there is such a place.
    static func withScratch(_ body: (String) throws -> Void) throws {
        let root = FileManager.default.fileExists(atPath: "/dev/shm") ? "/dev/shm" : "/tmp"
        let path = root + "/tally-store-\(UInt64.random(in: 0 ... .max))"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
        defer {
            setModes(of: path, directories: 0o755, files: 0o644)
            try? FileManager.default.removeItem(atPath: path)
        }
        try body(path)
    }

    static func manifest(_ shards: [String] = ["a", "b"]) throws -> Manifest {
        Manifest(
            name: "test", id: id, program: "counting", shards: try #require(ShardDirectory(shards)))
    }

    /// Adds the events of one commit to a builder and seals it.
    static func seal(
        _ builder: inout CommitBuilder, behind end: LogPosition, _ payloads: [[UInt8]],
        time: UInt64? = nil
    ) {
        builder.open(
            firstOffset: Offset(end.offset.rawValue + 1),
            timestamp: Timestamp(time ?? end.timestamp.rawValue + 10), epoch: Epoch(1))
        for payload in payloads { builder.append(Event(.noted), payload: payload) }
        builder.seal(previousHead: end.head)
    }

    /// Appends one commit of notes to a log.
    @discardableResult
    static func append(
        _ payloads: [[UInt8]], to log: some LogStore, time: UInt64? = nil
    ) throws -> LogPosition {
        var builder = CommitBuilder()
        let end = try log.end()
        seal(&builder, behind: end, payloads, time: time)
        return try log.append(builder, expecting: end.head)
    }

    /// Appends commits of one, two, three, four and five events; their payloads number the events.
    static func appendSample(to log: some LogStore) throws {
        var number: UInt8 = 0
        for count in 1...5 {
            let payloads = (0..<count).map { _ -> [UInt8] in
                number += 1
                return [number, UInt8(count)]
            }
            try append(payloads, to: log)
        }
    }

    /// A ledger whose shard `a` holds the sample, closed in good order.
    static func ledger(_ path: String, _ manifest: Manifest? = nil) throws -> Ledger {
        let ledger = try Ledger.create(path, try manifest ?? Self.manifest())
        try writing(ledger) { shard in
            try appendSample(to: shard.log)
            try shard.markFile.write(
                Mark(position: try shard.log.end(), epoch: Epoch(1), isClean: true), isFlushed: true
            )
        }
        return ledger
    }

    static func writing(
        _ ledger: Ledger, acceptsBehindMark: Bool = false,
        _ body: (WritableShard) throws -> Void
    ) throws {
        let shard = try ledger.openForWriting(
            Self.shard, durability: .process, acceptsBehindMark: acceptsBehindMark)
        defer { try? shard.log.close() }
        try body(shard)
    }

    // MARK: Files

    static func list(_ path: String) -> [String] {
        ((try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []).sorted()
    }

    static func bytes(_ path: String) throws -> [UInt8] {
        Array(try Data(contentsOf: URL(fileURLWithPath: path)))
    }

    static func write(_ bytes: [UInt8], to path: String) throws {
        try Data(bytes).write(to: URL(fileURLWithPath: path))
    }

    static func copy(_ from: String, to path: String) throws {
        try? FileManager.default.removeItem(atPath: path)
        try FileManager.default.copyItem(atPath: from, toPath: path)
    }

    static func remove(_ path: String) { try? FileManager.default.removeItem(atPath: path) }

    /// Every path below a directory: its mode, when it was changed, the digest of its bytes.
    static func census(_ path: String) throws -> [String] {
        let names = try FileManager.default.subpathsOfDirectory(atPath: path).sorted()
        return try ([""] + names).map { name in
            let child = path + "/" + name
            let attributes = try FileManager.default.attributesOfItem(atPath: child)
            let isFile = attributes[.type] as? FileAttributeType == .typeRegular
            let digest = isFile ? Hashing.digest(try bytes(child)).description : "directory"
            let mode = attributes[.posixPermissions] as? Int ?? 0
            let changed = attributes[.modificationDate] as? Date ?? .distantPast
            return "\(name) \(mode) \(changed.timeIntervalSince1970) \(digest)"
        }
    }

    static func setModes(of path: String, directories: Int, files: Int) {
        let names = (try? FileManager.default.subpathsOfDirectory(atPath: path)) ?? []
        for name in [""] + names {
            let child = path + "/" + name
            let type = try? FileManager.default.attributesOfItem(atPath: child)[.type]
            let isDirectory = type as? FileAttributeType == .typeDirectory
            try? FileManager.default.setAttributes(
                [.posixPermissions: isDirectory ? directories : files],
                ofItemAtPath: child)
        }
    }
}

/// A program that counts notes and sums their bytes; its state shows whether anything was missed.
protocol Counting: Program where State == [UInt64] {}

extension Counting {
    static var name: String { "counting" }
    static func initial(_ shard: ShardContext) -> [UInt64] { [0, 0] }
    static func decide(
        _ stimulus: Stimulus, _ state: [UInt64], _ shard: ShardContext
    ) throws(Refusal) -> Decision { Decision() }
    static func evolve(
        _ state: inout [UInt64], _ event: Event, _ payload: RawSpan, _ shard: ShardContext
    ) {
        state[0] += 1
        for byte in payload.copied { state[1] = state[1] &* 31 &+ UInt64(byte) }
    }
    static func encode(_ state: [UInt64]) -> [UInt8] {
        var writer = ByteWriter()
        for word in state { writer.write(word) }
        return writer.bytes
    }
    static func decode(_ bytes: [UInt8], _ shard: ShardContext) -> [UInt64]? {
        var reader = ByteReader(bytes)
        guard let count = reader.read(UInt64.self), let sum = reader.read(UInt64.self) else {
            return nil
        }
        return reader.isAtEnd ? [count, sum] : nil
    }
    static func fields(_ state: [UInt64]) -> [(name: String, value: String)] { [] }
    static func law(_ states: [(shard: ShardContext, state: [UInt64])]) -> [String] { [] }
    static func describe(_ payload: [UInt8]) -> String { "" }
}

enum Counter: Counting {
    static var foldVersion: UInt32 { 1 }
}

/// The same program with another fold.
enum NewerCounter: Counting {
    static var foldVersion: UInt32 { 2 }
}
