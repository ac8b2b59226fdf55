public import TallyCore
public import TallyStore

/// What an import made.
public struct ImportReport: Sendable {
    /// What was imported of one shard.
    public struct Shard: Sendable {
        /// The shard.
        public var shard: ShardID
        /// Events imported.
        public var events: UInt64
        /// Commits made of them.
        public var commits: UInt64
        /// Where its log ends.
        public var end: LogPosition
    }

    /// The new ledger, sealed.
    public var ledger: Ledger
    /// One per shard, in header order.
    public var shards: [Shard]
    /// Lines read, the header included.
    public var lines: Int

    /// Events imported, of all shards.
    public var events: UInt64 { shards.reduce(0) { $0 + $1.events } }
    /// Commits made, of all shards.
    public var commits: UInt64 { shards.reduce(0) { $0 + $1.commits } }
}

/// Makes a ledger from a file in the interchange form (see ``InterchangeForm``): a copy of one made here
/// byte for byte, or evidence of a foreign system. Either is sealed against writing.
///
/// A commit is a run of lines of one shard with the same `commit`, or, where that is absent, with the
/// same time. Offsets that are absent are assigned, `head`s that are given are compared. Lines of
/// different shards may stand in any order among each other.
public enum Import {
    /// Imports a file.
    ///
    /// - Parameters:
    ///   - file: A path; `-` is standard input.
    ///   - directory: The new ledger.
    ///   - progress: Called now and then with the number of events read so far.
    /// - Throws: ``TallyStore/StoreError``, `malformed` with the number of the line for anything that is
    ///   not well-formed; nothing is left behind then.
    public static func run(
        _ file: String, to directory: String, progress: ((UInt64) -> Void)? = nil
    ) throws -> ImportReport {
        let reader = try LineReader(file, lengthMax: InterchangeForm.lineLengthMax)
        guard try reader.next() else {
            throw StoreError(.malformed, "line 1: the file is empty; a header is expected")
        }
        let manifest = try numbered(reader.number) { () throws(InterchangeFault) in
            try reader.withLine { (line) throws(InterchangeFault) in
                try InterchangeHeader.manifest(line)
            }
        }
        var report: [ImportReport.Shard] = []
        let ledger = try Ledger.create(directory, manifest) { ledger in
            var logs = ImportLogs(ledger)
            do {
                try fill(&logs, reader, manifest, progress)
                report = try logs.finish()
            } catch {
                logs.abandon()
                throw error
            }
        }
        return ImportReport(ledger: ledger, shards: report, lines: reader.number)
    }

    private static func fill(
        _ logs: inout ImportLogs, _ reader: LineReader, _ manifest: Manifest,
        _ progress: ((UInt64) -> Void)?
    ) throws {
        var form = InterchangeReader(manifest.shards)
        while try reader.next() {
            let number = reader.number
            let record = try numbered(number) { () throws(InterchangeFault) in
                try reader.withLine { (line) throws(InterchangeFault) in try form.record(line) }
            }
            try logs.append(record, line: number)
            if let progress, number % 50_000 == 0 { progress(UInt64(number - 1)) }
        }
    }

    private static func numbered<R>(
        _ line: Int, _ body: () throws(InterchangeFault) -> R
    ) throws(StoreError) -> R {
        do throws(InterchangeFault) {
            return try body()
        } catch {
            throw StoreError(
                error.isNewerFormat ? .newerFormat : .malformed, "line \(line): \(error.text)")
        }
    }
}
