internal import LMDB
public import TallyCore

/// A ledger: a directory with a manifest and one log per shard.
///
///     ledger.json              the manifest
///     shards/<name>/data.mdb   the log: the only truth
///     shards/<name>/mark       what was last released
///     shards/<name>/writer     who writes
///     shards/<name>/snapshots  folds, disposable
///
/// Deleting everything but `ledger.json` and the `data.mdb` files loses nothing.
public struct Ledger: Sendable {
    /// Its path.
    public let directory: String
    /// What the ledger is.
    public let manifest: Manifest

    /// Reads the manifest of a ledger; opens no log.
    public init(_ directory: String) throws(StoreError) {
        let path = directory + "/" + Manifest.fileName
        guard try Files.isThere(directory) else {
            throw StoreError(
                .notALedger,
                "there is no \(directory); to make a ledger there: tally init \(directory)"
                    + " --shards a,b")
        }
        guard try Files.isThere(path) else {
            throw StoreError(
                .notALedger, "\(directory) is not a ledger: it has no \(Manifest.fileName)")
        }
        self.directory = directory
        let bytes: [UInt8]
        do throws(StoreError) {
            bytes = try Files.read(path, max: 16 << 20)
        } catch {
            throw StoreError(.manifest, "the manifest cannot be read: \(error.text)")
        }
        manifest = try Manifest(decoding: bytes, path: path)
    }

    private init(directory: String, manifest: Manifest) {
        self.directory = directory
        self.manifest = manifest
    }

    /// Opens a program's ledger, or makes it where there is none.
    ///
    /// - Parameters:
    ///   - directory: The ledger's place.
    ///   - program: Whose ledger it is.
    ///   - names: The shards of a ledger that has to be made. One that is there must have these, in any
    ///     order, and may have more.
    /// - Throws: ``StoreError/Code/malformed`` when a name is not well-formed or stands twice,
    ///   ``StoreError/Code/unknown`` when the ledger that is there has another program or lacks a shard.
    public static func open<P: Program>(
        _ directory: String, for program: P.Type, shards names: [String]
    ) throws -> Ledger {
        guard try !isFree(directory) else {
            guard let shards = ShardDirectory(names) else {
                throw StoreError(
                    .malformed,
                    "the shards \(names.joined(separator: ", ")) cannot be named so: a name has 1 to"
                        + " 64 of a-z 0-9 -, begins with no -, and stands once")
            }
            let name = directory.split(separator: "/").last.map(String.init) ?? P.name
            return try create(
                directory,
                Manifest(name: name, id: Files.random16(), program: P.name, shards: shards))
        }
        let ledger = try Ledger(directory)
        guard ledger.manifest.program == P.name else {
            throw StoreError(
                .unknown,
                "\(directory) is a ledger of the program \(ledger.manifest.program), not of \(P.name)"
            )
        }
        for name in names where ledger.shards.id(of: name) == nil {
            throw StoreError(
                .unknown,
                "\(directory) has no shard \(name); its shards are "
                    + ledger.shards.names.joined(separator: ", "))
        }
        return ledger
    }

    /// Whether a ledger can be made in a place: there is nothing, or an empty directory.
    private static func isFree(_ directory: String) throws(StoreError) -> Bool {
        guard try Files.isThere(directory) else { return true }
        return Files.isDirectory(directory) ? try Files.names(in: directory).isEmpty : false
    }

    /// Its shards and their names.
    public var shards: ShardDirectory { manifest.shards }
    /// What a program may know about a shard.
    public func context(_ shard: ShardID) -> ShardContext {
        ShardContext(shard: shard, directory: shards)
    }
    /// A shard's directory.
    public func path(of shard: ShardID) -> String {
        directory + "/shards/" + shards.name(of: shard)
    }
    /// A shard's log.
    public func dataPath(of shard: ShardID) -> String { path(of: shard) + "/data.mdb" }
    /// A shard's mark.
    public func markPath(of shard: ShardID) -> String { path(of: shard) + "/mark" }
    /// A shard's lock.
    public func writerPath(of shard: ShardID) -> String { path(of: shard) + "/writer" }
    /// The directory of a shard's snapshots.
    public func snapshotsPath(of shard: ShardID) -> String { path(of: shard) + "/snapshots" }

    /// Makes a new ledger: built beside its place under a temporary name, flushed, then renamed, so that
    /// it is there wholly or not at all.
    ///
    /// - Parameters:
    ///   - directory: Its place: nothing, or an empty directory.
    ///   - manifest: What the ledger is.
    ///   - fill: Called with the ledger under its temporary name before it is renamed.
    /// - Throws: ``StoreError/Code/exists`` when something is in the place that is not an empty directory.
    public static func create(
        _ directory: String, _ manifest: Manifest,
        filling fill: (Ledger) throws -> Void = { _ in }
    ) throws -> Ledger {
        guard try isFree(directory) else {
            throw StoreError(
                .exists, "\(directory) exists already; choose another place or remove it first")
        }
        let parent = Files.parent(of: directory)
        guard try Files.isThere(parent), Files.isDirectory(parent) else {
            throw StoreError(.unknown, "there is no directory \(parent) to make the ledger in")
        }
        let temporary = parent + "/.tally-new-\(Files.random16())"
        do {
            let ledger = Ledger(directory: temporary, manifest: manifest)
            try Files.makeDirectory(temporary)
            try Files.makeDirectory(temporary + "/shards")
            for shard in manifest.shards.all {
                let path = ledger.path(of: shard)
                try Files.makeDirectory(path)
                try LMDBLog.create(
                    directory: path, name: manifest.shards.name(of: shard), ledger: manifest.id,
                    shard: shard)
                try Files.syncDirectory(path)
            }
            try Files.replace(temporary + "/" + Manifest.fileName, with: manifest.encoded())
            try fill(ledger)
            try Files.syncDirectory(temporary + "/shards")
            try Files.syncDirectory(temporary)
            try Files.rename(temporary, to: directory)
            try Files.syncDirectory(parent)
        } catch {
            Files.removeTree(temporary)
            throw error
        }
        return Ledger(directory: directory, manifest: manifest)
    }

    /// Checks that a shard's file is there and whole enough to be opened; touches nothing.
    public func check(_ shard: ShardID) throws(StoreError) { try check(shard, .quick) }

    /// Checks that a shard's file is there and whole enough for LMDB to open.
    private func check(_ shard: ShardID, _ depth: StructureCheck.Depth) throws(StoreError) {
        let name = shards.name(of: shard)
        let path = dataPath(of: shard)
        guard let size = try Files.length(of: path) else {
            throw StoreError(
                .missingShard,
                "shard \(name) is missing: there is no \(path); bring it back from a copy")
        }
        guard size > 0 else {
            throw StoreError(
                .emptyData,
                "\(path) is empty; it is never made anew: bring it back from a copy")
        }
        do throws(StructureError) {
            _ = try StructureCheck.check(file: path, depth: depth)
        } catch {
            throw failure(error, shard)
        }
    }

    /// What a structure check said of a shard's file; a file that cannot be read may be sound.
    func failure(_ error: StructureError, _ shard: ShardID) -> StoreError {
        let (name, path) = (shards.name(of: shard), dataPath(of: shard))
        guard error.code != .unreadable else {
            return StoreError(
                .system,
                "the file of shard \(name) cannot be read: \(path), \(error); that says nothing about"
                    + " what is in it: see to it that it can be read, and try again")
        }
        return StoreError(.damaged, "the file of shard \(name) is damaged: \(path), \(error)")
    }

    /// The structure check of a shard's whole file.
    ///
    /// - Returns: How many pages were read.
    public func checkStructure(_ shard: ShardID) throws(StoreError) -> UInt64 {
        try check(shard, .quick)
        do throws(StructureError) {
            return try StructureCheck.check(file: dataPath(of: shard), depth: .full).reachablePages
        } catch {
            throw failure(error, shard)
        }
    }

    /// Whether a shard's writer runs now; its own words for itself.
    public func writer(of shard: ShardID) -> String? {
        WriterLock.holder(writerPath(of: shard))
    }

    /// Opens a shard's log for reading. On a live ledger a reader slot is taken; otherwise nothing is
    /// written anywhere.
    ///
    /// A file that nobody writes may be a torn copy, and liblmdb dies of those: it is checked page by
    /// page. Beside its writer the edges are enough.
    ///
    /// - Throws: ``StoreError/Code/system`` when a writer runs and no slot can be taken: without one
    ///   a scan may end early, silently.
    public func openForReading(
        _ shard: ShardID, depth: StructureCheckDepth = .edges
    ) throws -> LMDBLog {
        let writer = writer(of: shard)
        try check(shard, writer != nil && depth == .edges ? .quick : .full)
        let lock = path(of: shard) + "/lock.mdb"
        if let writer, !Files.isWritable(lock) {
            throw StoreError(
                .system,
                "shard \(shards.name(of: shard)) is being written by \(writer), and whoever reads"
                    + " beside a writer has to write \(lock), which is not allowed here: read as the"
                    + " ledger's own user, or read what tally copy made as that user")
        }
        return try LMDBLog(
            directory: path(of: shard), name: shards.name(of: shard), ledger: manifest.id,
            shard: shard, access: writer != nil ? .readLive : .readStill)
    }

    /// How much of a file is checked before LMDB opens it.
    public enum StructureCheckDepth: Sendable {
        /// Metas, free list, the right edge: what an opening reads.
        case edges
        /// Every page.
        case whole
    }

    /// Opens a shard's log for its one writer, in the order that keeps it honest: lock, structure,
    /// open, flush, compare the head with the mark.
    ///
    /// - Parameters:
    ///   - shard: The shard.
    ///   - durability: What a commit survives.
    ///   - acceptsBehindMark: An operator decided to serve from a log behind its mark.
    ///   - mapSize: Bytes of address space.
    /// - Throws: ``StoreError/Code/behindMark`` naming both ends and the verb an operator may use.
    public func openForWriting(
        _ shard: ShardID, durability: Durability, acceptsBehindMark: Bool = false,
        mapSize: Int = LMDBLog.mapSizeDefault
    ) throws -> WritableShard {
        let name = shards.name(of: shard)
        guard !manifest.isSealed else {
            throw StoreError(
                .sealed, "\(directory) is evidence (an import or a copy): it cannot be written")
        }
        // Before the lock, too: a ledger that is refused is left as it was. Not beside a live writer,
        // whose own words come with the lock.
        if writer(of: shard) == nil { try check(shard, .quick) }
        let lock = try WriterLock(writerPath(of: shard), shard: name)
        try check(shard, .quick)
        let log = try LMDBLog(
            directory: path(of: shard), name: name, ledger: manifest.id, shard: shard,
            access: .write(durability), mapSize: mapSize)
        let end = try log.end()
        let mark = try Mark.found(at: markPath(of: shard))
        let conflict = try Self.compare(mark, end, log, name)
        if let conflict, !acceptsBehindMark { throw conflict }
        var warnings: [String] = []
        if mark == nil, end.offset != .none {
            warnings.append("shard \(name) had no mark; it is made anew from the log's end")
        }
        return WritableShard(
            lock: lock, log: log, markFile: try MarkFile(markPath(of: shard)), end: end,
            refusedMark: conflict == nil ? nil : mark,
            wasClean: mark?.isClean == true && mark?.position.head == end.head,
            warnings: warnings)
    }

    /// Compares a log's end with its mark.
    ///
    /// - Returns: What is wrong; `nil` when the log holds what the mark says was released.
    public static func compare(
        _ mark: Mark?, _ end: LogPosition, _ log: some LogReading, _ name: String
    ) throws -> StoreError? {
        guard let mark, mark.position.offset != .none else { return nil }
        let released = mark.position
        guard released.offset <= end.offset else {
            return StoreError(
                .behindMark,
                "the log of \(name) ends at \(name)@\(end.offset.rawValue), but its mark says that"
                    + " \(name)@\(released.offset.rawValue) was released: an old backup was restored or"
                    + " a tail was lost; bring the right log back, or run: tally recover accept DIR"
                    + " \(name) --reason TEXT")
        }
        var held = end.offset == released.offset ? end.head : Digest.none
        if held == .none {
            try log.forEachCommit(from: released.offset) { commit in
                if commit.lastOffset == released.offset { held = commit.head }
                return false
            }
        }
        guard held == released.head else {
            return StoreError(
                .behindMark,
                "the log of \(name) holds another commit at \(name)@\(released.offset.rawValue) than"
                    + " the one its mark says was released (head \(held) there, \(released.head) in"
                    + " the mark); bring the right log back, or run: tally recover accept DIR \(name)"
                    + " --reason TEXT")
        }
        return nil
    }
}

/// A shard's log in the hands of its one writer.
public final class WritableShard {
    private let lock: WriterLock
    /// The log, open for writing.
    public let log: LMDBLog
    /// The shard's mark.
    public let markFile: MarkFile
    /// The log's end at opening.
    public let end: LogPosition
    /// The mark that an operator's opening overrode.
    public let refusedMark: Mark?
    /// Whether the session before was closed in good order, at this very end.
    public let wasClean: Bool
    /// What an operator should know, one line each.
    public let warnings: [String]

    init(
        lock: WriterLock, log: LMDBLog, markFile: MarkFile, end: LogPosition, refusedMark: Mark?,
        wasClean: Bool, warnings: [String]
    ) {
        self.lock = lock
        self.log = log
        self.markFile = markFile
        self.end = end
        self.refusedMark = refusedMark
        self.wasClean = wasClean
        self.warnings = warnings
    }
}
