#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#else
    internal import Darwin
#endif

/// Checks the structure of a `data.mdb` without liblmdb, which a damaged file can crash.
///
/// The file is read as bytes with bounded reads and never mapped, so not even a file that is cut
/// while it is read can end the process. The format is that of LMDB 0.9 on a 64-bit little-endian
/// machine. A file is sound if and only if
///
/// 1. it holds every page that is not free, and pages 0 and 1 are metas of the known version
///    (`FileMeta`); a part of a page behind those is what a write that was cut short has left;
/// 2. the metas are those of two neighbouring transactions, or both of a fresh file;
/// 3. every tree is a B+tree of its recorded depth over pages of their own (`TreeWalk`);
/// 4. the free lists are sorted, in range, and share no page with a tree or with each other;
/// 5. what is recorded as counted is what can be counted.
///
/// Record contents are not looked at. A meta that was lost whole leaves the sound file of the
/// commit before it: that is for the mark and the peers to notice, not for this check.
public enum StructureCheck {
    public enum Depth: Sendable, Hashable {
        /// Metas, free list and main tree whole; of each table's tree the paths to its first and
        /// its last record.
        case quick
        /// Every page that can be reached.
        case full
    }

    public struct Report: Sendable, Equatable {
        /// Bytes.
        public let pageSize: Int
        public let newestTransaction: UInt64
        public let lastPage: UInt64
        /// Pages visited, metas and pages of long values included.
        public let reachablePages: UInt64
        public let freePages: UInt64
        /// Pages neither reachable nor free, which liblmdb will never use again; nil when the depth
        /// is `quick`. Harmless.
        public let leakedPages: UInt64?
        public let bytesRead: UInt64
        /// Records in all tables, as the file counts them.
        public let entries: UInt64
        /// Named tables.
        public let tables: Int
    }

    /// How often the metas may move before the check gives up.
    private static let attemptsMax = 16

    /// Checks the file at `path`, the `data.mdb` itself.
    ///
    /// O(visited pages). The file may have a live writer: a fault is believed only if the metas did
    /// not move meanwhile. To be sure of an answer beside a busy writer, hold a read transaction.
    ///
    /// - Throws: ``StructureError``, the first fault found.
    public static func check(
        file path: String, depth: Depth
    ) throws(StructureError) -> Report {
        let reader = try PageReader(path: path, blockSize: depth == .full ? 128 << 10 : 32 << 10)
        if depth == .full { reader.adviseSequential() }
        for _ in 0..<attemptsMax {
            reader.forget()
            let before = try reader.metaBytes()
            do throws(StructureError) {
                return try check(reader, before, depth)
            } catch {
                reader.forget()
                if try reader.metaBytes() == before { throw error }
            }
        }
        throw StructureError(
            code: .unsettled, page: 0, offset: 0,
            message: "the file kept changing while it was checked")
    }

    private static func check(
        _ reader: PageReader, _ metaBytes: [UInt8], _ depth: Depth
    ) throws(StructureError) -> Report {
        let fileSize = try reader.fileSize()
        let metas = try FileMeta.pair(metaBytes, fileSize: fileSize)
        let newest = metas.newest
        let walk = try TreeWalk(reader, metas, fileSize: fileSize)

        let lastFreed = try walk.free(newest.free)
        try metas.checkNewestFreed(lastFreed)
        try walk.checkFileTail()

        let freePages = walk.freePages
        try walk.main(newest.main)
        var entries = newest.main.entries - UInt64(walk.tables.count)
        for table in walk.tables {
            try walk.table(table, wholly: depth == .full)
            entries = try table.adding(entries)
        }
        let reachable = walk.pages.claimed - freePages
        return Report(
            pageSize: newest.pageSize, newestTransaction: newest.transaction,
            lastPage: newest.lastPage, reachablePages: reachable, freePages: freePages,
            leakedPages: depth == .full ? newest.lastPage + 1 - walk.pages.claimed : nil,
            bytesRead: reader.bytesRead, entries: entries, tables: walk.tables.count)
    }
}
