// swift-format-ignore-file: NeverForceUnwrap, NeverUseForceTry

@testable import TallyCore

/// Some shards, the network and the clock between them, all in the test's hands.
///
/// Every envelope ever released stays in ``bag`` and may be delivered again at any time. What is
/// appended is durable only once ``flush(_:through:)`` says so; a crash keeps any prefix from
/// there on. A node is an object: the compiler of Swift 6.3.1 frees a yielded struct of a machine
/// too early in a debug build.
final class Duel {
    /// One shard: its machine and its log.
    final class Node {
        var machine: ShardMachine<Errands>
        var log: MemoryLog
        /// Commits that are durable.
        var durable = 0

        init(_ machine: ShardMachine<Errands>, _ log: MemoryLog) {
            self.machine = machine
            self.log = log
        }
    }
    struct Flight {
        var bytes: [UInt8]
        var envelope: Envelope
        var isFresh = true
    }

    static let a = ShardID(1)
    static let b = ShardID(2)
    static let c = ShardID(3)

    let directory: ShardDirectory
    let rules: MessagingState.Rules
    var options: MachineOptions
    var nodes: [Node] = []
    var bag: [Flight] = []
    private var freshFrom = 0
    /// Nanoseconds of virtual time: ticks, and the wall clock but for a shard's error.
    var clock: UInt64 = 1_000_000_000_000
    var clockError: [Int64]
    /// Seals, flushes and releases after every input.
    var isAutomatic = true
    var nonces: SplitMix64
    private var nextCommand: UInt64 = 0
    /// Sees each commit as it is appended.
    var onAppend: ((ShardID, ArraySlice<LogRecord>) -> Void)?
    /// Sees each envelope as it leaves.
    var onRelease: ((Envelope, LogPosition) -> Void)?

    init(
        shards: Int = 2, rules: MessagingState.Rules = MessagingState.Rules(),
        options: MachineOptions = MachineOptions(), seed: UInt64 = 1, connected: Bool = true
    ) {
        directory = ShardDirectory(Array(["a", "b", "c", "d"].prefix(shards)))!
        self.rules = rules
        self.options = options
        nonces = SplitMix64(seed: seed)
        clockError = Array(repeating: 0, count: shards)
        for shard in directory.all {
            let log = MemoryLog(shard)
            nodes.append(Node(machine(shard, log), log))
            open(shard)
        }
        if connected { precondition(settle(), "fresh shards do not connect") }
    }

    subscript(_ shard: ShardID) -> Node { nodes[Int(shard.rawValue) - 1] }

    func context(_ shard: ShardID) -> ShardContext {
        ShardContext(shard: shard, directory: directory)
    }

    func now(_ shard: ShardID) -> Now {
        let wall = Int64(clock) + clockError[Int(shard.rawValue) - 1]
        return Now(wall: Timestamp(UInt64(wall)), ticks: clock)
    }

    private func machine(_ shard: ShardID, _ log: MemoryLog) -> ShardMachine<Errands> {
        let state = try! log.refold(context(shard), rules: rules)
        var options = options
        options.seed = nonces.next()
        return ShardMachine(
            context: context(shard), options: options, messaging: state.messaging,
            application: state.application, durable: log.end)
    }

    private func open(_ shard: ShardID) {
        let nonce = Bytes16(low: nonces.next(), high: nonces.next())
        input(shard, .open(nonce: nonce, clean: false))
    }

    // MARK: One shard

    /// Gives an input; seals first when the machine asks for it.
    @discardableResult
    func input(_ shard: ShardID, _ input: Input) -> StepResult {
        var result = step(shard, input)
        if case .sealFirst = result {
            precondition(!self[shard].machine.commit.isEmpty, "nothing to seal")
            seal(shard)
            result = step(shard, input)
            if case .sealFirst = result { preconditionFailure("sealed, and asked to seal again") }
        }
        if isAutomatic { flush(shard) }
        return result
    }

    func step(_ shard: ShardID, _ input: Input) -> StepResult {
        let node = self[shard]
        return node.machine.step(input, now: now(shard), log: node.log)
    }

    /// Appends what the machine has collected, as one commit.
    func seal(_ shard: ShardID) {
        let node = self[shard]
        guard !node.machine.commit.isEmpty else { return }
        node.machine.seal(previousHead: node.log.end.head)
        let before = node.log.records.count
        try! node.log.append(node.machine.commit.bytes)
        node.machine.sealed()
        onAppend?(shard, node.log.records[before...])
    }

    /// Makes commits durable (all, or a first few), and puts what may leave into the bag.
    func flush(_ shard: ShardID, through count: Int? = nil) {
        if count == nil { seal(shard) }
        let node = self[shard]
        node.durable = count ?? node.log.commits.count
        let position = node.log.position(through: node.durable)
        let envelopes = node.machine.release(durable: position)
        guard node.machine.stop == nil else { return }
        for envelope in envelopes {
            precondition(envelope.header.durableEnd == position)
            onRelease?(envelope, position)
            bag.append(Flight(bytes: envelope.encoded(), envelope: envelope))
        }
    }

    /// Loses what was not sealed, all but some commits, and starts again in a new session.
    func crash(_ shard: ShardID, keeping count: Int? = nil) {
        let kept = count ?? self[shard].durable
        precondition(kept >= self[shard].durable, "a durable commit cannot be lost in a crash")
        restore(shard, to: kept)
    }

    /// Puts an old copy of the log into place, and starts a new session.
    func restore(_ shard: ShardID, to count: Int) {
        let node = self[shard]
        node.log.truncate(to: count)
        node.durable = count
        node.machine = machine(shard, node.log)
        open(shard)
    }

    @discardableResult
    func order(
        _ shard: ShardID, _ order: Order, client: UInt64 = 1, sequence: UInt64? = nil,
        settledThrough: UInt64 = 0
    ) -> CommandOutcome {
        nextCommand += 1
        let command = Command(
            client: Bytes16(low: client, high: 0),
            sequence: SequenceNumber(sequence ?? nextCommand),
            settledThrough: SequenceNumber(settledThrough), payload: order.bytes)
        guard case .command(let outcome) = input(shard, .command(command)) else {
            preconditionFailure("a command has an outcome")
        }
        return outcome
    }

    @discardableResult
    func send(_ shard: ShardID, _ errands: Errand...) -> CommandOutcome {
        order(shard, .send(errands))
    }

    func wake(_ shard: ShardID) { input(shard, .wake) }

    // MARK: The network

    /// Delivers a flight of the bag, through its byte form.
    func deliver(_ index: Int) {
        bag[index].isFresh = false
        deliver(bag[index].bytes)
    }

    func deliver(_ bytes: [UInt8]) {
        let envelope = Envelope(decoding: bytes)!
        precondition(envelope.encoded() == bytes, "an envelope has one form")
        guard directory.contains(envelope.header.receiver) else { return }
        for one in Input.inputs(of: envelope) { input(envelope.header.receiver, one) }
    }

    func deliver(_ envelope: Envelope) { deliver(envelope.encoded()) }

    var fresh: [Int] {
        while freshFrom < bag.count, !bag[freshFrom].isFresh { freshFrom += 1 }
        return bag.indices[freshFrom...].filter { bag[$0].isFresh }
    }

    /// Loses everything that is under way; the bag keeps it.
    func lose() { for index in fresh { bag[index].isFresh = false } }

    /// The flights that satisfy a condition, oldest first.
    func flights(where condition: (Envelope) -> Bool) -> [Int] {
        bag.indices.filter { condition(bag[$0].envelope) }
    }

    // MARK: Fairness

    /// Shards that have not stopped.
    var live: [ShardID] { directory.all.filter { self[$0].machine.stop == nil } }

    /// Whether a shard hears the present session of another one.
    func hears(_ shard: ShardID, _ other: ShardID) -> Bool {
        self[shard].machine.links[Int(other.rawValue)].heard
            == self[other].machine.messaging.session
    }

    /// Whether all live shards hear each other and nothing between them is pending.
    var isQuiet: Bool {
        let live = live
        return live.allSatisfy { shard in
            live.allSatisfy { other in
                hears(shard, other)
                    && self[shard].machine.messaging.peers[Int(other.rawValue)].pending.isEmpty
            }
        }
    }

    /// Carries what is under way, wakes who wants it, answers what is owed, until all is quiet.
    ///
    /// - Returns: False when it does not come to rest in time.
    func settle(rounds: Int = 400, answering: Bool = false) -> Bool {
        for _ in 0..<rounds {
            for index in fresh { deliver(index) }
            if !fresh.isEmpty { continue }
            if isQuiet { return true }
            if answering {
                for shard in live where self[shard].machine.messaging.owedCount > 0 {
                    order(shard, .answerOwed(accepted: true))
                }
            }
            clock = max(clock + 1, live.compactMap { self[$0].machine.nextWake }.min() ?? 0)
            for shard in live where (self[shard].machine.nextWake ?? .max) <= clock {
                wake(shard)
            }
        }
        return false
    }
}

extension Envelope {
    var isDelivery: Bool { if case .deliver = content { true } else { false } }
    var isAnswer: Bool { if case .answer = content { true } else { false } }
    var isAsk: Bool { if case .confirmAsk = content { true } else { false } }
    var isConfirmed: Bool { if case .confirmed = content { true } else { false } }
    var isConflict: Bool { if case .conflict = content { true } else { false } }
    var isRefused: Bool { if case .refused = content { true } else { false } }

    var deliveries: [Delivery] { if case .deliver(let items) = content { items } else { [] } }
    var answers: [AnswerItem] { if case .answer(let items) = content { items } else { [] } }
}
