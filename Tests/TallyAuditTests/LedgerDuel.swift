import Foundation
import TallyAudit
import TallyCore
import TallyStore

/// A directory that goes away with the test.
final class Scratch {
    let path: String
    init() throws {
        path = NSTemporaryDirectory() + "tally-audit-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }
    deinit { try? FileManager.default.removeItem(atPath: path) }
}

struct StoredLog: OwnLog {
    let log: LMDBLog
    func record(at offset: Offset) -> LogRecord? { try? log.record(at: offset) }
    func digest(_ message: MessageContent) -> Digest { Hashing.digest(message) }
}

/// A ledger on disk with its machines, and the network between them in the test's hands.
final class LedgerDuel {
    struct Node {
        var machine: ShardMachine<Courier>
        var store: WritableShard
        var end: LogPosition
        var commands: UInt64 = 0
    }

    static let a = ShardID(1)
    static let b = ShardID(2)

    let scratch: Scratch
    let ledger: Ledger
    var options = MachineOptions()
    var nodes: [ShardID: Node] = [:]
    /// What is under way.
    var bag: [Envelope] = []
    /// Virtual nanoseconds: ticks and the wall clock.
    var clock: UInt64 = 1_700_000_000_000_000_000
    var client: UInt64 = 1
    private var nonces = SplitMix64(seed: 5)

    init(shards: Int = 2, ordered: Bool = true, connected: Bool = true) throws {
        scratch = try Scratch()
        var manifest = Manifest(
            name: "duel", id: Bytes16(low: 7, high: 8), program: Courier.name,
            shards: Hand.directory(shards))
        manifest.isOrdered = ordered
        ledger = try Ledger.create(scratch.path + "/ledger", manifest)
        options.retries = false
        try start(connected: connected)
    }

    /// Takes over a ledger that exists already.
    init(_ ledger: Ledger, scratch: Scratch, clock: UInt64) throws {
        self.scratch = scratch
        self.ledger = ledger
        self.clock = clock
        client = clock
        nonces = SplitMix64(seed: clock)
        options.retries = false
        try start(connected: false)
    }

    private func start(connected: Bool) throws {
        for shard in ledger.shards.all { try open(shard) }
        if connected { try connect() }
    }

    func connect() throws {
        for shard in ledger.shards.all { try input(shard, .wake) }
        try deliver()
    }

    func open(_ shard: ShardID) throws {
        client += 1
        let store = try ledger.openForWriting(shard, durability: .process)
        var state = ShardState<Courier>(
            context: ledger.context(shard), manifest: ledger.manifest)
        try state.fold(store.log)
        nodes[shard] = Node(
            machine: ShardMachine(
                context: ledger.context(shard), options: options, messaging: state.messaging,
                application: state.application, durable: state.position),
            store: store, end: state.position)
        try input(
            shard, .open(nonce: Bytes16(low: nonces.next(), high: nonces.next()), clean: false))
    }

    /// Stops a writer; what is under way stays in the bag.
    func close(_ shard: ShardID) throws {
        try nodes[shard]?.store.log.close()
        nodes[shard] = nil
    }
    func close() throws { for shard in ledger.shards.all { try close(shard) } }

    func audit() throws -> AuditLedger { try AuditLedger(ledger.directory) }

    @discardableResult
    func input(_ shard: ShardID, _ input: Input) throws -> StepResult {
        guard var node = nodes[shard] else { return .done }
        nodes[shard] = nil
        clock += 1_000_000
        let now = Now(wall: Timestamp(clock), ticks: clock)
        let log = StoredLog(log: node.store.log)
        var result = node.machine.step(input, now: now, log: log)
        if case .sealFirst = result {
            bag += try flush(&node)
            result = node.machine.step(input, now: now, log: log)
        }
        bag += try flush(&node)
        nodes[shard] = node
        return result
    }

    private func flush(_ node: inout Node) throws -> [Envelope] {
        if !node.machine.commit.isEmpty {
            node.machine.seal(previousHead: node.end.head)
            node.end = try node.store.log.append(node.machine.commit, expecting: node.end.head)
            try node.store.markFile.write(
                Mark(position: node.end, epoch: node.machine.messaging.epoch, isClean: false),
                isFlushed: false)
            node.machine.sealed()
        }
        return node.machine.release(durable: node.end)
    }

    /// Carries what is under way until nothing is; what the closure refuses is lost.
    func deliver(unless isLost: (Envelope) -> Bool = { _ in false }) throws {
        while !bag.isEmpty {
            let envelope = bag.removeFirst()
            if isLost(envelope) { continue }
            for one in Input.inputs(of: envelope) { try input(envelope.header.receiver, one) }
        }
    }

    func command(_ shard: ShardID, _ payload: [UInt8]) throws {
        nodes[shard]?.commands += 1
        let command = Command(
            client: Bytes16(low: UInt64(shard.rawValue), high: client),
            sequence: SequenceNumber(nodes[shard]?.commands ?? 1),
            correlation: Bytes16(low: 3, high: UInt64(payload.count)), payload: payload)
        let result = try input(shard, .command(command))
        guard case .command(.recorded) = result else {
            preconditionFailure("the command was not recorded: \(result)")
        }
    }

    /// Sends; nothing is carried yet.
    @discardableResult
    func send(
        _ shard: ShardID, _ other: ShardID, _ message: [UInt8] = [0], deadline: UInt8 = 0
    ) throws -> MessageName {
        let next = nodes[shard]?.machine.messaging.peer(other)?.next ?? .none
        try command(shard, [1, UInt8(other.rawValue), deadline] + message)
        return MessageName(from: shard, to: other, next)
    }

    func folded(_ shard: ShardID) throws -> ShardState<Courier> {
        var state = ShardState<Courier>(
            context: ledger.context(shard), manifest: ledger.manifest)
        guard let node = nodes[shard] else { preconditionFailure("the shard is closed") }
        try state.fold(node.store.log)
        return state
    }
}

extension Envelope {
    var isDelivery: Bool { if case .deliver = content { true } else { false } }
    var isAnswer: Bool { if case .answer = content { true } else { false } }
}

/// One commit of a log built by hand.
struct HandCommit {
    var time: UInt64
    var epoch: UInt64
    var events: [(event: Event, payload: [UInt8], result: [UInt8])]

    init(_ time: UInt64, epoch: UInt64 = 1, _ events: (Event, [UInt8])...) {
        self.time = time
        self.epoch = epoch
        self.events = events.map { ($0.0, $0.1, []) }
    }
}

/// Events by hand, with what their kind demands.
enum Hand {
    static func opened(_ nonce: UInt64 = 1) -> (Event, [UInt8]) {
        var event = Event(.opened)
        event.identity = Bytes16(low: nonce, high: 1)
        return (event, [])
    }
    static func sent(
        _ to: UInt32, _ sequence: UInt64, _ payload: [UInt8] = [0], deadline: UInt64 = 0
    ) -> (Event, [UInt8]) {
        var event = Event(.sent)
        event.peer = ShardID(to)
        event.sequence = SequenceNumber(sequence)
        event.deadline = Timestamp(deadline)
        return (event, payload)
    }
    static func received(
        _ from: UInt32, _ sequence: UInt64, _ payload: [UInt8] = [0],
        _ outcome: Outcome = .applied, deadline: UInt64 = 0, at offset: UInt64 = 0
    ) -> (Event, [UInt8]) {
        var event = Event(.received)
        event.peer = ShardID(from)
        event.sequence = SequenceNumber(sequence)
        event.outcome = outcome
        event.deadline = Timestamp(deadline)
        event.peerOffset = Offset(offset)
        return (event, payload)
    }
    static func answered(
        _ from: UInt32, _ sequence: UInt64, _ outcome: Outcome = .accepted
    ) -> (Event, [UInt8]) {
        var event = Event(.answered)
        event.peer = ShardID(from)
        event.sequence = SequenceNumber(sequence)
        event.outcome = outcome
        return (event, [])
    }
    static func acknowledged(
        _ to: UInt32, _ sequence: UInt64, _ outcome: Outcome = .accepted, at offset: UInt64 = 0
    ) -> (Event, [UInt8]) {
        var event = Event(.acknowledged)
        event.peer = ShardID(to)
        event.sequence = SequenceNumber(sequence)
        event.outcome = outcome
        event.peerOffset = Offset(offset)
        return (event, [])
    }
    static func timedOut(
        _ to: UInt32, _ sequence: UInt64, forced: Bool = false
    ) -> (Event, [UInt8]) {
        var event = Event(.timedOut)
        event.peer = ShardID(to)
        event.sequence = SequenceNumber(sequence)
        event.reason = forced ? .forced : .none
        return (event, [])
    }
    static func witnessed(_ peer: UInt32, _ offset: UInt64, _ head: Digest) -> (Event, [UInt8]) {
        var event = Event(.witnessed)
        event.peer = ShardID(peer)
        event.peerEpoch = Epoch(1)
        event.identity = Bytes16(low: 1, high: 1)
        event.peerOffset = Offset(offset)
        event.held = head
        return (event, [])
    }

    static func accepted(
        _ peer: UInt32, receivedThrough: UInt64 = 0, settledThrough: UInt64 = 0,
        statement: UInt64 = 0
    ) -> (Event, [UInt8]) {
        var event = Event(.intervened)
        event.reason = .peer
        event.peer = ShardID(peer)
        event.peerEpoch = Epoch(1)
        event.receivedThrough = SequenceNumber(receivedThrough)
        event.settledThrough = SequenceNumber(settledThrough)
        event.statementOffset = Offset(statement)
        return (event, [])
    }

    static func directory(_ shards: Int) -> ShardDirectory {
        guard let directory = ShardDirectory(Array(["a", "b", "c", "d"].prefix(shards))) else {
            preconditionFailure("one to four shards")
        }
        return directory
    }

    static func manifest(
        _ shards: Int = 2, native: Bool = true, answers: Bool = true, ordered: Bool = true
    ) -> Manifest {
        var manifest = Manifest(
            name: "hand", id: Bytes16(low: 1, high: 2), program: "",
            shards: directory(shards))
        manifest.isNative = native
        manifest.hasAnswers = answers
        manifest.isOrdered = ordered
        manifest.isSealed = !native
        return manifest
    }

    /// Appends commits with contiguous offsets and right heads.
    static func append(_ commits: [HandCommit], to log: some LogStore) throws {
        var end = try log.end()
        for commit in commits {
            var builder = CommitBuilder()
            builder.open(
                firstOffset: Offset(end.offset.rawValue + 1), timestamp: Timestamp(commit.time),
                epoch: Epoch(commit.epoch))
            for one in commit.events {
                builder.append(one.event, payload: one.payload, result: one.result)
            }
            builder.seal(previousHead: end.head)
            end = try log.append(builder, expecting: end.head)
        }
    }

    static func log(_ manifest: Manifest, _ shard: UInt32, _ commits: [HandCommit]) throws
        -> MemoryLog
    {
        let log = MemoryLog(
            name: manifest.shards.name(of: ShardID(shard)), ledger: manifest.id,
            shard: ShardID(shard))
        try append(commits, to: log)
        return log
    }

    /// An audit of logs in memory, one list of commits per shard; `nil`: the shard is missing.
    static func audit(_ manifest: Manifest, _ logs: [[HandCommit]?]) throws -> AuditLedger {
        var made: [ShardID: any LogReading] = [:]
        for (index, commits) in logs.enumerated() {
            guard let commits else { continue }
            made[ShardID(UInt32(index + 1))] = try log(manifest, UInt32(index + 1), commits)
        }
        return AuditLedger(manifest: manifest, logs: made)
    }

    /// The commits of a log, for building it again.
    static func commits(of log: some LogReading) throws -> [HandCommit] {
        var commits: [HandCommit] = []
        try log.forEachCommit(from: Offset(1)) { view in
            var commit = HandCommit(view.timestamp.rawValue, epoch: view.epoch.rawValue)
            view.forEach { commit.events.append(($0.event, $0.payload, $0.result)) }
            commits.append(commit)
            return true
        }
        return commits
    }

    /// Builds a ledger again in another directory, its logs changed by the closure; marks and
    /// snapshots are not taken along.
    static func rebuild(
        _ ledger: Ledger, at path: String,
        _ change: (ShardID, [HandCommit]) -> [HandCommit] = { $1 }
    ) throws -> Ledger {
        let copy = try Ledger.create(path, ledger.manifest)
        for shard in ledger.shards.all {
            let log = try ledger.openForReading(shard)
            let store = try copy.openForWriting(shard, durability: .process)
            try append(change(shard, commits(of: log)), to: store.log)
            try store.log.close()
        }
        return copy
    }
}
