internal import Foundation
import TallyCore
import TallyStore

/// What a writer thread is asked to do for one of its shards.
enum Work<P: Program>: Sendable {
    case envelope([UInt8])
    case command(PendingCommand)
    case read(@Sendable (ShardView<P>) -> Void, @Sendable (any Error) -> Void)
    case outcome(MessageName, CheckedContinuation<Settled, any Error>)
    case close
}

struct PendingCommand: Sendable {
    var payload: [UInt8]
    /// `nil`: the ledger's own client, whose sequences are given out on the writer thread.
    var request: CommandName?
    var correlation: Bytes16
    var waitsForRoom: Bool
    var continuation: CheckedContinuation<Performed, any Error>
}

/// One shard on its writer thread: the engine, and who waits for what. Owned by that thread alone.
final class ShardSlot<P: Program> {
    let shard: ShardID
    let engine: ShardEngine<P>
    /// The writer's lock; let go once the log is closed.
    private var writable: WritableShard?
    private let wasClean: Bool
    private let ledger: Ledger
    private let options: RuntimeOptions
    private let transport: any Transport
    private let ownClient: Bytes16
    private var start: ShardState<P>
    private var completions:
        [(through: Offset, CheckedContinuation<Performed, any Error>, Performed)] =
            []
    private var parked: [PendingCommand] = []
    private var awaited: [MessageName: [CheckedContinuation<Settled, any Error>]] = [:]
    private var newlyAwaited: [(MessageName, CheckedContinuation<Settled, any Error>)] = []
    private var reads: [(@Sendable (ShardView<P>) -> Void, @Sendable (any Error) -> Void)] = []
    private var failure: (any Error)?
    private var isStopReported = false
    private var isClosing = false
    private var snapshotAt: UInt64
    private let snapshotsUnderWay = DispatchGroup()
    private var pressureReadAt: UInt64 = 0
    private var ownSequence: UInt64 = 0

    init(
        ledger: Ledger, shard: ShardID, writable: WritableShard, state: ShardState<P>,
        options: RuntimeOptions, transport: any Transport
    ) {
        self.ledger = ledger
        self.shard = shard
        self.writable = writable
        wasClean = writable.wasClean
        self.options = options
        self.transport = transport
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
            send(try engine.flush(now: now))
        }
    }

    private func attempt(_ body: () throws -> Void) {
        guard failure == nil else { return }
        do {
            try body()
        } catch {
            failure = error
            options.report("\(error)")
            failAll(error)
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
        for command in parked { command.continuation.resume(throwing: error) }
        parked = []
        for waiting in awaited.values {
            for continuation in waiting { continuation.resume(throwing: error) }
        }
        awaited = [:]
    }

    func handle(_ work: Work<P>, now: Now) {
        if let failure {
            switch work {
            case .command(let command): command.continuation.resume(throwing: failure)
            case .read(_, let fail): fail(failure)
            case .outcome(_, let continuation): continuation.resume(throwing: failure)
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
        case .outcome(let message, let continuation):
            newlyAwaited.append((message, continuation))
        case .close:
            isClosing = true
        }
    }

    private func perform(_ pending: PendingCommand, now: Now) {
        if isClosing {
            pending.continuation.resume(throwing: Refusal(.closing, "the ledger is closing"))
            return
        }
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
                completions.append((performed.through, pending.continuation, performed))
            case .refused(let refusal):
                if refusal.code == .backpressure, pending.waitsForRoom {
                    parked.append(pending)
                } else {
                    pending.continuation.resume(throwing: refusal)
                }
            }
        } catch {
            pending.continuation.resume(throwing: error)
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
                let envelopes = try engine.flush(now: now)
                completeDurable()
                send(envelopes)
                // What is let in here is flushed here: nothing else may come for a while.
            } while !engine.takeSettledFor(self).isEmpty && letIn(now: now)
        }
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
        for continuation in waiting { continuation.resume(returning: settled) }
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
        options.report(text)
        failUnsettled(Refusal(.stopped, text))
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
        for (message, continuation) in waiting { register(message, continuation) }
    }

    private func register(
        _ message: MessageName, _ continuation: CheckedContinuation<Settled, any Error>
    ) {
        let channel = message.channel
        guard channel.origin == shard, ledger.shards.contains(channel.destination),
            let peer = engine.machine.messaging.peer(channel.destination),
            message.sequence != .none, message.sequence < peer.next
        else {
            continuation.resume(
                throwing: Refusal(
                    .notApplicable, "\(ledger.shards.text(message)) was never sent"))
            return
        }
        if peer.pending[message.sequence] != nil {
            if let stop = engine.machine.stop {
                // Nothing settles here any more.
                continuation.resume(
                    throwing: Refusal(.stopped, stop.text(ledger.shards, shard)))
                return
            }
            awaited[message, default: []].append(continuation)
            return
        }
        let last = engine.lastRecord { record in
            (record.event.kind == .acknowledged || record.event.kind == .timedOut)
                && record.event.peer == channel.destination
                && record.event.sequence == message.sequence
        }
        guard let (offset, found) = last else {
            continuation.resume(
                throwing: Refusal(
                    .notApplicable, "\(ledger.shards.text(message)) was closed as lost"))
            return
        }
        let result: MessageResult =
            found.event.kind == .timedOut
            ? .timedOut : found.event.outcome == .accepted ? .accepted : .rejected
        continuation.resume(
            returning: Settled(
                message: message, result: result, payload: found.payload, offset: offset))
    }

    private func readPressure(now: Now) {
        guard now.ticks &- pressureReadAt > 250_000_000 else { return }
        pressureReadAt = now.ticks
        engine.setPressure(DiskRoom.pressure(ledger.path(of: shard)))
    }

    /// Cuts a snapshot of the durable state; the file is written off the writer thread.
    private func snapshot() {
        snapshotAt = engine.events + options.snapshotEvery
        let state = engine.state(from: start)
        let (ledger, report) = (ledger, options.report)
        DispatchQueue.global().async(group: snapshotsUnderWay) {
            do { try Snapshot.write(state, to: ledger) } catch { report("\(error)") }
        }
    }

    /// When this shard wants to be looked at again, in ticks.
    var nextWake: UInt64? { failure == nil ? engine.machine.nextWake : nil }

    func close(now: Now) {
        isClosing = true
        snapshotsUnderWay.wait()
        attempt {
            let envelopes = try engine.flush(now: now)
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
        do {
            try engine.close(now: now)
        } catch {
            options.report("\(error)")
        }
        writable = nil
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
