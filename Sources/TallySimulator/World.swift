internal import TallyCore
internal import TallyRuntime
internal import TallyStore

/// A law that does not hold.
struct LawBroken: Error {
    /// A short name of the law, stable.
    var law: String
    var text: String

    init(_ law: String, _ text: String) {
        self.law = law
        self.text = text
    }
}

/// Shards of one ledger: production engines on simulated disks, with clocks of their own. Nothing
/// happens by itself; a driver gives inputs and takes the envelopes.
final class World<P: Program> {
    /// One shard: its disk, its clock, and its engine while it is up.
    final class Node {
        let shard: ShardID
        let context: ShardContext
        let disk: SimulatedDisk
        var engine: ShardEngine<P>?
        var facts: Facts
        /// The wall clock's difference from virtual time, and its rate beside it, in parts per million.
        var clockOffset: Int64 = 0
        var clockRate: Int64 = 0
        /// The wall clock stands still at this value.
        var frozenAt: UInt64?
        var wasClean = true
        /// The state that this session began with.
        var start: ShardState<P>
        /// A snapshot's bytes.
        var snapshot: [UInt8]?
        /// The log lost commits that it had promised: forks are lawful from here on.
        var hasForked = false

        init(_ context: ShardContext, _ manifest: Manifest) {
            shard = context.shard
            self.context = context
            disk = SimulatedDisk(name: context.name, ledger: manifest.id, shard: shard)
            facts = Facts(shardCount: context.directory.count)
            start = ShardState(context: context, manifest: manifest)
        }
    }

    let manifest: Manifest
    var options: MachineOptions
    let nodes: [Node]
    /// Virtual nanoseconds since the beginning.
    var now: UInt64 = 0
    var random: SplitMix64
    /// Takes what a shard says, in order.
    var onEnvelope: ((Node, Envelope) -> Void)?
    /// Told of each event that is appended.
    var onFact: ((Node, Fact, Offset) -> Void)?
    /// Told in one line of what happens; `nil`: nobody asks.
    var trace: ((String) -> Void)?
    /// The first law that broke inside a disk's append.
    var broken: LawBroken?
    private(set) var restarts = 0
    var hasForced = false
    var buggifyFired: UInt32 = 0
    /// What the next power loss leaves, where a driver says so: commits behind the last flush, and
    /// whether the mark as it was written last.
    var powerKeeps: (commits: Int, mark: Bool)?

    /// The wall clock at the beginning: 2023-11-14T22:13:20Z.
    static var epoch: UInt64 { 1_700_000_000_000_000_000 }

    init(
        _ names: [String], seed: UInt64, options: MachineOptions, isOrdered: Bool,
        unordered: [(Int, Int)] = []
    ) throws {
        guard let directory = ShardDirectory(names) else {
            throw LawBroken("set-up", "these are no names of shards: \(names)")
        }
        random = SplitMix64(seed: seed)
        self.options = options
        var manifest = Manifest(
            name: "simulation", id: Bytes16(low: random.next(), high: random.next()),
            program: P.name, shards: directory)
        manifest.isOrdered = isOrdered
        let all = directory.all
        for (from, to) in unordered {
            manifest.unordered.insert(Channel(origin: all[from], destination: all[to]))
        }
        self.manifest = manifest
        nodes = directory.all.map {
            Node(ShardContext(shard: $0, directory: directory), manifest)
        }
        for node in nodes {
            node.disk.onAppend = { [unowned self, unowned node] commit, _ in
                take(commit, node)
            }
        }
    }

    subscript(_ shard: ShardID) -> Node { nodes[Int(shard.rawValue) - 1] }
    var directory: ShardDirectory { manifest.shards }
    func name(_ shard: ShardID) -> String { directory.name(of: shard) }

    func note(_ line: @autoclosure () -> String) {
        if let trace { trace(line()) }
    }

    // MARK: Clocks

    func clock(_ node: Node) -> Now {
        Now(wall: Timestamp(wall(node)), ticks: now)
    }

    private func wall(_ node: Node) -> UInt64 {
        if let frozenAt = node.frozenAt { return frozenAt }
        let drift = Int64(now / 1_000_000) * node.clockRate
        return UInt64(Int64(Self.epoch + now) + node.clockOffset + drift)
    }

    func freeze(_ node: Node) { node.frozenAt = node.frozenAt ?? wall(node) }

    // MARK: One shard

    /// Gives a shard an input.
    ///
    /// - Returns: `nil` when the shard is down, or died of it.
    @discardableResult
    func take(_ input: Input, _ node: Node) throws -> StepResult? {
        guard let engine = node.engine else { return nil }
        return try survive(node) { try engine.take(input, now: clock(node)) }
    }

    /// Makes durable what a shard has collected, and releases what may be said.
    func flush(_ node: Node) throws {
        guard let engine = node.engine else { return }
        guard let envelopes = try survive(node, { try engine.flush(now: clock(node)) }) else {
            return
        }
        let durable = node.disk.durableEnd
        guard engine.durable.offset <= durable.offset else {
            throw LawBroken(
                "durability",
                "\(name(node.shard)) takes @\(engine.durable.offset.rawValue) for durable;"
                    + " the disk has promised @\(durable.offset.rawValue)")
        }
        for envelope in envelopes {
            try check(envelope, durable, node)
            onEnvelope?(node, envelope)
        }
        try checkLive(node)
    }

    /// Runs what may meet a faulty disk.
    private func survive<Value>(_ node: Node, _ body: () throws -> Value) throws -> Value? {
        do {
            let value = try body()
            if let broken { throw broken }
            return value
        } catch is PowerLoss {
            losePower(node)
        } catch let error as StoreError {
            if node.disk.isPowerDue {
                losePower(node)
            } else {
                note("\(name(node.shard)) fails: \(error)")
                stop(node)
            }
        }
        if let broken { throw broken }
        return nil
    }

    /// The process is gone; the disk is as it is.
    func kill(_ node: Node) {
        guard node.engine != nil else { return }
        note("\(name(node.shard)) is killed")
        stop(node)
    }

    private func stop(_ node: Node) {
        if let fired = node.engine?.machine.buggify?.fired { buggifyFired |= fired }
        node.engine = nil
        node.wasClean = false
    }

    /// Power fails: what was not flushed is lost, from some commit on.
    func losePower(_ node: Node) {
        stop(node)
        let before = node.disk.commits.count
        let keeps = powerKeeps ?? (Int(random.next() % 3), random.next() % 2 == 0)
        let promised = node.disk.losePower(keeping: keeps.commits, keepsMark: keeps.mark)
        let lost = before - node.disk.commits.count
        note(
            "\(name(node.shard)) loses power; its log ends at @\(node.disk.end().offset.rawValue)"
                + (lost > 0 ? ", \(lost) commits are lost, \(promised) of them promised" : ""))
        if promised > 0 { node.hasForked = true }
        node.facts.truncate(to: node.disk.end().offset, areGhosts: promised > 0)
        node.snapshot = promised > 0 ? nil : node.snapshot
    }

    /// An older copy of the log is put into place of a shard that is down.
    func restore(_ node: Node, to count: Int, withMark: Bool) {
        stop(node)
        let epoch = node.start.messaging.epoch
        note(
            "\(name(node.shard)) is restored from \(node.disk.commits.count) to \(count) commits,"
                + (withMark ? " the mark too" : " the mark not"))
        node.disk.restore(to: count, withMark: withMark, epoch: epoch)
        node.hasForked = true
        node.facts.truncate(to: node.disk.end().offset, areGhosts: true)
    }

    /// Opens a shard through the same steps as production: compare with the mark, fold, begin a session.
    ///
    /// - Parameter acceptsBehindMark: An operator accepts a log behind its mark.
    func open(_ node: Node, acceptsBehindMark: Bool = true) throws {
        node.disk.settle()
        let end = node.disk.end()
        let conflict = try Ledger.compare(node.disk.mark, end, node.disk, name(node.shard))
        let refusedMark = conflict == nil ? nil : node.disk.mark?.position
        if let conflict {
            guard node.hasForked else { throw LawBroken("mark", conflict.text) }
            guard acceptsBehindMark else { throw conflict }
        }
        var state = try startState(node)
        state = try fold(state, node)
        node.start = state
        restarts += end.offset == .none ? 0 : 1
        var options = options
        options.seed = random.next()
        if options.buggify != nil { options.buggify = Buggify(seed: random.next()) }
        let engine = ShardEngine(
            state: state, store: node.disk, mark: node.disk, options: options)
        node.engine = engine
        note("\(name(node.shard)) opens at @\(end.offset.rawValue)")
        let nonce = Bytes16(low: random.next(), high: random.next())
        let isClean = node.wasClean && end.offset != .none
        try take(.open(nonce: nonce, clean: isClean), node)
        if let mark = refusedMark {
            try take(
                .intervene(
                    .acceptMark(offset: mark.offset, head: mark.head, reason: Array("mark".utf8))),
                node)
        }
        try flush(node)
        try take(.wake, node)
        try flush(node)
    }

    /// What a session starts to fold from: a snapshot that counts, or nothing.
    private func startState(_ node: Node) throws -> ShardState<P> {
        if let snapshot = node.snapshot {
            do {
                return try Snapshot.read(snapshot, node.context, manifest, log: node.disk)
            } catch {
                note("\(name(node.shard)) skips its snapshot: \(error)")
            }
        }
        return ShardState<P>(context: node.context, manifest: manifest)
    }

    func fold(_ start: ShardState<P>, _ node: Node) throws -> ShardState<P> {
        var state = start
        do {
            try state.fold(node.disk, checksChain: true)
        } catch {
            throw LawBroken("log", "the log of \(name(node.shard)) cannot be folded: \(error)")
        }
        return state
    }

    /// Keeps a snapshot of what a shard holds now.
    func cutSnapshot(_ node: Node) throws {
        guard let engine = node.engine, !engine.hasCollected,
            engine.end.offset == node.disk.durableEnd.offset
        else { return }
        node.snapshot = try Snapshot.bytes(
            of: engine.state(from: node.start), in: manifest)
    }

    /// Closes a shard in good order.
    func close(_ node: Node) throws {
        guard let engine = node.engine else { return }
        try flush(node)
        guard node.engine != nil else { return }
        let closed: Void? = try survive(node) { try engine.close(now: clock(node)) }
        guard closed != nil else { return }
        note("\(name(node.shard)) is closed")
        stop(node)
        node.wasClean = true
    }

    /// An operator lets a stopped shard go on with what it has, if that is what it stopped for.
    func acceptFork(_ node: Node) throws {
        guard case .fork(let peer, _, let statement, _, _)? = node.engine?.stop else {
            return
        }
        guard nodes.contains(where: \.hasForked) else {
            throw LawBroken("stop", "\(name(node.shard)) sees a fork where there is none")
        }
        note("an operator accepts the fork of \(name(node.shard)) that \(name(peer)) has seen")
        stop(node)
        try open(node)
        try take(
            .intervene(.acceptPeer(peer, statement, reason: Array("accepted".utf8))), node)
        try flush(node)
    }
}
