internal import Foundation
import Logging
import TallyCore
import TallyStore

/// What a writer thread is asked to do for one of its shards.
enum Work<P: Program>: Sendable {
    case envelope([UInt8])
    case command(PendingCommand)
    case read(@Sendable (ShardView<P>) -> Void, @Sendable (any Error) -> Void)
    case outcome(MessageName, Waiter<Settled>)
    case close
}

struct PendingCommand: Sendable {
    var payload: [UInt8]
    /// `nil`: the ledger's own client, whose sequences are given out on the writer thread.
    var request: CommandName?
    var correlation: Bytes16
    var waitsForRoom: Bool
    var waiter: Waiter<Performed>
}

/// One shard on its writer thread: the engine, and who waits for what. Owned by that thread alone.
final class ShardSlot<P: Program> {
    let shard: ShardID
    let engine: ShardEngine<P>
    /// What readers beside this thread may see.
    let feed: LogFeed
    private let logger: Logger
    private var metrics: ShardMetrics
    /// What the metrics know of the engine's own counts.
    private var counted: (commits: UInt64, events: UInt64) = (0, 0)
    /// The writer's lock; let go once the log is closed.
    private var writable: WritableShard?
    private let wasClean: Bool
    private let ledger: Ledger
    private let options: RuntimeOptions
    private let transport: any Transport
    private let ownClient: Bytes16
    private var start: ShardState<P>
    private var completions: [(through: Offset, Waiter<Performed>, Performed)] = []
    private var parked: [PendingCommand] = []
    private var awaited: [MessageName: [Waiter<Settled>]] = [:]
    private var newlyAwaited: [(MessageName, Waiter<Settled>)] = []
    private var reads: [(@Sendable (ShardView<P>) -> Void, @Sendable (any Error) -> Void)] = []
    private var failure: (any Error)?
    private var isStopReported = false
    private var isClosing = false
    private var snapshotAt: UInt64
    private let snapshotsUnderWay = DispatchGroup()
    private var pressureReadAt: UInt64 = 0
    private var pressure = DiskPressure.none
    private var ownSequence: UInt64 = 0

    init(
        ledger: Ledger, shard: ShardID, writable: WritableShard, state: ShardState<P>,
        options: RuntimeOptions, transport: any Transport, logger: Logger
    ) {
        self.ledger = ledger
        self.shard = shard
        self.writable = writable
        wasClean = writable.wasClean
        self.options = options
        self.transport = transport
        self.logger = logger
        metrics = ShardMetrics(
            options.metrics, ledger: ledger.manifest.name, shard: ledger.shards.name(of: shard),
            state.messaging)
        feed = LogFeed(shard, writable.log, durable: state.position.offset)
        start = state
        snapshotAt = options.snapshotEvery
        ownClient = Files.random16()
        var machine = options.machine
        machine.seed ^= UInt64(shard.rawValue) &* 0x9E37_79B9
        machine.tracksSettled = true
        engine = ShardEngine(
            state: state, store: writable.log, mark: writable.markFile, options: machine)
    }

    /// Appends and flushes `opened`: nothing is said before it is durable.
    func open(now: Now) {
        attempt {
            _ = try engine.take(
                .open(nonce: Files.random16(), clean: wasClean), now: now)
            send(try flushed(now: now))
        }
        let messaging = engine.machine.messaging
        logger.debug(
            "session opened",
            metadata: [
                "session": "\(messaging.epoch.rawValue)", "clean": "\(wasClean)",
                "pending": "\(messaging.pendingCount)", "owed": "\(messaging.owedCount)",
                "offset": "\(messaging.offset.rawValue)",
            ])
        metrics.sample(messaging, isStopped: failure != nil, now: now)
    }

    /// Makes what was collected durable, counts it, and shows it to readers.
    private func flushed(now: Now) throws -> [Envelope] {
        let before = engine.machine.durable.offset
        let began = SystemClock.now().ticks
        let envelopes = try engine.flush(now: now)
        let durable = engine.machine.durable.offset
        guard durable != before else { return envelopes }
        let took = SystemClock.now().ticks &- began
        metrics.flushed(
            commits: engine.commits - counted.commits, events: engine.events - counted.events,
            nanoseconds: took)
        counted = (engine.commits, engine.events)
        feed.advance(to: durable)
        logger.trace(
            "flushed",
            metadata: ["offset": "\(durable.rawValue)", "nanoseconds": "\(took)"])
        return envelopes
    }

    private func attempt(_ body: () throws -> Void) {
        guard failure == nil else { return }
        do {
            try body()
        } catch {
            failure = error
            logger.error("\(error)")
            failAll(error)
            feed.stop(error)
        }
    }

    private func failAll(_ error: any Error) {
        failUnsettled(error)
        for waiting in newlyAwaited { waiting.1.resume(throwing: error) }
        newlyAwaited = []
        for read in reads { read.1(error) }
        reads = []
    }

    /// Fails who waits for what a stopped shard will not do; it can still be read.
    private func failUnsettled(_ error: any Error) {
        for completion in completions { completion.1.resume(throwing: error) }
        completions = []
        for command in parked { command.waiter.resume(throwing: error) }
        parked = []
        for waiting in awaited.values {
            for waiter in waiting { waiter.resume(throwing: error) }
        }
        awaited = [:]
    }

    func handle(_ work: Work<P>, now: Now) {
        if let failure {
            switch work {
            case .command(let command): command.waiter.resume(throwing: failure)
            case .read(_, let fail): fail(failure)
            case .outcome(_, let waiter): waiter.resume(throwing: failure)
            case .envelope, .close: break
            }
            return
        }
        switch work {
        case .envelope(let bytes):
            guard let envelope = Envelope(decoding: bytes) else { return }
            attempt {
                for input in Input.inputs(of: envelope) { _ = try engine.take(input, now: now) }
            }
        case .command(let command):
            perform(command, now: now)
        case .read(let body, let fail):
            reads.append((body, fail))
        case .outcome(let message, let waiter):
            newlyAwaited.append((message, waiter))
        case .close:
            isClosing = true
        }
    }

    private func perform(_ pending: PendingCommand, now: Now) {
        if isClosing {
            pending.waiter.resume(throwing: Refusal(.closing, "the ledger is closing"))
            return
        }
        // Cancelled before it was decided: nothing is recorded.
        if pending.waiter.isDone { return }
        let name =
            pending.request
            ?? CommandName(
                client: ownClient, sequence: SequenceNumber(ownSequence + 1),
                settledThrough: SequenceNumber(ownSequence))
        let command = Command(
            client: name.client, sequence: name.sequence, settledThrough: name.settledThrough,
            correlation: pending.correlation, payload: pending.payload)
        do {
            guard case .command(let outcome) = try engine.take(.command(command), now: now) else {
                return
            }
            switch outcome {
            case .recorded(let performed), .known(let performed):
                if pending.request == nil { ownSequence += 1 }
                completions.append((performed.through, pending.waiter, performed))
            case .refused(let refusal):
                metrics.refused(refusal.code)
                logger.debug(
                    "command refused",
                    metadata: ["code": "\(refusal.code)", "text": "\(refusal.text)"])
                if refusal.code == .backpressure, pending.waitsForRoom {
                    parked.append(pending)
                } else {
                    pending.waiter.resume(throwing: refusal)
                }
            }
        } catch {
            pending.waiter.resume(throwing: error)
            attempt { throw error }
        }
    }

    /// Does what is due, makes the batch durable, and lets go what may go.
    func flush(now: Now) {
        readPressure(now: now)
        attempt {
            if let wake = engine.machine.nextWake, wake <= now.ticks {
                _ = try engine.take(.wake, now: now)
            }
            repeat {
                let envelopes = try flushed(now: now)
                completeDurable()
                send(envelopes)
                // What is let in here is flushed here: nothing else may come for a while.
            } while !engine.takeSettledFor(self).isEmpty && letIn(now: now)
        }
        let isStopped = failure != nil || engine.machine.stop != nil
        metrics.sample(engine.machine.messaging, isStopped: isStopped, now: now)
        guard failure == nil else { return }
        reportStop()
        answerWaiting()
        if engine.events >= snapshotAt { snapshot() }
    }

    /// Tries the commands that wait for room again.
    ///
    /// - Returns: Whether there were any.
    private func letIn(now: Now) -> Bool {
        let again = parked
        parked = []
        for command in again { perform(command, now: now) }
        return !again.isEmpty && failure == nil
    }

    private func completeDurable() {
        let durable = engine.machine.durable.offset
        var rest = completions[...]
        while let first = rest.first, first.through <= durable {
            first.1.resume(returning: first.2)
            rest = rest.dropFirst()
        }
        completions = Array(rest)
    }

    func settled(_ settled: Settled) {
        guard let waiting = awaited.removeValue(forKey: settled.message) else { return }
        for waiter in waiting { waiter.resume(returning: settled) }
    }

    private func send(_ envelopes: [Envelope]) {
        for envelope in envelopes {
            transport.send(envelope.encoded(), to: envelope.header.receiver)
        }
    }

    private func reportStop() {
        guard let stop = engine.machine.stop, !isStopReported else { return }
        isStopReported = true
        let text = stop.text(ledger.shards, shard)
        logger.error("\(text)")
        failUnsettled(Refusal(.stopped, text))
        feed.stop(Refusal(.stopped, text))
    }

    private func answerWaiting() {
        let view = ShardView<P>(
            messaging: engine.machine.messaging, application: engine.machine.application,
            durable: engine.machine.durable, counters: engine.machine.counters,
            stop: engine.machine.stop)
        let waitingReads = reads
        reads = []
        for read in waitingReads { read.0(view) }
        let waiting = newlyAwaited
        newlyAwaited = []
        for (message, waiter) in waiting where !waiter.isDone { register(message, waiter) }
    }

    private func register(_ message: MessageName, _ waiter: Waiter<Settled>) {
        let channel = message.channel
        guard channel.origin == shard, ledger.shards.contains(channel.destination),
            let peer = engine.machine.messaging.peer(channel.destination),
            message.sequence != .none, message.sequence < peer.next
        else {
            waiter.resume(
                throwing: Refusal(
                    .notApplicable, "\(ledger.shards.text(message)) was never sent"))
            return
        }
        if peer.pending[message.sequence] != nil {
            if let stop = engine.machine.stop {
                // Nothing settles here any more.
                waiter.resume(
                    throwing: Refusal(.stopped, stop.text(ledger.shards, shard)))
                return
            }
            // Who was cancelled meanwhile is forgotten here.
            awaited[message] = (awaited[message] ?? []).filter { !$0.isDone } + [waiter]
            return
        }
        let last = engine.lastRecord { record in
            (record.event.kind == .acknowledged || record.event.kind == .timedOut)
                && record.event.peer == channel.destination
                && record.event.sequence == message.sequence
        }
        guard let (offset, found) = last else {
            waiter.resume(
                throwing: Refusal(
                    .notApplicable, "\(ledger.shards.text(message)) was closed as lost"))
            return
        }
        let result: MessageResult =
            found.event.kind == .timedOut
            ? .timedOut : found.event.outcome == .accepted ? .accepted : .rejected
        waiter.resume(
            returning: Settled(
                message: message, result: result, payload: found.payload, offset: offset))
    }

    private func readPressure(now: Now) {
        guard now.ticks &- pressureReadAt > 250_000_000 else { return }
        pressureReadAt = now.ticks
        let pressure = DiskRoom.pressure(ledger.path(of: shard))
        engine.setPressure(pressure)
        guard pressure != self.pressure else { return }
        self.pressure = pressure
        logger.warning("\(pressure.text)")
    }

    /// Cuts a snapshot of the durable state; the file is written off the writer thread.
    private func snapshot() {
        snapshotAt = engine.events + options.snapshotEvery
        let state = engine.state(from: start)
        let (ledger, logger) = (ledger, logger)
        DispatchQueue.global().async(group: snapshotsUnderWay) {
            do {
                try Snapshot.write(state, to: ledger)
                logger.debug(
                    "snapshot written", metadata: ["offset": "\(state.position.offset.rawValue)"])
            } catch {
                logger.warning("no snapshot was written: \(error)")
            }
        }
    }

    /// When this shard wants to be looked at again, in ticks.
    var nextWake: UInt64? { failure == nil ? engine.machine.nextWake : nil }

    func close(now: Now) {
        isClosing = true
        snapshotsUnderWay.wait()
        attempt {
            let envelopes = try flushed(now: now)
            completeDurable()
            send(envelopes)
            for settled in engine.takeSettled() { self.settled(settled) }
            reportStop()
            answerWaiting()
            if engine.events >= options.snapshotAtCloseMin, options.snapshotEvery != .max,
                engine.machine.stop == nil
            {
                try Snapshot.write(engine.state(from: start), to: ledger)
            }
        }
        failAll(Refusal(.closing, "the ledger is closing"))
        let isStopped = failure != nil || engine.machine.stop != nil
        metrics.sample(engine.machine.messaging, isStopped: isStopped, now: now, isLast: true)
        feed.close()
        do {
            try engine.close(now: now)
            logger.debug(
                "closed", metadata: ["offset": "\(engine.end.offset.rawValue)"])
        } catch {
            logger.error("\(error)")
        }
        writable = nil
    }
}

extension DiskPressure {
    /// One line for an operator.
    fileprivate var text: String {
        switch self {
        case .none: "the disk has room again; commands are taken"
        case .refusesCommands: "the disk is nearly full; commands are refused until there is room"
        case .refusesMessages:
            "the disk is all but full; commands and new messages are refused until there is room"
        }
    }
}

extension ShardEngine {
    /// Hands what settled to whoever waits for it.
    fileprivate func takeSettledFor(_ slot: ShardSlot<P>) -> [Settled] {
        let settled = takeSettled()
        for message in settled { slot.settled(message) }
        return settled
    }
}
