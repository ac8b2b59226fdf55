internal import Foundation
internal import Synchronization
public import TallyCore
public import TallyStore

/// How a ledger is run.
public struct RuntimeOptions: Sendable {
    /// Limits and paces of each shard.
    public var machine = MachineOptions()
    /// What a released commit survives.
    public var durability = Durability.power
    /// Writer threads at most; shards share them when there are more shards.
    public var threadsMax = max(2, ProcessInfo.processInfo.activeProcessorCount)
    /// Events between two snapshots of a shard.
    public var snapshotEvery: UInt64 = 1_000_000
    /// A shard that appended fewer events than this is closed without a snapshot.
    public var snapshotAtCloseMin: UInt64 = 1000
    /// Envelopes that may wait for a writer thread; more are dropped, and sent again by their origin.
    public var envelopesWaitingMax = 8192
    /// Address space per shard, in bytes.
    public var mapSize = LMDBLog.mapSizeDefault
    /// Told what an operator should know, one line at a time, from any thread.
    public var report: @Sendable (String) -> Void = { _ in }

    /// The defaults.
    public init() {}
}

/// The name of a command, so that whoever got no answer can ask again and gets the recorded result.
public struct CommandName: Hashable, Sendable {
    /// The client: sixteen bytes of its own choice.
    public var client: Bytes16
    /// The client's own count, from 1.
    public var sequence: SequenceNumber
    /// All its commands through this one will not be asked again.
    public var settledThrough: SequenceNumber

    /// Names a command.
    public init(
        client: Bytes16, sequence: SequenceNumber, settledThrough: SequenceNumber = .none
    ) {
        self.client = client
        self.sequence = sequence
        self.settledThrough = settledThrough
    }
}

/// A shard as its writer sees it at a durable position.
public struct ShardView<P: Program>: Sendable {
    /// The protocol's state.
    public let messaging: MessagingState
    /// The program's state.
    public let application: P.State
    /// The durable end they stand at.
    public let durable: LogPosition
    /// What happened without leaving a trace in the log.
    public let counters: MachineCounters
    /// Why the shard serves no more; `nil` while it does.
    public let stop: Stop?
}

/// A ledger whose shards run: each has a mailbox and is pinned to one writer thread.
///
/// Opening recovers by itself: every shard is folded from its log, sessions are confirmed, and what is
/// pending is sent again.
public final class LiveLedger<P: Program>: Sendable {
    /// The ledger that runs.
    public let ledger: Ledger
    private let transport: any Transport
    private let options: RuntimeOptions
    private let workers: [WriterThread<P>]
    private let isClosed = Atomic<Bool>(false)

    /// Opens every shard of a ledger, or the ones given, for writing and starts their threads.
    ///
    /// - Throws: ``TallyStore/StoreError``; no shard is left open then.
    public init(
        _ ledger: Ledger, program: P.Type = P.self, shards: [ShardID]? = nil,
        transport: any Transport = InProcessTransport(), options: RuntimeOptions = RuntimeOptions()
    ) throws {
        guard ledger.manifest.program == P.name else {
            throw StoreError(
                .unknown,
                "the ledger's program is \(ledger.manifest.program), not \(P.name)")
        }
        self.ledger = ledger
        self.transport = transport
        self.options = options
        let opened = shards ?? ledger.shards.all
        let slots = try Self.openSlots(ledger, opened, transport, options)
        let threadCount = max(1, min(options.threadsMax, slots.count))
        var groups: [[ShardSlot<P>]] = Array(repeating: [], count: threadCount)
        for (index, slot) in slots.enumerated() { groups[index % threadCount].append(slot) }
        workers = groups.map { WriterThread(SlotBox(slots: $0)) }
        for worker in workers {
            for shard in worker.shards {
                let limit = options.envelopesWaitingMax
                let mailbox = worker.mailbox
                transport.attach(shard) { bytes in
                    mailbox.post((shard, .envelope(bytes)), limit: limit)
                }
            }
        }
        for worker in workers { worker.start() }
    }

    /// Opens and folds the shards in parallel.
    private static func openSlots(
        _ ledger: Ledger, _ shards: [ShardID], _ transport: any Transport,
        _ options: RuntimeOptions
    ) throws -> [ShardSlot<P>] {
        // All of them are looked at before the first one is touched.
        for shard in shards where ledger.writer(of: shard) == nil { try ledger.check(shard) }
        let results = Mutex<[(Int, Result<SlotBox<P>, any Error>)]>([])
        DispatchQueue.concurrentPerform(iterations: shards.count) { index in
            let result = Result { () throws -> SlotBox<P> in
                SlotBox(slots: [try openSlot(ledger, shards[index], transport, options)])
            }
            results.withLock { $0.append((index, result)) }
        }
        let sorted = results.withLock { $0 }.sorted { $0.0 < $1.0 }
        return try sorted.flatMap { try $0.1.get().slots }
    }

    private static func openSlot(
        _ ledger: Ledger, _ shard: ShardID, _ transport: any Transport, _ options: RuntimeOptions
    ) throws -> ShardSlot<P> {
        let writable = try ledger.openForWriting(
            shard, durability: options.durability, mapSize: options.mapSize)
        for warning in writable.warnings { options.report(warning) }
        let state = try ShardState<P>.opened(ledger, shard, writable.log, options.report)
        return ShardSlot(
            ledger: ledger, shard: shard, writable: writable, state: state, options: options,
            transport: transport)
    }

    private func worker(of shard: ShardID) throws -> WriterThread<P> {
        guard !isClosed.load(ordering: .relaxed) else {
            throw Refusal(.closing, "the ledger is closed")
        }
        guard let worker = workers.first(where: { $0.shards.contains(shard) }) else {
            throw Refusal(.unknownShard, "the shard is not open here")
        }
        return worker
    }

    /// Has a shard decide on a command.
    ///
    /// - Parameters:
    ///   - payload: The command, in the program's own bytes.
    ///   - shard: The shard that decides.
    ///   - name: Names the command so that it can be asked again; `nil`: it will not be.
    ///   - correlation: Inherited by what the command leads to.
    ///   - waitsForRoom: Whether to wait, rather than be refused, while a channel has too much unsettled.
    /// - Returns: The result, durable by then.
    /// - Throws: ``TallyCore/Refusal``: nothing was recorded. ``TallyStore/StoreError``: the outcome is
    ///   unknown; ask again under the same name once the ledger is open again.
    public func perform(
        _ payload: [UInt8], on shard: ShardID, as name: CommandName? = nil,
        correlation: Bytes16 = .none, waitsForRoom: Bool = true
    ) async throws -> Performed {
        let worker = try worker(of: shard)
        return try await withCheckedThrowingContinuation { continuation in
            let command = PendingCommand(
                payload: payload, request: name, correlation: correlation,
                waitsForRoom: waitsForRoom, continuation: continuation)
            if !worker.post(shard, .command(command)) {
                continuation.resume(throwing: Refusal(.closing, "the ledger is closed"))
            }
        }
    }

    /// Waits for the outcome of a message that a shard here has sent.
    ///
    /// - Throws: ``TallyCore/Refusal`` when there is no such message, it was closed as lost, or the ledger
    ///   closes first; the message then stays pending.
    public func outcome(of message: MessageName) async throws -> Settled {
        let shard = message.channel.origin
        let worker = try worker(of: shard)
        return try await withCheckedThrowingContinuation { continuation in
            if !worker.post(shard, .outcome(message, continuation)) {
                continuation.resume(throwing: Refusal(.closing, "the ledger is closed"))
            }
        }
    }

    /// Runs a closure on a shard's writer thread, on its state at the durable end.
    public func read<R: Sendable>(
        _ shard: ShardID, _ body: @escaping @Sendable (ShardView<P>) -> R
    ) async throws -> R {
        let worker = try worker(of: shard)
        return try await withCheckedThrowingContinuation { continuation in
            let isPosted = worker.post(
                shard,
                .read(
                    { continuation.resume(returning: body($0)) },
                    { continuation.resume(throwing: $0) })
            )
            if !isPosted {
                continuation.resume(throwing: Refusal(.closing, "the ledger is closed"))
            }
        }
    }

    /// Closes in good order: what was accepted becomes durable, what waits is refused, marks say "clean".
    public func close() async {
        isClosed.store(true, ordering: .releasing)
        for worker in workers { await worker.close() }
        transport.close()
    }
}

/// Slots on their way to the thread that will own them.
struct SlotBox<P: Program>: @unchecked Sendable {
    // Sound: a slot is made by one thread, handed over once, and used by the other thread only.
    let slots: [ShardSlot<P>]
}

/// One writer thread with the shards pinned to it.
final class WriterThread<P: Program>: Sendable {
    let shards: [ShardID]
    let mailbox = Mailbox<(ShardID, Work<P>)>()
    private let box: SlotBox<P>
    private struct Closing {
        /// Nothing is posted any more.
        var isClosed = false
        /// The shards are free.
        var isOver = false
        var waiting: [CheckedContinuation<Void, Never>] = []
    }
    private let closing = Mutex(Closing())

    init(_ box: SlotBox<P>) {
        self.box = box
        shards = box.slots.map(\.shard)
    }

    func start() {
        let thread = Thread { [self] in run() }
        thread.name = "tally-writer"
        thread.stackSize = 8 << 20
        thread.start()
    }

    func post(_ shard: ShardID, _ work: Work<P>) -> Bool {
        closing.withLock { closing in
            guard !closing.isClosed else { return false }
            return mailbox.post((shard, work))
        }
    }

    private func run() {
        let slots = Dictionary(uniqueKeysWithValues: box.slots.map { ($0.shard, $0) })
        var now = SystemClock.now()
        for slot in box.slots { slot.open(now: now) }
        while true {
            let items = mailbox.take(waitingAtMost: wait(now: SystemClock.now()))
            now = SystemClock.now()
            var closes = false
            for (shard, work) in items {
                if case .close = work { closes = true }
                slots[shard]?.handle(work, now: now)
            }
            for slot in box.slots { slot.flush(now: now) }
            if closes { break }
        }
        closing.withLock { $0.isClosed = true }
        let rest = mailbox.take(waitingAtMost: 0)
        now = SystemClock.now()
        for (shard, work) in rest { slots[shard]?.handle(work, now: now) }
        for slot in box.slots { slot.close(now: now) }
        let waiting = closing.withLock { closing in
            closing.isOver = true
            return closing.waiting
        }
        for continuation in waiting { continuation.resume() }
    }

    /// Nanoseconds until one of the shards has something to do by itself.
    private func wait(now: Now) -> UInt64 {
        var next = now.ticks &+ 1_000_000_000
        for slot in box.slots {
            if let wake = slot.nextWake { next = min(next, wake) }
        }
        return next > now.ticks ? next - now.ticks : 0
    }

    /// Ends the thread once everything posted so far is done.
    func close() async {
        await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
            let isOver = closing.withLock { closing in
                guard !closing.isOver else { return true }
                closing.waiting.append(continuation)
                // A thread without shards has to end, too.
                mailbox.post((shards.first ?? ShardID(0), .close))
                return false
            }
            if isOver { continuation.resume() }
        }
    }
}

extension ShardState {
    /// The state a writer begins with: newest snapshot and the log's tail.
    package static func opened(
        _ ledger: Ledger, _ shard: ShardID, _ log: some LogReading,
        _ report: (String) -> Void
    ) throws -> ShardState {
        let snapshot = try Snapshot.newest(
            P.self, in: ledger, of: shard, log: log, skipped: report)
        var state =
            snapshot
            ?? ShardState(
                context: ledger.context(shard), manifest: ledger.manifest)
        try state.fold(log)
        guard state.messaging.anomalyCount == 0 else {
            let place = state.messaging.anomalies.first
            throw StoreError(
                .damaged,
                "the log of \(log.name) breaks a law of the protocol"
                    + (place.map { " at \(log.name)@\($0.offset.rawValue): it \($0.code.text)" }
                        ?? "")
                    + "; it is not served; run: tally verify DIR")
        }
        return state
    }
}
