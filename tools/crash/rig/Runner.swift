import TallyCore
import TallyRuntime
import TallyStore
import TallyVenue

/// Shards of one ledger run by hand in one thread: production engines, logs, marks and envelopes.
///
/// Only the clock is not the machine's: it is counted, so that a workload makes the same calls in the
/// same order however fast it runs.
final class Runner {
    let ledger: Ledger
    private var slots: [Slot] = []
    private var waiting: [(shard: ShardID, bytes: [UInt8])] = []
    private var ticks: UInt64 = 2_000_000_000
    private var wall = Timestamp(1_700_000_000_000_000_000)
    /// Nanoseconds between two flushes of a shard.
    private let step: UInt64
    private let isQuiet: Bool
    /// Of the runner's own client.
    private var sequence: UInt64 = 0

    private struct Slot {
        let shard: ShardID
        let name: String
        /// Holds the writer's lock for as long as the shard is open.
        let writable: WritableShard
        let start: ShardState<Venue>
        let log: AnnouncingLog
        let engine: ShardEngine<Venue>
    }

    private func say(_ line: String) {
        if !isQuiet { Lines.say(line) }
    }

    private var now: Now { Now(wall: wall, ticks: ticks) }

    /// Opens every shard through the door of production and begins a session on each.
    init(_ ledger: Ledger, step: UInt64 = 1_000_000, isQuiet: Bool = false) throws {
        self.isQuiet = isQuiet
        self.ledger = ledger
        self.step = step
        for shard in ledger.shards.all { slots.append(try opened(ledger, shard)) }
        // The log's own time is the least that a wall clock may show.
        for slot in slots { wall = max(wall, slot.engine.end.timestamp) }
        for slot in slots {
            _ = try slot.engine.take(
                .open(nonce: Files.random16(), clean: slot.writable.wasClean), now: now)
            try flush(slot)
        }
    }

    private func opened(_ ledger: Ledger, _ shard: ShardID) throws -> Slot {
        let name = ledger.shards.name(of: shard)
        say("opening \(name)")
        let writable = try ledger.openForWriting(shard, durability: .power)
        let state = try ShardState<Venue>.opened(ledger, shard, writable.log) { _ in }
        say(
            "opened \(name) \(state.position.offset.rawValue) \(state.position.head) "
                + (writable.wasClean ? "clean" : "unclean"))
        var options = MachineOptions()
        // Far apart on the counted clock: what is sent again is decided by the workload's length.
        options.retryBase = 20_000_000
        options.askBase = 20_000_000
        let log = AnnouncingLog(writable.log, isQuiet: isQuiet)
        let engine = ShardEngine(
            state: state, store: log, mark: writable.markFile, options: options)
        return Slot(
            shard: shard, name: name, writable: writable, start: state, log: log, engine: engine)
    }

    /// The session of the first shard: different in each run on one ledger.
    var epoch: UInt64 { slots.first?.engine.machine.messaging.epoch.rawValue ?? 0 }

    private func slot(_ shard: ShardID) -> Slot? { slots.first { $0.shard == shard } }

    /// Has a shard decide on a command; it is released by the next flush.
    ///
    /// - Returns: False when the program refused it.
    @discardableResult
    func perform(_ command: VenueCommand, on shard: ShardID) throws -> Bool {
        guard let slot = slot(shard) else { return false }
        sequence += 1
        let request = Command(
            client: Bytes16(low: 1, high: slot.engine.machine.messaging.epoch.rawValue),
            sequence: SequenceNumber(sequence), payload: command.encode())
        let result = try slot.engine.take(.command(request), now: now)
        if case .command(.refused(let refusal)) = result {
            guard refusal.code == .program else { throw refusal }
            return false
        }
        return true
    }

    /// Makes everything durable that was decided, and lets what may be said go on its way.
    func flush() throws {
        for slot in slots { try flush(slot) }
    }

    private func flush(_ slot: Slot) throws {
        ticks += step
        wall = Timestamp(wall.rawValue + step)
        let before = slot.engine.machine.durable
        let envelopes = try slot.engine.flush(now: now)
        let durable = slot.engine.machine.durable
        if durable != before {
            say("released \(slot.name) \(durable.offset.rawValue) \(durable.head)")
        }
        for envelope in envelopes {
            waiting.append((envelope.header.receiver, envelope.encoded()))
        }
    }

    /// Hands over what is on its way, lets what is due be done, and flushes.
    ///
    /// - Parameter loses: Whether an envelope to a shard is lost instead.
    func exchange(losing loses: (ShardID) -> Bool = { _ in false }) throws {
        let batch = waiting
        waiting = []
        for (shard, bytes) in batch where !loses(shard) {
            guard let slot = slot(shard), let envelope = Envelope(decoding: bytes) else { continue }
            for input in Input.inputs(of: envelope) {
                _ = try slot.engine.take(input, now: now)
            }
        }
        for slot in slots {
            if let wake = slot.engine.machine.nextWake, wake <= ticks {
                _ = try slot.engine.take(.wake, now: now)
            }
        }
        try flush()
        if let stop { throw Stopped(description: stop) }
    }

    /// Why a shard serves no more; `nil` while all do.
    var stop: String? {
        slots.lazy.compactMap { slot in
            slot.engine.machine.stop?.text(self.ledger.shards, slot.shard)
        }.first
    }

    /// The program's state of every shard.
    var states: [(shard: ShardContext, state: VenueState)] {
        slots.map { (ledger.context($0.shard), $0.engine.machine.application) }
    }

    /// Whether a shard has seen more of another one's log than that one held when it was opened.
    var hasSeenMore: Bool {
        slots.contains { peer in
            slots.contains { slot in
                let seen = peer.start.messaging.peer(slot.shard)?.statement
                return (seen?.offset ?? .none) > slot.start.position.offset
            }
        }
    }

    /// Messages sent and not settled, and messages applied and not answered.
    var open: Int {
        slots.reduce(0) {
            $0 + $1.engine.machine.messaging.pendingCount
                + Int($1.engine.machine.messaging.owedCount)
        }
    }

    /// Exchanges until nothing is open; answers that are owed are asked for.
    func settle() throws {
        for round in 0..<400 {
            if open == 0 {
                say("settled")
                return
            }
            if round % 8 == 7 {
                for slot in slots where slot.engine.machine.messaging.owedCount > 0 {
                    try perform(.settle, on: slot.shard)
                }
            }
            try exchange()
        }
        throw UsageError(description: "after 400 exchanges \(open) messages are not settled")
    }

    /// Writes a snapshot of every shard at its durable end.
    func snapshot() throws {
        for slot in slots {
            let state = slot.engine.state(from: slot.start)
            try Snapshot.write(state, to: ledger)
            say("snapshot \(slot.name) \(state.position.offset.rawValue)")
        }
    }

    /// Ends the process with the next commit of any shard, before it is released.
    func dieAtCommit() {
        for slot in slots { slot.log.diesAtCommit = true }
    }

    /// Closes every shard in good order.
    func close() throws {
        for slot in slots {
            try slot.engine.close(now: now)
            let end = slot.engine.end
            say("closed \(slot.name) \(end.offset.rawValue) \(end.head)")
        }
        slots = []
    }
}

/// A shard serves no more, and says why.
struct Stopped: Error, CustomStringConvertible {
    var description: String
}
