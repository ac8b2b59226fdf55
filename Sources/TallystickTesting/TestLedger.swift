public import TallyCore
public import TallyRuntime
public import TallyStore

/// A ledger in memory: production shards, with the clock and the network in the test's hands.
///
/// Each shard is a ``TallyRuntime/ShardEngine`` over a ``VolatileLog``. Nothing happens by itself: time
/// stands until ``advance(by:)``, an envelope waits in ``network`` until it is delivered, dropped or
/// settled. There is no thread and no sleep, and no randomness but that of the seed: the same seed and
/// the same calls give the same bytes in every log.
///
/// ```swift
/// let ledger = try TestLedger(["trades-0", "collateral-0"], program: Venue.self)
/// try ledger.perform(deposit, on: "collateral-0")
/// let message = try ledger.perform(trade, on: "trades-0").messages[0]
/// try ledger.deliverAll { $0.kind == .deliver }
/// ledger.drop { $0.kind == .answer }
/// try ledger.orphans()                    // unacknowledged
/// try ledger.settle()                     // sent again, answered again
/// ```
///
/// Every call that gives something to a shard ends with a flush and the release of what may go, unless
/// ``hold(_:)`` says otherwise. A call that names a shard which does not exist, or is down, throws ``TestMisuse``.
public final class TestLedger<P: Program> {
    /// A shard: its log, and its engine while it is up.
    final class Node {
        let shard: ShardID
        let log: VolatileLog
        var engine: ShardEngine<P>?
        var wasClean = true
        /// What may be said once what is held is flushed.
        var held: [Envelope] = []

        init(_ shard: ShardID, _ log: VolatileLog) {
            self.shard = shard
            self.log = log
        }
    }

    /// What the ledger is, as an audit sees it.
    public let manifest: Manifest
    /// The limits and paces of shards started from here on; its seed is drawn at each start.
    public var options: MachineOptions
    /// Virtual nanoseconds: the wall clock since 1970, and the ticks.
    public private(set) var now: UInt64
    /// The source of everything random: sessions, jitter, the order of ``reorder()``.
    public var random: SplitMix64
    /// What waits to be delivered, oldest first.
    public internal(set) var network: [WaitingEnvelope] = []
    /// Envelopes that were lost: dropped, sent over a cut link, or to a shard that is down.
    public internal(set) var lostCount: UInt64 = 0
    let nodes: [Node]
    var cuts: Set<Channel> = []
    private var nextEnvelope = 1

    /// The wall clock at the beginning: 2023-11-14T22:13:20Z.
    public static var start: UInt64 { 1_700_000_000_000_000_000 }

    /// Deliveries and wakes of one call at most; beyond, shards keep each other busy without end.
    static var stepsMax: Int { 1_000_000 }

    /// Opens a new ledger with empty logs.
    ///
    /// - Parameters:
    ///   - names: The shards' names.
    ///   - program: The program they run.
    ///   - seed: Of everything random.
    ///   - options: Limits and paces of each shard.
    ///   - isOrdered: Whether channels deliver in sequence order.
    ///   - isConnected: Whether all sessions are confirmed at once; else the first `confirm?` of each
    ///     shard wait in ``network``.
    /// - Throws: ``TestMisuse`` when the names are no names of shards.
    public init(
        _ names: [String], program: P.Type = P.self, seed: UInt64 = 1,
        options: MachineOptions = MachineOptions(), isOrdered: Bool = true,
        isConnected: Bool = true
    ) throws {
        guard let first = names.first else { throw TestMisuse("a ledger has at least one shard") }
        let directory = try ShardContext(first, of: names).directory
        random = SplitMix64(seed: seed)
        var manifest = Manifest(
            name: "test", id: Bytes16(low: random.next(), high: random.next()), program: P.name,
            shards: directory)
        manifest.isOrdered = isOrdered
        self.manifest = manifest
        self.options = options
        now = Self.start
        nodes = directory.all.map { shard in
            Node(
                shard,
                VolatileLog(
                    name: directory.name(of: shard), ledger: manifest.id, shard: shard))
        }
        for node in nodes { try open(node) }
        if isConnected { try settle() }
    }

    // MARK: One shard

    var directory: ShardDirectory { manifest.shards }

    func node(_ name: String) throws -> Node {
        nodes[Int(try directory.shard(name).rawValue) - 1]
    }

    func running(_ node: Node) throws -> ShardEngine<P> {
        guard let engine = node.engine else {
            let name = directory.name(of: node.shard)
            throw TestMisuse("\(name) is down; restart(\"\(name)\") first")
        }
        return engine
    }

    var clock: Now { Now(wall: Timestamp(now), ticks: now) }

    /// Gives inputs to a shard that is up, makes durable what they led to, and releases what may go.
    ///
    /// - Returns: The result of the last one.
    @discardableResult
    func take(_ inputs: [Input], _ node: Node) throws -> StepResult {
        let engine = try running(node)
        var result = StepResult.done
        for input in inputs { result = try engine.take(input, now: clock) }
        try flush(node)
        return result
    }

    private func flush(_ node: Node) throws {
        let envelopes = try running(node).flush(now: clock)
        if node.log.holdsFlushes {
            node.held += envelopes
        } else {
            release(envelopes)
        }
    }

    private func release(_ envelopes: [Envelope]) {
        for envelope in envelopes {
            network.append(
                WaitingEnvelope(
                    id: nextEnvelope, bytes: envelope.encoded(), envelope: envelope,
                    directory: directory, describe: P.describe))
            nextEnvelope += 1
        }
    }

    /// A copy of an envelope, to be delivered as well.
    func copy(_ envelope: WaitingEnvelope) -> WaitingEnvelope {
        defer { nextEnvelope += 1 }
        return WaitingEnvelope(
            id: nextEnvelope, bytes: envelope.bytes, envelope: envelope.envelope,
            directory: directory, describe: P.describe)
    }

    /// Gives any input to a shard: recovery by a plan, a forced timeout, an operator's decision.
    @discardableResult
    public func take(_ input: Input, on shard: String) throws -> StepResult {
        try take([input], node(shard))
    }

    /// Lets a shard perform a command.
    ///
    /// - Parameters:
    ///   - payload: The command, in the program's own bytes.
    ///   - shard: The shard's name.
    ///   - name: The client's name for the command; without one, it is the next command of a client that
    ///     this ledger makes up for the shard.
    /// - Returns: What the log holds of it: now, or since the client asked before.
    /// - Throws: ``TallyCore/Refusal``; ``TestMisuse``.
    @discardableResult
    public func perform(
        _ payload: [UInt8], on shard: String, as name: CommandName? = nil
    ) throws -> Performed {
        let node = try node(shard)
        let client = Bytes16(low: 0x7E57, high: UInt64(node.shard.rawValue))
        let highest = try running(node).machine.messaging.clients[client]?.highest
        let command = Command(
            client: name?.client ?? client,
            sequence: name?.sequence ?? highest?.next ?? SequenceNumber(1),
            settledThrough: name?.settledThrough ?? .none, payload: payload)
        switch try take([.command(command)], node) {
        case .command(.recorded(let performed)), .command(.known(let performed)):
            return performed
        case .command(.refused(let refusal)):
            throw refusal
        case .done, .sealFirst:
            preconditionFailure("an engine answers a command")
        }
    }

    // MARK: Disks and crashes

    /// What a crash takes from a log.
    public enum CrashLoss: Equatable, Sendable {
        /// Everything that was appended is there: the process died, the machine did not.
        case nothing
        /// What was appended and not flushed is gone: the power failed.
        case unflushed
        /// Every commit that ends behind an offset is gone, flushed or not: the disk lied, or an old
        /// backup was restored.
        case after(Offset)
    }

    /// Lets the flushes of a shard hang: it goes on deciding and appending, nothing of it becomes
    /// durable, and nothing that rests on it is said.
    public func hold(_ shard: String) throws { try node(shard).log.holdsFlushes = true }

    /// Ends ``hold(_:)``: what was appended becomes durable, and what rests on it goes on the network.
    public func unhold(_ shard: String) throws {
        let node = try node(shard)
        node.log.holdsFlushes = false
        try node.log.flush()
        release(node.held)
        node.held = []
    }

    /// Stops a shard in the middle of everything. What it has said already stays in ``network``.
    public func crash(_ shard: String, losing loss: CrashLoss = .unflushed) throws {
        let node = try node(shard)
        _ = try running(node)
        node.engine = nil
        node.held = []
        node.wasClean = false
        node.log.holdsFlushes = false
        switch loss {
        case .nothing: try node.log.keep()
        case .unflushed: node.log.lose()
        case .after(let offset): try node.log.lose(after: offset)
        }
    }

    /// Stops a shard in good order.
    public func close(_ shard: String) throws {
        let node = try node(shard)
        try unhold(shard)
        try flush(node)
        try running(node).close(now: clock)
        node.engine = nil
        node.wasClean = true
    }

    /// Starts a shard again: its state is the fold of its log, and it begins a new session.
    public func restart(_ shard: String) throws {
        let node = try node(shard)
        guard node.engine == nil else {
            throw TestMisuse("\(shard) is up; crash or close it first")
        }
        try open(node)
    }

    /// Whether a shard is up.
    public func isUp(_ shard: String) throws -> Bool { try node(shard).engine != nil }

    private func open(_ node: Node) throws {
        let state = try folded(node)
        var options = options
        options.seed = random.next()
        node.engine = ShardEngine(state: state, store: node.log, mark: nil, options: options)
        let nonce = Bytes16(low: random.next(), high: random.next())
        let isClean = node.wasClean && state.position.offset != .none
        try take([.open(nonce: nonce, clean: isClean)], node)
        try take([.wake], node)
    }

    func folded(_ node: Node) throws -> ShardState<P> {
        var state = ShardState<P>(
            context: ShardContext(shard: node.shard, directory: directory), manifest: manifest)
        try state.fold(node.log, checksChain: true)
        return state
    }

    // MARK: Time

    /// The shard that wants to be woken first, and when; `nil` when none does.
    var earliestWake: (at: UInt64, node: Node)? {
        var earliest: (at: UInt64, node: Node)?
        for node in nodes {
            guard let wake = node.engine?.machine.nextWake else { continue }
            if wake < earliest?.at ?? .max { earliest = (wake, node) }
        }
        return earliest
    }

    /// When a shard wants to do something by itself (send again, ask again); `nil`: none does.
    public var nextWake: UInt64? { earliestWake?.at }

    /// Lets time pass; what is due on the way happens in the order of its time, then of the shards.
    public func advance(by nanoseconds: UInt64) throws {
        let end = now + nanoseconds
        var steps = 0
        while let wake = earliestWake, wake.at <= end {
            now = max(now, wake.at)
            try take([.wake], wake.node)
            steps += 1
            guard steps < Self.stepsMax else {
                throw TestMisuse("\(steps) wakes did not bring time to \(end)")
            }
        }
        now = end
    }
}
