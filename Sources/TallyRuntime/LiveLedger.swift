internal import CoreMetrics
internal import Foundation
internal import Logging
internal import Synchronization
internal import TallyAudit
public import TallyCore
public import TallyStore

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
///
///     let live = try LiveLedger(ledger, program: Margin.self)
///     let performed = try await live.perform(Array("250".utf8), on: desk)
///     let settled = try await live.outcome(of: performed.messages[0])
///     await live.close()
///
/// The ledger takes over its transport and closes it. A ledger that is dropped without ``close()`` closes
/// its shards in good order, a little later.
public final class LiveLedger<P: Program>: Sendable {
    /// The ledger that runs.
    public let ledger: Ledger
    private let transport: any Transport
    private let options: RuntimeOptions
    private let workers: [WriterThread<P>]
    private let feeds: [ShardID: LogFeed]
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
        feeds = Dictionary(uniqueKeysWithValues: slots.map { ($0.shard, $0.feed) })
        let threadCount = max(1, min(options.threadsMax, slots.count))
        var groups: [[ShardSlot<P>]] = Array(repeating: [], count: threadCount)
        for (index, slot) in slots.enumerated() { groups[index % threadCount].append(slot) }
        workers = groups.map { WriterThread(SlotBox(slots: $0)) }
        for worker in workers {
            for shard in worker.shards {
                let limit = options.envelopesWaitingMax
                let mailbox = worker.mailbox
                let dropped = ShardMetrics.droppedEnvelopes(
                    options.metrics, ledger: ledger.manifest.name,
                    shard: ledger.shards.name(of: shard))
                transport.attach(shard) { bytes in
                    if !mailbox.post((shard, .envelope(bytes)), limit: limit) {
                        dropped.increment()
                    }
                }
            }
        }
        for worker in workers { worker.start() }
    }

    deinit {
        for worker in workers { worker.end() }
        transport.close()
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
        var logger = options.logger
        logger[metadataKey: "shard"] = .string(ledger.shards.name(of: shard))
        for warning in writable.warnings { logger.warning("\(warning)") }
        let state = try ShardState<P>.opened(ledger, shard, writable.log) {
            logger.warning("\($0)")
        }
        return ShardSlot(
            ledger: ledger, shard: shard, writable: writable, state: state, options: options,
            transport: transport, logger: logger)
    }

    private func worker(of shard: ShardID) throws -> WriterThread<P> {
        guard !isClosed.load(ordering: .relaxed) else {
            throw Self.closed
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
    ///   - correlation: Sixteen bytes that every message it leads to inherits; `nil`: what
    ///     ``RuntimeOptions/correlation`` gives.
    ///   - waitsForRoom: Whether to wait, rather than be refused, while a channel has too much unsettled.
    /// - Returns: The result, durable by then.
    /// - Throws: ``TallyCore/Refusal``: nothing was recorded. ``TallyStore/StoreError``: the outcome is
    ///   unknown; ask again under the same name once the ledger is open again. `CancellationError`: the
    ///   outcome is unknown; ask again under the same name.
    public func perform(
        _ payload: [UInt8], on shard: ShardID, as name: CommandName? = nil,
        correlation: Bytes16? = nil, waitsForRoom: Bool = true
    ) async throws -> Performed {
        let worker = try worker(of: shard)
        let correlation = correlation ?? options.correlation()
        return try await Waiter.value { waiter in
            let command = PendingCommand(
                payload: payload, request: name, correlation: correlation,
                waitsForRoom: waitsForRoom, waiter: waiter)
            if !worker.post(shard, .command(command)) { waiter.resume(throwing: Self.closed) }
        }
    }

    private static var closed: Refusal { Refusal(.closing, "the ledger is closed") }

    /// Waits for the outcome of a message that a shard here has sent.
    ///
    /// - Throws: ``TallyCore/Refusal`` when there is no such message, it was closed as lost, or the ledger
    ///   closes first; the message then stays pending. `CancellationError`: the message goes on.
    public func outcome(of message: MessageName) async throws -> Settled {
        let shard = message.channel.origin
        let worker = try worker(of: shard)
        return try await Waiter.value { waiter in
            if !worker.post(shard, .outcome(message, waiter)) {
                waiter.resume(throwing: Self.closed)
            }
        }
    }

    /// A shard by its name.
    ///
    /// - Throws: ``TallyCore/Refusal`` when the ledger has no such shard.
    public func shard(_ name: String) throws(Refusal) -> ShardID {
        try ShardContext(shard: ShardID(0), directory: ledger.shards).id(of: name)
    }

    /// The messages that a shard has sent and whose outcome is not known, in the order of their names.
    public func pending(of shard: ShardID) async throws -> [MessageName] {
        try await read(shard) { view in
            var names: [MessageName] = []
            for index in view.messaging.peers.indices.dropFirst() {
                view.messaging.peers[index].pending.forEach { sequence, _ in
                    names.append(MessageName(from: shard, to: ShardID(UInt32(index)), sequence))
                    return true
                }
            }
            return names
        }
    }

    /// A shard's durable events from an offset on, and then every new one.
    ///
    /// - Parameters:
    ///   - shard: A shard that is open here.
    ///   - first: 1: from the beginning. The offset behind the last one a read model has seen.
    /// - Throws: ``TallyCore/Refusal`` when the shard is not open here.
    public func events(of shard: ShardID, from first: Offset = Offset(1)) throws -> DurableEvents {
        guard let feed = feeds[shard] else {
            throw Refusal(.unknownShard, "the shard is not open here")
        }
        return DurableEvents(feed: feed, first: max(first, Offset(1)))
    }

    /// Runs a closure on a shard's writer thread, on its state at the durable end.
    public func read<R: Sendable>(
        _ shard: ShardID, _ body: @escaping @Sendable (ShardView<P>) -> R
    ) async throws -> R {
        let worker = try worker(of: shard)
        return try await Waiter.value { waiter in
            let isPosted = worker.post(
                shard,
                .read(
                    { waiter.resume(returning: body($0)) }, { waiter.resume(throwing: $0) }))
            if !isPosted { waiter.resume(throwing: Self.closed) }
        }
    }

    /// Closes in good order: what was accepted becomes durable, what waits is refused, marks say "clean".
    public func close() async {
        isClosed.store(true, ordering: .releasing)
        for worker in workers { await worker.close() }
        transport.close()
    }
}

extension ShardState {
    /// The state a writer begins with: newest snapshot and the log's tail.
    package static func opened(
        _ ledger: Ledger, _ shard: ShardID, _ log: some LogReading,
        _ report: (String) -> Void
    ) throws -> ShardState {
        let snapshot = Snapshot.newest(
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
