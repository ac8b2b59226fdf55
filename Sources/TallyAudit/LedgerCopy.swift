public import TallyCore
public import TallyStore

/// A consistent copy of a ledger, of a live one too.
///
/// Each log is copied through its place in one cut (see ``AuditLedger``): no receipt is in the copy
/// whose send is not. The copied logs have the same bytes and heads as the source, as far as they go.
/// Snapshots are not copied, they can be made again; marks are.
///
/// A copy is evidence, and sealed against writing. One that may be written has the ledger's own id: two
/// ledgers that both go on from there are a fork.
public struct LedgerCopy: Sendable {
    public struct Options: Sendable {
        /// Whether the copy may be opened for writing.
        public var isWritable = false
        /// How deep the copy is verified before it gets its name; `nil`: not at all.
        public var verifiedThrough: VerifyLevel? = .chain

        public init() {}
    }

    public struct Shard: Sendable {
        public var shard: ShardID
        public var events: UInt64
        public var commits: UInt64
        public var end: LogPosition
    }

    /// The copy in its place; `nil` when it was verified, findings came up, and it was removed again.
    public var ledger: Ledger?
    public var shards: [Shard]
    /// Whether a writer of any shard ran.
    public var isOfLive: Bool
    /// `nil` when it was not verified.
    public var report: VerifyReport?
    /// Logs that do not reach what their mark says was released, in the copy as in the source.
    public var behindMark: [StoreError]

    public var events: UInt64 { shards.reduce(0) { $0 + $1.events } }

    /// Thrown to have everything removed.
    private struct Contradicted: Error {}

    /// Copies a ledger into a new directory: built beside its place, flushed, verified, then renamed, so
    /// that it is there wholly or not at all.
    ///
    /// - Parameters:
    ///   - source: The ledger; a writer may run.
    ///   - directory: The copy's place; nothing is there yet.
    ///   - options: Whether the copy may be written, and how it is verified.
    ///   - progress: Called now and then with the events copied so far, and how many there are. What it
    ///     throws ends the copying.
    /// - Throws: ``TallyStore/StoreError``: the shard that cannot be read, or how much room is missing;
    ///   nothing is left behind then.
    public static func make(
        of source: Ledger, at directory: String, options: Options = Options(),
        progress: (_ done: UInt64, _ total: UInt64) throws -> Void = { _, _ in }
    ) throws -> LedgerCopy {
        if options.isWritable { try checkMayBeWritten(source) }
        // Before the cut: what a mark says was released is in the log by then.
        let marks = source.shards.all.map { Mark.read(source.markPath(of: $0)) }
        let audit = AuditLedger(source)
        if let problem = audit.problems.first?.problem {
            let isTold = problem.text.contains("tally verify")
            throw StoreError(
                problem.code,
                problem.text + "; nothing was copied"
                    + (isTold ? "" : "; what is wrong: tally verify \(source.directory)"))
        }
        try checkRoom(source, Files.parent(of: directory))
        var copy = LedgerCopy(
            ledger: nil, shards: [], isOfLive: audit.isLive, report: nil, behindMark: [])
        var manifest = source.manifest
        manifest.isSealed = !options.isWritable
        let total = audit.shards.reduce(0) { $0 + ($1.end?.offset.rawValue ?? 0) }
        do {
            copy.ledger = try Ledger.create(directory, manifest) { ledger in
                for shard in audit.shards {
                    try copy.take(shard, of: audit, into: ledger) { done in
                        try progress(done, total)
                    }
                    try copy.carry(marks[Int(shard.shard.rawValue) - 1], shard, into: ledger)
                }
                guard let level = options.verifiedThrough else { return }
                copy.report = try Verify.run(Opaque.self, AuditLedger(ledger), through: level)
                try progress(total, total)
                // A log behind its mark is so in the source, too.
                let own = copy.report?.findings.contains { $0.code != "behind-mark" }
                if own == true { throw Contradicted() }
            }
        } catch is Contradicted {
            return copy
        }
        return copy
    }

    private static func checkMayBeWritten(_ source: Ledger) throws(StoreError) {
        let manifest = source.manifest
        guard manifest.isNative, manifest.windows.isEmpty else {
            throw StoreError(
                .sealed,
                "\(source.directory) is a foreign import, or part of a ledger: no copy of it can be"
                    + " written; copy it without --writable")
        }
    }

    private static func checkRoom(_ source: Ledger, _ parent: String) throws(StoreError) {
        // Beside the log each shard has a lock file, a mark and directories.
        var needed: UInt64 = 1 << 16
        for shard in source.shards.all {
            needed += try source.bytesInUse(of: shard) + (1 << 16)
        }
        guard let free = Files.bytesFree(at: parent), free < needed else { return }
        throw StoreError(
            .full,
            "the copy needs \(needed) bytes, and \(parent) has \(free) left; nothing was copied: free"
                + " some space or choose another place")
    }

    private mutating func take(
        _ shard: AuditShard, of audit: AuditLedger, into ledger: Ledger,
        _ progress: (UInt64) throws -> Void
    ) throws {
        let copied = try LogCopy(into: ledger, shard.shard)
        let before = events
        // Repeated when a writer started meanwhile: what was copied by then hangs together, and goes on.
        try audit.reading {
            guard let log = audit[shard.shard].log, let end = shard.end else { return }
            try copied.append(from: log, through: end.offset) { try progress(before + $0) }
            guard copied.end == end else {
                throw StoreError(
                    .damaged,
                    "the log of \(shard.name) has another head at"
                        + " \(shard.name)@\(end.offset.rawValue) than it had; run: tally verify DIR"
                )
            }
        }
        try copied.finish()
        shards.append(
            Shard(
                shard: shard.shard, events: copied.events, commits: copied.commits,
                end: copied.end))
    }

    /// Gives a copied log its mark: the source's, or its own end where that is before it, because all of
    /// a log before its mark was released. A log that is behind its mark stays behind it.
    private mutating func carry(
        _ mark: Mark?, _ shard: AuditShard, into ledger: Ledger
    ) throws {
        guard var mark, let log = shard.log, let end = shards.last?.end else { return }
        if let conflict = try Ledger.compare(mark, log.end(), log, shard.name) {
            behindMark.append(conflict)
        } else if end.offset < mark.position.offset {
            mark.position = end
            mark.isClean = false
        }
        let file = try MarkFile(ledger.markPath(of: shard.shard))
        try file.write(mark, isFlushed: true)
        try Files.syncDirectory(ledger.path(of: shard.shard))
    }
}
