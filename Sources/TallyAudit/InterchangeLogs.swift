import TallyCore
import TallyStore

/// The logs of a ledger while it is imported: collects the events of each shard's next commit, checks
/// and appends it when the commit is over.
struct ImportLogs {
    private let ledger: Ledger
    private var shards: [Shard]
    /// Logs that are open; each takes three descriptors and the address space of a whole map.
    private var open: [Int: LMDBLog] = [:]
    private var lastUse: [Int: UInt64] = [:]
    private var uses: UInt64 = 0
    static let openMax = 200

    /// One shard: its log's end, and the commit that is being collected.
    private struct Shard {
        let id: ShardID
        let name: String
        let window: ClosedRange<UInt64>?
        var end: LogPosition
        var events: UInt64 = 0
        var commits: UInt64 = 0

        var builder = CommitBuilder()
        /// The line of each event in the builder.
        var lines: [Int] = []
        /// The `commit` that the lines of the builder carry.
        var commit: UInt64?
        /// The `head` that the last of them carries.
        var head: Digest?

        var nextOffset: UInt64 {
            if !builder.isEmpty { return builder.lastOffset.rawValue + 1 }
            return end.offset == .none ? window?.lowerBound ?? 1 : end.offset.rawValue + 1
        }
    }

    init(_ ledger: Ledger) {
        self.ledger = ledger
        let manifest = ledger.manifest
        shards = manifest.shards.all.map { shard in
            Shard(
                id: shard, name: manifest.shards.name(of: shard), window: manifest.windows[shard],
                end: LogPosition(
                    offset: .none, head: Hashing.seed(ledger: manifest.id, shard: shard),
                    timestamp: .none))
        }
    }

    /// Adds one event to the commit it belongs to.
    ///
    /// - Throws: ``TallyStore/StoreError`` with the number of the line that is not well-formed; it
    ///   may be an earlier one.
    mutating func append(_ record: InterchangeRecord, line: Int) throws {
        let index = Int(record.shard.rawValue) - 1
        if !shards[index].builder.isEmpty, !joins(record, shards[index]) { try flush(index) }
        try check(record, shards[index], line)
        if shards[index].builder.isEmpty {
            shards[index].builder.open(
                firstOffset: Offset(shards[index].nextOffset), timestamp: record.time,
                epoch: record.epoch)
            shards[index].commit = record.commit
        }
        shards[index].builder.append(
            record.event, payload: record.payload, result: record.result)
        shards[index].lines.append(line)
        shards[index].head = record.head
        guard shards[index].builder.bytes.count <= CommitFormat.commitLengthMax else {
            throw malformed(
                line, "the commit is larger than \(CommitFormat.commitLengthMax) bytes")
        }
    }

    /// Appends what is still collected and closes every log, which flushes it.
    mutating func finish() throws -> [ImportReport.Shard] {
        for index in shards.indices where !shards[index].builder.isEmpty { try flush(index) }
        for index in open.keys.sorted() { try close(index) }
        return shards.map {
            ImportReport.Shard(shard: $0.id, events: $0.events, commits: $0.commits, end: $0.end)
        }
    }

    /// Closes every log; what they hold is about to be removed.
    mutating func abandon() {
        for log in open.values { try? log.close() }
        open = [:]
    }

    // MARK: One line

    private func malformed(_ line: Int, _ text: String) -> StoreError {
        StoreError(.malformed, "line \(line): \(text)")
    }

    /// Whether a line belongs to the commit that is being collected.
    private func joins(_ record: InterchangeRecord, _ shard: Shard) -> Bool {
        guard record.commit == shard.commit else { return false }
        return record.commit != nil || record.time == shard.builder.timestamp
    }

    private func check(_ record: InterchangeRecord, _ shard: Shard, _ line: Int) throws {
        let next = shard.nextOffset
        if let offset = record.offset, offset != next {
            throw malformed(
                line, "offset \(next) of \(shard.name) is expected, not \(offset)")
        }
        if let window = shard.window, next > window.upperBound {
            throw malformed(
                line,
                "offset \(next) of \(shard.name) lies beyond the shard's window, which ends at"
                    + " \(window.upperBound)")
        }
        if shard.builder.isEmpty {
            if let commit = record.commit, commit != next {
                throw malformed(
                    line,
                    "the commit that begins at offset \(next) of \(shard.name) is named \(commit);"
                        + " its name is its first offset")
            }
            guard record.time > shard.end.timestamp else {
                throw malformed(
                    line,
                    "the time \(record.time) of \(shard.name) is not later than that of the commit"
                        + " before, \(shard.end.timestamp)")
            }
            return
        }
        guard record.time == shard.builder.timestamp else {
            throw malformed(line, "the events of one commit have different times")
        }
        guard record.epoch == shard.builder.epoch else {
            throw malformed(line, "the events of one commit have different epochs")
        }
        guard shard.head == nil else {
            throw malformed(
                shard.lines.last ?? line, "head stands on an event that is not its commit's last")
        }
    }

    // MARK: One commit

    private mutating func flush(_ index: Int) throws {
        shards[index].builder.seal(previousHead: shards[index].end.head)
        try validate(shards[index])
        let log = try log(index)
        let end = try log.append(shards[index].builder, expecting: shards[index].end.head)
        if let head = shards[index].head, head != end.head {
            throw malformed(
                shards[index].lines.last ?? 0,
                "head says \(head), but the log's head there is \(end.head): a line of"
                    + " \(shards[index].name) was changed, or one is missing")
        }
        shards[index].end = end
        shards[index].events &+= UInt64(shards[index].builder.eventCount)
        shards[index].commits &+= 1
        shards[index].builder.clear()
        shards[index].lines.removeAll(keepingCapacity: true)
        shards[index].commit = nil
        shards[index].head = nil
    }

    /// Checks the sealed commit against the whole validity rule.
    private func validate(_ shard: Shard) throws {
        let builder = shard.builder
        do {
            // Sound: the view does not leave the closure.
            try unsafe builder.bytes.span.bytes.withCommit(key: builder.firstOffset) { _ in }
        } catch let error as CommitError {
            // The event that holds the byte; the commit's first line for a fault of its header.
            let event = builder.starts.lastIndex { $0 <= error.byte } ?? 0
            throw malformed(shard.lines[event], error.text)
        }
    }

    private mutating func log(_ index: Int) throws -> LMDBLog {
        uses &+= 1
        lastUse[index] = uses
        if let log = open[index] { return log }
        if open.count >= Self.openMax,
            let oldest = open.keys.min(by: { lastUse[$0] ?? 0 < lastUse[$1] ?? 0 })
        {
            try close(oldest)
        }
        let shard = shards[index]
        let log = try LMDBLog(
            directory: ledger.path(of: shard.id), name: shard.name, ledger: ledger.manifest.id,
            shard: shard.id, access: .write(.process),
            first: Offset(shard.window?.lowerBound ?? 1))
        open[index] = log
        return log
    }

    private mutating func close(_ index: Int) throws {
        try open.removeValue(forKey: index)?.close()
    }
}
