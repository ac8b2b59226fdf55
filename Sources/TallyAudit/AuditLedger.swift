public import TallyCore
public import TallyStore

/// One shard as an audit sees it: a log, a problem, or (a log with a damaged tail) both.
public struct AuditShard {
    /// The shard.
    public let shard: ShardID
    /// Its name.
    public let name: String
    /// `nil` when there is nothing to read.
    public internal(set) var log: (any LogReading)?
    /// Why the log cannot be read, or not to its end.
    public internal(set) var problem: StoreError?
    /// The words of the writer that ran when the ledger was opened; `nil` when none did.
    public internal(set) var writer: String?
    /// The last commit that this audit reads; `nil` when it cannot be read.
    public internal(set) var end: LogPosition?

    /// Whether a writer runs on it.
    public var isLive: Bool { writer != nil }
}

/// A ledger opened for reading: the whole of it, or as much as can be read.
///
/// A missing or damaged shard is a problem of that shard; the others are read all the same, and
/// ``isPartial`` says so. Nothing is written anywhere, but for a reader slot in a live shard's lock
/// file.
///
/// ## What is read of a live ledger
///
/// Logs that grow while they are read have to be cut so that no receipt is inside whose send is
/// outside. Every log's end is taken twice. What stood in any log at the first reading was sent
/// before it, so its sends are in what the second reading saw. A log that moved in between is
/// therefore cut at time T, the lowest first end of all logs that moved, and so is every other log:
/// the hybrid clock puts a send before its receipt, so "through time T" is causally closed, and a
/// log that did not move holds nothing that the first reading did not see. An idle log bounds
/// nothing. The ends are taken again when T would be far behind. A ledger without a running writer
/// is read to its end.
public final class AuditLedger {
    /// How a ledger is opened for an audit.
    public struct Options: Sendable {
        /// How much of each file is checked before it is opened.
        public var depth = Ledger.StructureCheckDepth.edges
        /// How often a pass is repeated when a writer turns out to have moved what it read.
        public var attemptsMax = 4

        /// The defaults.
        public init() {}
    }

    /// What the ledger is.
    public let manifest: Manifest
    /// `nil` for logs in memory.
    public let ledger: Ledger?
    /// In the manifest's order.
    public private(set) var shards: [AuditShard]
    /// What is read when no position is asked for.
    public private(set) var cut: Cut
    private let options: Options

    /// Opens a ledger.
    ///
    /// - Throws: ``TallyStore/StoreError`` when there is no ledger or no usable manifest; what is
    ///   wrong with a shard is its ``AuditShard/problem``.
    public convenience init(
        _ directory: String, options: Options = Options()
    ) throws(StoreError) {
        self.init(try Ledger(directory), options: options)
    }

    /// Opens what can be opened of a ledger, for reading, and takes the cut that the audit is
    /// about.
    public init(_ ledger: Ledger, options: Options = Options()) {
        self.ledger = ledger
        self.options = options
        manifest = ledger.manifest
        shards = ledger.shards.all.map { Self.open(ledger, $0, options.depth) }
        cut = Cut(shardCount: ledger.shards.count)
        cut = takeCut()
    }

    /// An audit of logs that are at hand; a shard without one is missing.
    ///
    /// - Parameters:
    ///   - manifest: What the ledger is.
    ///   - logs: The log of each shard that has one.
    ///   - live: Shards whose logs may grow meanwhile.
    public init(
        manifest: Manifest, logs: [ShardID: any LogReading], live: Set<ShardID> = []
    ) {
        self.manifest = manifest
        ledger = nil
        options = Options()
        shards = manifest.shards.all.map { shard in
            let name = manifest.shards.name(of: shard)
            let problem =
                logs[shard] == nil
                ? StoreError(.missingShard, "shard \(name) is missing; give its log") : nil
            return AuditShard(
                shard: shard, name: name, log: logs[shard], problem: problem,
                writer: live.contains(shard) ? "this process" : nil)
        }
        cut = Cut(shardCount: manifest.shards.count)
        cut = takeCut()
    }

    private static func open(
        _ ledger: Ledger, _ shard: ShardID, _ depth: Ledger.StructureCheckDepth
    ) -> AuditShard {
        var found = AuditShard(shard: shard, name: ledger.shards.name(of: shard))
        found.writer = ledger.writer(of: shard)
        do {
            let log = try ledger.openForReading(shard, depth: depth)
            log.adviseSequential()
            found.log = log
        } catch {
            found.problem = StoreError(wrapping: error, found.name)
        }
        return found
    }

    /// The shards' names.
    public var directory: ShardDirectory { manifest.shards }

    /// What is wrong with shards, in the manifest's order.
    public var problems: [(shard: ShardID, problem: StoreError)] {
        shards.compactMap { shard in shard.problem.map { (shard.shard, $0) } }
    }
    /// Whether something of the ledger cannot be read.
    public var isPartial: Bool { shards.contains { $0.problem != nil } }
    /// Whether a writer of any shard ran when the ledger was opened.
    public var isLive: Bool { shards.contains(where: \.isLive) }

    /// A shard of the ledger.
    public subscript(_ shard: ShardID) -> AuditShard { shards[Int(shard.rawValue) - 1] }

    func context(_ shard: ShardID) -> ShardContext {
        ShardContext(shard: shard, directory: directory)
    }

    // MARK: The cut

    private func ends() -> [LogPosition?] {
        shards.indices.map { index in
            guard let log = shards[index].log else { return nil }
            do {
                return try log.end()
            } catch {
                shards[index].problem = StoreError(wrapping: error, shards[index].name)
                return nil
            }
        }
    }

    private func takeCut() -> Cut {
        var first = ends()
        var second = first
        var time: Timestamp?
        for _ in 0..<(isLive ? 8 : 0) {
            second = ends()
            let moved = zip(first, second).compactMap { before, after in
                before != after ? before?.timestamp : nil
            }
            time = moved.min()
            let newest = second.compactMap { $0?.timestamp }.max() ?? .none
            guard let time, newest.nanoseconds(since: time) > 1_000_000_000 else { break }
            first = second
        }
        var cut = Cut(shardCount: shards.count)
        for index in shards.indices {
            guard var end = second[index], let log = shards[index].log else { continue }
            if let time, end.timestamp > time {
                do {
                    end = try log.position(
                        atOrBefore: time, through: end.offset, ledger: manifest,
                        shard: shards[index].shard)
                } catch {
                    shards[index].problem = StoreError(wrapping: error, shards[index].name)
                    continue
                }
            }
            shards[index].end = end
            cut.set(shards[index].shard, through: end.offset, at: end.timestamp)
            if let time { cut.readThrough[index + 1] = time }
        }
        return cut
    }

    // MARK: Passes

    /// Runs a pass over the logs so that what it returns was read whole.
    ///
    /// A log without a running writer is read without a slot. When a writer started meanwhile,
    /// pages may have changed under the reader, silently: then the logs concerned are opened again
    /// with a slot, and the pass is repeated. The cut stays the same, because a log only grows.
    func reading<R>(_ pass: () throws -> R) throws -> R {
        var attempt = 1
        while true {
            let before = stillTransactions()
            let result = Result { try pass() }
            guard let ledger else { return try result.get() }
            let after = stillTransactions()
            let moved = before.keys.filter { shard in
                before[shard] != after[shard] || ledger.writer(of: shard) != nil
            }
            if moved.isEmpty { return try result.get() }
            guard attempt < options.attemptsMax else {
                throw StoreError(
                    .held, "the ledger was opened for writing while it was read; read it again")
            }
            for shard in moved.sorted() { try reopen(shard, ledger) }
            attempt += 1
        }
    }

    private func stillTransactions() -> [ShardID: UInt64] {
        var numbers: [ShardID: UInt64] = [:]
        for shard in shards where !shard.isLive {
            guard let log = shard.log as? LMDBLog else { continue }
            numbers[shard.shard] = (try? log.transactionNumber()) ?? 0
        }
        return numbers
    }

    /// Opens a log again with a slot when it has none and a writer runs now.
    ///
    /// - Throws: Why that is not possible; the log is not to be read without one then.
    func takeSlot(_ shard: ShardID) throws {
        if let ledger, !self[shard].isLive { try reopen(shard, ledger) }
    }

    /// Opens a log again with a slot; a log whose writer has gone again stays as it is.
    ///
    /// - Throws: Why that is not possible: what was read without a slot is not to be believed.
    private func reopen(_ shard: ShardID, _ ledger: Ledger) throws {
        // A pass inside this one has opened it already, and repeated only itself.
        if self[shard].isLive { return }
        guard let writer = ledger.writer(of: shard) else { return }
        let log = try ledger.openForReading(shard, depth: .edges)
        shards[Int(shard.rawValue) - 1].log = log
        shards[Int(shard.rawValue) - 1].writer = writer
    }
}

extension StoreError {
    /// The error itself, or any other one as an error of a shard.
    init(wrapping error: any Error, _ name: String) {
        if let error = error as? StoreError {
            self = error
        } else {
            self.init(.damaged, "shard \(name): \(error); run: tally verify DIR", cause: error)
        }
    }
}
