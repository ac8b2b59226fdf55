public import TallyCore
public import TallyStore

/// Writes a ledger in the interchange form (see ``InterchangeForm``): the header, then every event of
/// every shard, in header order, then by offset.
///
/// Nothing of a log is kept but the chunk at hand. The sink is called between reads and never inside one,
/// so that a slow reader of the text does not keep a live ledger's old pages from being used again.
///
/// Of a live ledger each log is read through the end it has when its turn comes; ``positions`` makes it
/// a cut.
public struct LedgerExport {
    private let manifest: Manifest
    private let log: (ShardID) throws -> any LogReading
    private let release: (any LogReading) throws -> Void
    /// Where each shard ends; absent: at its log's end. A commit that goes further is left out.
    public var positions: [ShardID: Offset] = [:]

    /// Bytes of text that are collected before the sink gets them.
    static let chunkLength = 256 << 10

    /// An export of a ledger whose logs are opened here, for reading, one at a time.
    public init(_ ledger: Ledger) {
        manifest = ledger.manifest
        log = { try ledger.openForReading($0) }
        release = { try ($0 as? LMDBLog)?.close() }
    }

    /// An export of logs that are open already, and stay open.
    ///
    /// - Parameters:
    ///   - manifest: What the header line says.
    ///   - log: The log of a shard; called once for each, in header order.
    public init(_ manifest: Manifest, log: @escaping (ShardID) throws -> any LogReading) {
        self.manifest = manifest
        self.log = log
        release = { _ in }
    }

    /// Writes everything.
    ///
    /// - Parameter sink: Gets the text in chunks of whole lines, 64 KiB at least but for the last one.
    /// - Returns: How many events were written.
    /// - Throws: ``TallyStore/StoreError`` when a log cannot be read, and what the sink throws.
    @discardableResult
    public func write(to sink: ([UInt8]) throws -> Void) throws -> UInt64 {
        var text = InterchangeHeader.line(of: manifest)
        var events: UInt64 = 0
        for shard in manifest.shards.all {
            let log = try log(shard)
            if let log = log as? LMDBLog { log.adviseSequential() }
            try write(shard, log, &text, &events, to: sink)
            try release(log)
        }
        if !text.isEmpty { try sink(text) }
        return events
    }

    private func write(
        _ shard: ShardID, _ log: any LogReading, _ text: inout [UInt8], _ events: inout UInt64,
        to sink: ([UInt8]) throws -> Void
    ) throws {
        var line = InterchangeLine(shard: shard, directory: manifest.shards)
        let limit = positions[shard]
        var next: Offset? = Offset(1)
        while let from = next {
            next = nil
            try log.forEachCommit(from: from) { commit in
                if let limit, commit.lastOffset > limit { return false }
                line.write(commit, into: &text)
                events &+= UInt64(commit.eventCount)
                guard text.count >= Self.chunkLength else { return true }
                next = Offset(commit.lastOffset.rawValue + 1)
                return false
            }
            guard next != nil else { return }
            try sink(text)
            text.removeAll(keepingCapacity: true)
        }
    }
}
