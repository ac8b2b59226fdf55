public import TallyCore

/// A fold's result at a commit boundary, in a file of its own; disposable.
///
///     magic "TLSN" 4, version 4, ledger id 16, shard id 4, fold version 4, offset 8, timestamp 8,
///     head 32, events 8, commits 8, program's name (count 4, bytes), messaging state (count 8,
///     bytes), application state (count 8, bytes), CRC-32C of all before, 4
///
/// A snapshot counts only if its checksum is right, it is of this ledger, shard, program and fold
/// version, and the log's commit at its offset has its head. Otherwise it is skipped, and that is said.
public enum Snapshot {
    static let magic: UInt32 = 0x4E53_4C54
    static let suffix = ".snapshot"

    /// The offsets that have a snapshot, newest first.
    public static func offsets(in ledger: Ledger, of shard: ShardID) -> [Offset] {
        Files.list(ledger.snapshotsPath(of: shard)).compactMap { name in
            guard name.hasSuffix(suffix) else { return nil }
            return UInt64(name.dropLast(suffix.count)).map { Offset($0) }
        }.sorted(by: >)
    }

    static func path(_ ledger: Ledger, _ shard: ShardID, _ offset: Offset) -> String {
        let digits = String(offset.rawValue)
        let zeros = String(repeating: "0", count: max(0, 20 - digits.count))
        return ledger.snapshotsPath(of: shard) + "/" + zeros + digits + suffix
    }

    /// Writes a snapshot and removes all but the newest two.
    public static func write<P: Program>(
        _ state: ShardState<P>, to ledger: Ledger
    ) throws(StoreError) {
        let shard = state.context.shard
        let bytes = try bytes(of: state, in: ledger.manifest)
        let directory = ledger.snapshotsPath(of: shard)
        if !Files.isDirectory(directory) { try Files.makeDirectory(directory) }
        try Files.replace(path(ledger, shard, state.position.offset), with: bytes)
        for old in offsets(in: ledger, of: shard).dropFirst(2) {
            Files.remove(path(ledger, shard, old))
        }
    }

    /// What the file of a snapshot holds.
    package static func bytes<P: Program>(
        of state: ShardState<P>, in manifest: Manifest
    ) throws(StoreError) -> [UInt8] {
        guard state.messaging.offset == state.position.offset else {
            throw StoreError(
                .malformed,
                "a snapshot is cut at the end of a commit; offset"
                    + " \(state.messaging.offset.rawValue) lies inside one")
        }
        var writer = ByteWriter(capacity: 4096)
        writer.write(magic)
        writer.write(1 as UInt32)
        writer.write(manifest.id)
        writer.write(state.context.shard.rawValue)
        writer.write(P.foldVersion)
        writer.write(state.position.offset.rawValue)
        writer.write(state.position.timestamp.rawValue)
        writer.write(state.position.head)
        writer.write(state.eventCount)
        writer.write(state.commitCount)
        writer.write(counted: Array(P.name.utf8))
        let messaging = state.messaging.encoded()
        writer.write(UInt64(messaging.count))
        writer.write(raw: messaging)
        let application = P.encode(state.application)
        writer.write(UInt64(application.count))
        writer.write(raw: application)
        writer.write(Checksum.crc32c(writer.bytes))
        return writer.bytes
    }

    /// Removes all snapshots of a shard but the newest ones.
    ///
    /// - Returns: The offsets of those removed, newest first.
    /// - Throws: ``StoreError/Code/system`` naming the file that is still there.
    public static func remove(
        in ledger: Ledger, of shard: ShardID, keeping count: Int
    ) throws(StoreError) -> [Offset] {
        let old = Array(offsets(in: ledger, of: shard).dropFirst(count))
        for offset in old {
            let path = path(ledger, shard, offset)
            Files.remove(path)
            guard !Files.exists(path) else {
                throw StoreError(
                    .system, "cannot remove \(path); this user may not write its directory")
            }
        }
        return old
    }

    /// What a snapshot file says of itself, whether or not it counts.
    public struct Entry: Sendable {
        /// As the file's name says.
        public var offset: Offset
        public var bytes: Int
        /// The rest is `nil` when the file is no snapshot of a format known here.
        public var timestamp: Timestamp?
        public var foldVersion: UInt32?
        public var program: String?
    }

    /// The snapshot files of a shard, newest first.
    public static func entries(in ledger: Ledger, of shard: ShardID) -> [Entry] {
        offsets(in: ledger, of: shard).map { offset in
            let path = path(ledger, shard, offset)
            var entry = Entry(offset: offset, bytes: Files.size(path) ?? 0)
            guard let bytes = try? Files.read(path, max: 1 << 32) else { return entry }
            var reader = ByteReader(bytes[...])
            guard reader.read(UInt32.self) == magic, reader.read(UInt32.self) == 1,
                reader.readBytes16() != nil, reader.read(UInt32.self) != nil,
                let version = reader.read(UInt32.self), reader.readOffset() != nil,
                let time = reader.readTimestamp(), reader.readDigest() != nil,
                reader.read(UInt64.self) != nil, reader.read(UInt64.self) != nil,
                let name = reader.readCounted(max: 1024)
            else { return entry }
            entry.timestamp = time
            entry.foldVersion = version
            entry.program = String(decoding: name, as: UTF8.self)
            return entry
        }
    }

    /// The newest snapshot that counts.
    ///
    /// - Parameters:
    ///   - program: The program whose state it holds.
    ///   - ledger: The ledger.
    ///   - shard: The shard.
    ///   - log: The shard's log, whose head is compared.
    ///   - end: Snapshots behind this offset are left alone.
    ///   - skipped: Told why a snapshot was passed over, one line each.
    public static func newest<P: Program>(
        _ program: P.Type, in ledger: Ledger, of shard: ShardID, log: some LogReading,
        through end: Offset = Offset(CommitFormat.offsetMax), skipped: (String) -> Void
    ) -> ShardState<P>? {
        for offset in offsets(in: ledger, of: shard) where offset <= end {
            do {
                return try read(P.self, in: ledger, of: shard, at: offset, log: log)
            } catch {
                skipped(
                    "snapshot \(path(ledger, shard, offset)) was not used: \(error)")
            }
        }
        return nil
    }

    /// The snapshot at an offset.
    ///
    /// - Throws: ``StoreError`` saying why it does not count: ``StoreError/Code/moved`` when the log's
    ///   commit there has another head.
    public static func read<P: Program>(
        _ program: P.Type, in ledger: Ledger, of shard: ShardID, at offset: Offset,
        log: some LogReading
    ) throws -> ShardState<P> {
        let bytes = try Files.read(path(ledger, shard, offset), max: 1 << 32)
        return try read(bytes, ledger.context(shard), ledger.manifest, log: log)
    }

    /// The snapshot that a file holds, if the log's commit there has its head.
    package static func read<P: Program>(
        _ bytes: [UInt8], _ context: ShardContext, _ manifest: Manifest, log: some LogReading
    ) throws -> ShardState<P> {
        let state: ShardState<P> = try read(bytes, context, manifest)
        var head: Digest?
        try log.forEachCommit(from: state.position.offset) { commit in
            if commit.lastOffset == state.position.offset { head = commit.head }
            return false
        }
        guard head == state.position.head else {
            throw StoreError(.moved, "it was cut from another log")
        }
        return state
    }

    private static func read<P: Program>(
        _ bytes: [UInt8], _ context: ShardContext, _ manifest: Manifest
    ) throws(StoreError) -> ShardState<P> {
        let shard = context.shard
        func bad(_ text: String) -> StoreError { StoreError(.malformed, text) }
        guard bytes.count > 112 else { throw bad("it is too short") }
        var tail = ByteReader(bytes[(bytes.count - 4)...])
        guard tail.read(UInt32.self) == Checksum.crc32c(Array(bytes.dropLast(4))) else {
            throw bad("its checksum is wrong")
        }
        var reader = ByteReader(bytes.dropLast(4))
        guard reader.read(UInt32.self) == magic, reader.read(UInt32.self) == 1 else {
            throw bad("it is no snapshot of a format known here")
        }
        guard reader.readBytes16() == manifest.id,
            reader.read(UInt32.self) == shard.rawValue
        else { throw bad("it is of another ledger or shard") }
        guard reader.read(UInt32.self) == P.foldVersion else {
            throw bad("it is of another fold version")
        }
        guard let offset = reader.readOffset(), let time = reader.readTimestamp(),
            let head = reader.readDigest(), let events = reader.read(UInt64.self),
            let commits = reader.read(UInt64.self), let name = reader.readCounted(max: 1024),
            let messagingCount = reader.read(UInt64.self),
            let messaging = reader.read(count: Int(clamping: messagingCount)),
            let applicationCount = reader.read(UInt64.self),
            let application = reader.read(count: Int(clamping: applicationCount)), reader.isAtEnd
        else { throw bad("it ends too early") }
        guard String(decoding: name, as: UTF8.self) == P.name else {
            throw bad("it is of another program")
        }
        var state = ShardState<P>(context: context, manifest: manifest)
        guard
            let folded = MessagingState(
                decoding: messaging, shard: shard, shardCount: manifest.shards.count,
                rules: manifest.rules),
            let decoded = P.decode(Array(application), context), folded.offset == offset
        else { throw bad("its state cannot be read") }
        state.messaging = folded
        state.application = decoded
        state.position = LogPosition(offset: offset, head: head, timestamp: time)
        state.eventCount = events
        state.commitCount = commits
        return state
    }
}
