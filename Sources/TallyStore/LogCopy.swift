internal import LMDB
package import TallyCore

#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#else
    internal import Darwin
#endif

/// A new shard's log that takes over another one's commits, byte for byte, so that its heads are the
/// same.
///
/// Commit by commit, and not LMDB's own copy of the pages: that ends where its transaction ends, which
/// need not be where the ledger's cut is; it holds that transaction for as long as the whole file
/// takes, while the file of a busy writer grows; and it takes the source's bytes on trust. Here every
/// commit is checked as it passes, the source is read a part at a time, nothing of it is held while
/// the copy is written, and the copy has no free pages.
package final class LogCopy {
    private let name: String
    private let environment: Environment
    private let log: Table
    /// The copy's end so far.
    package private(set) var end: LogPosition
    package private(set) var events: UInt64 = 0
    package private(set) var commits: UInt64 = 0
    private let first: Offset

    /// Commits that are collected before they are written.
    static let partLength = 8 << 20

    /// Opens the empty log of a shard that was just made.
    package init(into ledger: Ledger, _ shard: ShardID) throws(StoreError) {
        name = ledger.shards.name(of: shard)
        first = ledger.manifest.first(of: shard)
        end = LogPosition(
            offset: .none, head: Hashing.seed(ledger: ledger.manifest.id, shard: shard),
            timestamp: .none)
        do throws(LMDBError) {
            var options = Environment.Options(access: .readWrite)
            // One flush at the end: until then there is nothing that anybody relies on.
            options.noSync = true
            environment = try Environment(path: ledger.path(of: shard), options: options)
            log = try environment.openTable(name: "log", create: false)
        } catch {
            throw Self.failure(error, ledger.shards.name(of: shard))
        }
    }

    private static func failure(_ error: LMDBError, _ name: String) -> StoreError {
        switch error.code {
        case .mapFull, .diskFull, .inputOutput:
            StoreError(
                .full,
                "the copy of shard \(name) could not be written (\(error)); if the disk is full, free"
                    + " some space; nothing was left behind")
        default:
            StoreError(.system, "the copy of shard \(name) could not be written: \(error)")
        }
    }

    /// Commits read and not written yet: whoever reads again begins behind what was written.
    private struct Part {
        var bytes: [UInt8] = []
        var commits: [(key: UInt64, end: Int)] = []
        var events: UInt64 = 0
        var end: LogPosition
    }

    /// Copies on from where this log ends.
    ///
    /// - Parameter progress: Called now and then with the events copied so far; what it throws ends it.
    /// - Throws: ``StoreError/Code/damaged`` with the place where the source stops making sense, or ends
    ///   before `last`.
    package func append(
        from source: some LogReading, through last: Offset, progress: (UInt64) throws -> Void
    ) throws {
        var part = Part(end: end)
        while end.offset < last {
            part.bytes.removeAll(keepingCapacity: true)
            part.commits.removeAll(keepingCapacity: true)
            part.events = 0
            try read(source, through: last, into: &part)
            guard !part.commits.isEmpty else {
                throw StoreError(
                    .damaged,
                    "the log of \(name) ends at \(name)@\(end.offset.rawValue), but"
                        + " \(name)@\(last.rawValue) was in it before; run: tally verify DIR")
            }
            do throws(LMDBError) {
                try write(part)
            } catch {
                throw Self.failure(error, name)
            }
            end = part.end
            events += part.events
            commits += UInt64(part.commits.count)
            try progress(events)
        }
    }

    private func read(
        _ source: some LogReading, through last: Offset, into part: inout Part
    ) throws {
        try source.forEachCommit(from: next(behind: end)) { commit in
            guard commit.firstOffset <= last else { return false }
            let next = next(behind: part.end)
            guard commit.firstOffset == next, commit.timestamp > part.end.timestamp,
                commit.previousHead == part.end.head, commit.lastOffset <= last
            else {
                throw StoreError(
                    .damaged,
                    "the commit at \(name)@\(commit.firstOffset.rawValue) does not follow the one"
                        + " before it, which ends before \(name)@\(next.rawValue); run: tally verify"
                        + " DIR")
            }
            // Sound: the bytes are copied before the closure returns.
            commit.withBytes { bytes in
                unsafe bytes.withUnsafeBytes { unsafe part.bytes.append(contentsOf: $0) }
            }
            part.commits.append((commit.firstOffset.rawValue, part.bytes.count))
            part.events += UInt64(commit.eventCount)
            part.end = LogPosition(
                offset: commit.lastOffset, head: commit.head, timestamp: commit.timestamp)
            return part.bytes.count < Self.partLength
        }
    }

    private func next(behind end: LogPosition) -> Offset {
        end.offset == .none ? first : Offset(end.offset.rawValue + 1)
    }

    private func write(_ part: Part) throws(LMDBError) {
        let transaction = try environment.beginWrite()
        var start = 0
        for (key, end) in part.commits {
            try unsafe transaction.append(log, key: key, byteCount: end - start) { target in
                unsafe part.bytes.withUnsafeBytes { bytes in
                    // In bounds: the ends rise, and the last one is the count.
                    let commit = unsafe UnsafeRawBufferPointer(rebasing: bytes[start..<end])
                    unsafe target.copyMemory(from: commit)
                }
            }
            start = end
        }
        try transaction.commit()
    }

    /// Flushes and closes the log.
    package func finish() throws(StoreError) {
        do throws(LMDBError) {
            try environment.sync()
            try environment.close()
        } catch {
            throw Self.failure(error, name)
        }
    }
}

extension Ledger {
    /// Bytes of a shard's file that are in use: what its copy takes, about.
    ///
    /// - Throws: ``StoreError`` when the file is not whole enough to tell.
    package func bytesInUse(of shard: ShardID) throws(StoreError) -> UInt64 {
        try check(shard)
        do throws(StructureError) {
            let report = try StructureCheck.check(file: dataPath(of: shard), depth: .quick)
            let pages = report.lastPage + 1
            return (pages - min(pages, report.freePages)) * UInt64(report.pageSize)
        } catch {
            throw failure(error, shard)
        }
    }
}

extension Files {
    /// Bytes that this user may still write where a path is; `nil` when the system does not say.
    package static func bytesFree(at path: String) -> UInt64? {
        var status = statvfs()
        guard unsafe statvfs(path, &status) == 0 else { return nil }
        return UInt64(status.f_bavail) * UInt64(status.f_frsize)
    }
}
