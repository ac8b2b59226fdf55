internal import LMDB
public import TallyCore

#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#else
    internal import Darwin
#endif

/// How durable a released commit is.
public enum Durability: String, Sendable {
    /// It survives power loss.
    case power
    /// It survives a killed process, not power loss: for simulations and benchmarks that say so.
    case process
}

/// A shard's log on LMDB: one commit is one record of the table `log`, keyed by its first offset.
public final class LMDBLog: LogStore {
    /// Who opens a log.
    public enum Access: Sendable {
        /// The one writer, at the durability given.
        case write(Durability)
        /// Takes a reader slot; for a ledger whose writer may be running. Read in pages, each copied
        /// inside a read transaction of its own, so that the file does not grow for a slow reader.
        case readLive
        /// Takes no slot and needs no write access; for copies and read-only media.
        case readStill
    }

    public let name: String
    private let environment: Environment
    private let log: Table
    private let durability: Durability
    private let isPaged: Bool
    private let seed: Digest
    private let first: Offset
    private var position: LogPosition?

    /// Bytes of address space for one log: 256 GiB.
    public static let mapSizeDefault = 256 << 30

    /// Opens a shard's log in a directory that holds a `data.mdb`. The structure was checked before.
    ///
    /// - Parameters:
    ///   - directory: The shard's directory.
    ///   - name: The shard's name, for messages.
    ///   - ledger: The ledger's id.
    ///   - shard: The shard's id.
    ///   - access: Who reads or writes.
    ///   - mapSize: Bytes of address space, at least the file's size.
    ///   - first: The offset that the first commit of an empty log must have; not 1 only for an import
    ///     that holds a window of a log.
    /// - Throws: ``StoreError``.
    public init(
        directory: String, name: String, ledger: Bytes16, shard: ShardID, access: Access,
        mapSize: Int = LMDBLog.mapSizeDefault, first: Offset = Offset(1)
    ) throws(StoreError) {
        self.name = name
        self.first = first
        seed = Hashing.seed(ledger: ledger, shard: shard)
        var options = Environment.Options(access: .readOnlyNoLock)
        options.mapSize = mapSize
        var durability = Durability.power
        var isPaged = false
        let identity: [UInt8]
        switch access {
        case .write(let level):
            try Self.allocateLock(directory)
            options.access = .readWrite
            durability = level
            options.noSync = level == .process
        case .readLive:
            options.access = .readOnly
            isPaged = true
        case .readStill: options.access = .readOnlyNoLock
        }
        self.durability = durability
        self.isPaged = isPaged
        do throws(LMDBError) {
            environment = try Environment(path: directory, options: options)
            if case .write = access {
                try environment.checkStaleReaders()
                // What is folded must not be undone later: a killed writer's last pages may not be
                // on the disk yet.
                try environment.sync()
            }
            log = try environment.openTable(name: "log", create: false)
            identity = try Self.identity(environment)
        } catch {
            throw Self.translated(error, name)
        }
        guard identity.starts(with: Array(Self.identityPrefix(ledger, shard).utf8)) else {
            throw StoreError(
                .damaged,
                "the file in \(directory) is not the log of shard \(name): it says"
                    + " \"\(String(decoding: identity, as: UTF8.self))\"; bring the right one back")
        }
    }

    /// The ledger and the shard that a log belongs to, as its file says; the name stands behind it.
    private static func identityPrefix(_ ledger: Bytes16, _ shard: ShardID) -> String {
        "\(ledger) \(shard.rawValue) "
    }

    private static func identity(_ environment: Environment) throws(LMDBError) -> [UInt8] {
        let meta = try environment.openTable(name: "meta", create: false)
        return try environment.read { transaction throws(LMDBError) in
            try transaction.get(meta, key: Array("identity".utf8)) ?? []
        }
    }

    /// Gives LMDB's lock file its blocks before LMDB maps it: it would map a hole, and die of a full disk.
    private static func allocateLock(_ directory: String) throws(StoreError) {
        // Room for 126 readers of 64 bytes and the header, in whole pages.
        try Files.allocate(directory + "/lock.mdb", bytes: 16_384)
    }

    /// Makes the tables of a new shard in an empty directory and writes its identity.
    static func create(
        directory: String, name: String, ledger: Bytes16, shard: ShardID
    ) throws(StoreError) {
        try allocateLock(directory)
        do throws(LMDBError) {
            var options = Environment.Options(access: .readWrite)
            options.mapSize = mapSizeDefault
            let environment = try Environment(path: directory, options: options)
            let transaction = try environment.beginWrite()
            _ = try transaction.openTable(name: "log", create: true)
            let meta = try transaction.openTable(name: "meta", create: true)
            let identity = identityPrefix(ledger, shard) + name
            try transaction.put(
                meta, key: Array("identity".utf8), value: Array(identity.utf8))
            try transaction.put(meta, key: Array("format".utf8), value: Array("1".utf8))
            try transaction.commit()
            try environment.sync()
            try environment.close()
        } catch {
            throw translated(error, name)
        }
    }

    static func translated(_ error: LMDBError, _ name: String) -> StoreError {
        switch error.code {
        case .mapFull:
            return StoreError(
                .full,
                "the map of shard \(name) is full; nothing was lost; open it with a larger map")
        case .diskFull:
            return StoreError(
                .full,
                "writing shard \(name) failed (\(error)); free some space and start again; nothing that"
                    + " was released is lost")
        case .inputOutput where error.operation == "mdb_txn_commit":
            // A full disk cuts a write short, and that is what liblmdb calls it.
            return StoreError(
                .full,
                "writing shard \(name) failed (\(error)); if the disk is full, free some space and"
                    + " start again; nothing that was released is lost")
        case .inputOutput:
            return StoreError(
                .system,
                "shard \(name): \(error)\(Files.advice(onError: EIO)); nothing that was released was"
                    + " taken back by it")
        case .replaced:
            return StoreError(
                .missingShard,
                "data.mdb of shard \(name) in \(error.path) was removed or replaced while it was open;"
                    + " the last commit was not released: bring the right file back and start again"
            )
        case .noSuchFile:
            return StoreError(.missingShard, "shard \(name) has no data.mdb at \(error.path)")
        case .notFound:
            return StoreError(
                .damaged, "shard \(name) holds no log: \(error.path) is no shard of a ledger")
        case .corrupted, .invalid, .versionMismatch:
            return StoreError(
                .damaged, "the file of shard \(name) is damaged: \(error); run: tally verify DIR",
                cause: error)
        case .accessDenied, .other:
            let advice = Files.advice(onError: error.returnCode)
            return StoreError(
                error.returnCode == EDQUOT ? .full : .system,
                "shard \(name): \(error)"
                    + (error.returnCode == EACCES || error.returnCode == EPERM || advice.isEmpty
                        ? "; data.mdb and lock.mdb there have to be files that this user may open"
                        : advice))
        default:
            return StoreError(.system, "shard \(name): \(error)")
        }
    }

    // MARK: Reading

    private func reading<R>(_ body: () throws -> R) throws -> R {
        do {
            return try body()
        } catch let error as LMDBError {
            throw Self.translated(error, name)
        } catch let error as CommitError {
            throw StoreError(
                .damaged, "shard \(name): \(error); run: tally verify DIR", cause: error)
        }
    }

    public func end() throws -> LogPosition {
        if let position { return position }
        let found = try reading {
            try environment.read { transaction -> LogPosition? in
                try transaction.withCursor(log) { cursor throws -> LogPosition? in
                    var last: LogPosition?
                    try cursor.move(.last) { key, value throws in
                        last = try Self.position(key, value)
                    }
                    return last
                }
            }
        }
        return found ?? LogPosition(offset: .none, head: seed, timestamp: .none)
    }

    private static func position(_ key: UInt64, _ value: RawSpan) throws -> LogPosition {
        let head = Hashing.digest(value)
        return try value.withCommit(key: Offset(key)) { commit in
            LogPosition(offset: commit.lastOffset, head: head, timestamp: commit.timestamp)
        }
    }

    public func forEachCommit(
        from offset: Offset, _ body: (CommitView) throws -> Bool
    ) throws {
        if isPaged { return try forEachCommitInPages(from: offset, body) }
        try reading {
            try environment.read { transaction throws in
                try transaction.withCursor(log) { cursor throws in
                    let start = try Self.start(cursor, offset)
                    guard let start else { return }
                    try cursor.forEach(from: start) { key, value throws -> Bool in
                        try show(key, value, from: offset, body)
                    }
                }
            }
        }
    }

    private func show(
        _ key: UInt64, _ value: RawSpan, from offset: Offset, _ body: (CommitView) throws -> Bool
    ) throws -> Bool {
        do {
            return try value.withCommit(key: Offset(key)) { commit in
                commit.lastOffset < offset ? true : try body(commit)
            }
        } catch let error as CommitError {
            throw StoreError(
                .damaged, "\(name)@\(key): \(error); run: tally verify DIR", cause: error)
        }
    }

    /// Bytes of commits that are copied in one read transaction of a live log: the first page is one
    /// commit, for whoever wants no more, and each further one four times its predecessor.
    private static let pageLengthMin = 256 << 10
    private static let pageLengthMax = 8 << 20

    /// A read transaction keeps every page it can see from being used again, so the file of a busy
    /// writer grows for as long as it lasts. Here it lasts as long as copying one page takes, whatever
    /// the closure does: commits are checked and shown outside.
    ///
    /// The end is the one of the first page: what is appended meanwhile is not shown.
    private func forEachCommitInPages(
        from offset: Offset, _ body: (CommitView) throws -> Bool
    ) throws {
        var page = CommitPage()
        var limit = 1
        var isMore = true
        while isMore {
            isMore = try reading { try read(&page, from: offset, upTo: limit) }
            limit = min(Self.pageLengthMax, max(Self.pageLengthMin, limit * 4))
            let goesOn = try reading {
                try page.forEach { try show($0, $1, from: offset, body) }
            }
            if !goesOn { return }
        }
    }

    /// Reads the commits behind those of a page over them.
    ///
    /// - Returns: Whether there are more behind these.
    private func read(
        _ page: inout CommitPage, from offset: Offset, upTo limit: Int
    ) throws -> Bool {
        try environment.read { transaction throws in
            try transaction.withCursor(log) { cursor throws in
                guard let last = try page.last ?? cursor.move(.last),
                    let start = try page.next ?? Self.start(cursor, offset)
                else { return false }
                page.last = last
                page.removeAll()
                try cursor.forEach(from: start) { key, value throws -> Bool in
                    guard key <= last else { return false }
                    page.append(key, value)
                    return page.bytes.count < limit
                }
                return page.next.map { $0 <= last } ?? false
            }
        }
    }

    /// Runs a closure inside one read transaction, so that no page which it sees is used again. The file
    /// of a busy writer grows meanwhile.
    package func holdingPages<R>(_ body: () throws -> R) throws -> R {
        try environment.read { _ throws in try body() }
    }

    /// The key of the commit that holds an offset, or of the first one behind it.
    private static func start(_ cursor: borrowing Cursor, _ offset: Offset) throws -> UInt64? {
        guard offset > Offset(1) else { return try cursor.move(.first) }
        guard let found = try cursor.move(.seek(toOrAfter: offset.rawValue)) else {
            return try cursor.move(.last)
        }
        if found == offset.rawValue { return found }
        return try cursor.move(.previous) ?? found
    }

    // MARK: Writing

    public func append(
        _ commit: borrowing CommitBuilder, expecting head: Digest
    ) throws -> LogPosition {
        let current = try end()
        let next = current.offset == .none ? first : Offset(current.offset.rawValue + 1)
        guard head == current.head, commit.firstOffset == next else {
            throw StoreError(.moved, "the log of \(name) has moved on; fold it again")
        }
        let end = LogPosition(
            offset: commit.lastOffset, head: Hashing.digest(commit.bytes),
            timestamp: commit.timestamp)
        let (key, bytes) = (commit.firstOffset.rawValue, commit.bytes)
        do throws(LMDBError) {
            let transaction = try environment.beginWrite()
            try unsafe transaction.append(log, key: key, byteCount: bytes.count) { target in
                unsafe bytes.withUnsafeBytes { unsafe target.copyMemory(from: $0) }
            }
            try transaction.commit()
            try environment.checkInPlace()
        } catch {
            position = nil
            if error.code == .mapFull || error.code == .replaced {
                throw Self.translated(error, name)
            }
            // A full disk included: the meta page may have been written all the same.
            let isFull = error.returnCode == EIO || error.returnCode == ENOSPC
            throw StoreError(
                .unknownOutcome,
                "a commit to shard \(name) failed (\(error)); whether it is in the log is known only"
                    + " once the shard is opened again"
                    + (isFull
                        ? "; if the disk is full, free some space first"
                        : Files.advice(onError: error.returnCode)))
        }
        position = end
        return end
    }

    /// LMDB's own commit flushes both data and meta at level `power`; nothing is left to do.
    public func flush() {}

    public func close() throws {
        do throws(LMDBError) {
            if durability == .process { try environment.sync() }
            try environment.close()
        } catch {
            throw Self.translated(error, name)
        }
    }

    /// The transaction the file is at; moves with every commit of a writer anywhere.
    package func transactionNumber() throws -> UInt64 {
        try reading { try environment.info().lastTransaction }
    }

    package func adviseSequential() { try? environment.adviseSequential() }
}

/// Commits copied out of a live log.
private struct CommitPage {
    private(set) var bytes: [UInt8] = []
    private var ends: [(key: UInt64, end: Int)] = []
    /// The key of the log's last commit when its first page was read.
    var last: UInt64?
    /// Where the page behind this one begins, at the earliest.
    private(set) var next: UInt64?

    mutating func append(_ key: UInt64, _ value: RawSpan) {
        // Sound: the bytes are copied before the closure returns.
        unsafe value.withUnsafeBytes { unsafe bytes.append(contentsOf: $0) }
        ends.append((key, bytes.count))
        next = key == .max ? nil : key + 1
    }

    mutating func removeAll() {
        bytes.removeAll(keepingCapacity: true)
        ends.removeAll(keepingCapacity: true)
    }

    /// - Returns: False when the closure ended it.
    func forEach(_ body: (UInt64, RawSpan) throws -> Bool) throws -> Bool {
        var start = 0
        for (key, end) in ends {
            // Sound: bytes have no padding.
            guard try body(key, unsafe bytes.span.bytes.extracting(start..<end)) else {
                return false
            }
            start = end
        }
        return true
    }
}
