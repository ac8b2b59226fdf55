/// What goes into the machine and what comes out.

/// The time of an input. Safety depends on neither.
public struct Now: Sendable {
    /// The wall clock.
    public var wall: Timestamp
    /// A clock that never goes back, in nanoseconds; paces re-emission.
    public var ticks: UInt64

    /// Names a moment.
    public init(wall: Timestamp, ticks: UInt64) {
        self.wall = wall
        self.ticks = ticks
    }
}

/// One event of the own log with its bytes.
public struct LogRecord: Equatable, Sendable {
    /// Its fields.
    public var event: Event
    /// The timestamp of its commit.
    public var timestamp: Timestamp
    /// Its payload, without the result.
    public var payload: [UInt8]
    /// `commanded`: the recorded result.
    public var result: [UInt8]

    /// Makes a record.
    public init(event: Event, timestamp: Timestamp, payload: [UInt8], result: [UInt8]) {
        self.event = event
        self.timestamp = timestamp
        self.payload = payload
        self.result = result
    }
}

/// What the machine needs to look up: its own log, and the digest of a message.
public protocol OwnLog {
    /// The event at an offset of this shard's appended log.
    func record(at offset: Offset) -> LogRecord?

    /// The digest of a message: of its name, deadline, correlation and payload, see
    /// ``MessageContent/digestPrefix``.
    func digest(_ message: MessageContent) -> Digest
}

/// What makes two messages of one name the same message: never epoch, attempt or settled-through.
public struct MessageContent: Equatable, Sendable {
    /// The message's name.
    public var name: MessageName
    /// Its deadline; zero: none.
    public var deadline: Timestamp
    /// Its correlation.
    public var correlation: Bytes16
    /// Its bytes.
    public var payload: ArraySlice<UInt8>

    /// Makes the content of a message.
    public init(
        name: MessageName, deadline: Timestamp, correlation: Bytes16, payload: ArraySlice<UInt8>
    ) {
        self.name = name
        self.deadline = deadline
        self.correlation = correlation
        self.payload = payload
    }

    /// The bytes in front of the payload: origin 4, destination 4, sequence 8, deadline 8,
    /// correlation 16. A message's digest is SHA-256 of these 40 bytes and the payload.
    public var digestPrefix: [UInt8] {
        var writer = ByteWriter(capacity: 40)
        writer.write(name.channel.origin.rawValue)
        writer.write(name.channel.destination.rawValue)
        writer.write(name.sequence.rawValue)
        writer.write(deadline.rawValue)
        writer.write(correlation)
        return writer.bytes
    }
}

extension LogRecord {
    /// The message of a `sent` or `received`, seen from the shard whose log holds it.
    public func message(in shard: ShardID) -> MessageContent {
        let name =
            event.kind == .sent
            ? MessageName(from: shard, to: event.peer, event.sequence)
            : MessageName(from: event.peer, to: shard, event.sequence)
        return MessageContent(
            name: name, deadline: event.deadline, correlation: event.correlation,
            payload: payload[...])
    }
}

/// A command from outside, named by its client so that it can be asked again.
public struct Command: Equatable, Sendable {
    /// Who asks: sixteen bytes of its own choice.
    public var client: Bytes16
    /// The client's own count, from 1.
    public var sequence: SequenceNumber
    /// All commands of this client through this one will not be asked again.
    public var settledThrough: SequenceNumber
    /// Inherited by what it leads to.
    public var correlation: Bytes16
    /// The program's bytes.
    public var payload: [UInt8]

    /// Makes a command.
    public init(
        client: Bytes16, sequence: SequenceNumber, settledThrough: SequenceNumber = .none,
        correlation: Bytes16 = .none, payload: [UInt8]
    ) {
        self.client = client
        self.sequence = sequence
        self.settledThrough = settledThrough
        self.correlation = correlation
        self.payload = payload
    }
}

/// What the machine is given, one at a time.
public enum Input: Sendable {
    /// The writer starts: the first input of a session. The nonce is random.
    case open(nonce: Bytes16, clean: Bool)
    /// A request from outside.
    case command(Command)
    /// A message arrived.
    case deliver(EnvelopeHeader, Delivery)
    /// An outcome arrived.
    case answer(EnvelopeHeader, AnswerItem)
    /// A peer asks whether this log holds what it has seen of it.
    case confirmAsk(EnvelopeHeader, Statement)
    /// A peer says that it does.
    case confirmed(EnvelopeHeader, Statement)
    /// A destination says that it holds other bytes.
    case conflict(EnvelopeHeader, ConflictItem)
    /// A destination did not take a message.
    case refused(EnvelopeHeader, RefusedItem)
    /// The time the machine asked to be woken at has come.
    case wake
    /// Sends pending messages again for a recovery plan.
    case recover(plan: Bytes16, [MessageName], reason: [UInt8] = [])
    /// An operator times a message out without evidence.
    case force(MessageName, reason: [UInt8])
    /// An operator decided.
    case intervene(Intervention)

    /// The inputs an envelope stands for, in order.
    public static func inputs(of envelope: Envelope) -> [Input] {
        let header = envelope.header
        switch envelope.content {
        case .deliver(let items): return items.map { .deliver(header, $0) }
        case .answer(let items): return items.map { .answer(header, $0) }
        case .confirmAsk(let statement): return [.confirmAsk(header, statement)]
        case .confirmed(let statement): return [.confirmed(header, statement)]
        case .conflict(let items): return items.map { .conflict(header, $0) }
        case .refused(let items): return items.map { .refused(header, $0) }
        }
    }
}

/// An operator's decision, recorded as `intervened`.
public enum Intervention: Sendable {
    /// Serve although a peer has seen more of this log than there is.
    case acceptPeer(ShardID, Statement, reason: [UInt8])
    /// Serve although the mark names a later end than there is.
    case acceptMark(offset: Offset, head: Digest, reason: [UInt8])
    /// Accept commands although the log runs ahead of the wall clock, in nanoseconds.
    case admitClock(difference: UInt64, reason: [UInt8])
}

/// What a step came to.
public enum StepResult: Sendable {
    /// The input was taken.
    case done
    /// Seal the commit and give the same input again. Nothing happened yet, but for a plan: it goes on
    /// where it stopped.
    case sealFirst
    /// What became of a command.
    case command(CommandOutcome)
}

/// What became of a command.
public enum CommandOutcome: Sendable {
    /// Recorded; the result counts when the offset is durable.
    case recorded(Performed)
    /// Recorded before, by the same client under the same sequence; the recorded result.
    case known(Performed)
    /// Nothing was recorded.
    case refused(Refusal)
}

/// A command as the log holds it.
public struct Performed: Equatable, Sendable {
    /// The offset of its `commanded`.
    public var offset: Offset
    /// The last offset of its decision.
    public var through: Offset
    /// The recorded result.
    public var result: [UInt8]
    /// The messages that its decision sent.
    public var messages: [MessageName]

    /// Makes the record of a command.
    public init(offset: Offset, through: Offset, result: [UInt8], messages: [MessageName]) {
        self.offset = offset
        self.through = through
        self.result = result
        self.messages = messages
    }
}

/// Why a shard serves no more.
public enum Stop: Error, Equatable, Sendable {
    /// A peer has seen a part of this log that is not there.
    case fork(peer: ShardID, peerSession: Session, Statement, ownEnd: Offset, ownSession: Session)
    /// A message of this shard has other bytes at its destination.
    case conflict(MessageName, held: Digest, offered: Digest)
    /// The own log breaks a law of the protocol.
    case anomaly(Anomaly)
    /// The program refused a message or an outcome, or decided what cannot be recorded.
    case program(String)
    /// The own log does not hold what the state says it holds.
    case log(Offset)

    /// One line for an operator: both sides, and what to do.
    public func text(_ directory: ShardDirectory, _ shard: ShardID) -> String {
        let name = directory.name(of: shard)
        switch self {
        case .fork(let peer, _, let statement, let end, let session):
            let other = directory.name(of: peer)
            let held =
                statement.receivedThrough == .none
                ? "it holds no message of this shard"
                : "it holds messages of \(name)/\(other) through "
                    + "\(statement.receivedThrough.rawValue) and knows them settled through "
                    + "\(statement.floor.rawValue)"
            return "\(name) has stopped: \(other) has seen this log up to "
                + "\(name)@\(statement.offset.rawValue) of session \(statement.session.epoch.rawValue)"
                + " (recorded at \(other)@\(statement.statementOffset.rawValue)), and this log does not hold"
                + " all of it; it ends at \(name)@\(end.rawValue) in session \(session.epoch.rawValue);"
                + " \(held). A backup was restored or a tail was lost: bring the right log back,"
                + " or run: tally recover accept DIR \(name) --reason TEXT"
        case .conflict(let message, let held, let offered):
            return "\(name) has stopped: \(directory.text(message)) has other bytes at the other"
                + " side (here \(offered), there \(held)); run: tally trace DIR"
                + " \(directory.text(message))"
        case .anomaly(let anomaly):
            return "\(name) has stopped: the event at "
                + "\(directory.address(shard, anomaly.offset)) \(anomaly.code.text);"
                + " run: tally verify DIR"
        case .program(let text):
            return "\(name) has stopped: the program is broken: \(text)"
        case .log(let offset):
            return "\(name) has stopped: \(directory.address(shard, offset)) cannot be read back;"
                + " run: tally verify DIR"
        }
    }
}

/// Limits and paces of one shard.
public struct MachineOptions: Sendable {
    /// Sequences between the oldest pending message of a channel and the next one, at most.
    public var pendingMax: UInt64 = 16_384
    /// Nanoseconds a peer's time may be ahead.
    public var clockSkewMax: UInt64 = 1_000_000_000
    /// Nanoseconds to the first re-emission of what was not answered; doubles up to the maximum.
    public var retryBase: UInt64 = 200_000_000
    /// Nanoseconds between two re-emissions at most.
    public var retryMax: UInt64 = 10_000_000_000
    /// Nanoseconds to the second `confirm?`; doubles up to the maximum.
    public var askBase: UInt64 = 100_000_000
    /// Nanoseconds between two `confirm?` at most.
    public var askMax: UInt64 = 5_000_000_000
    /// Messages and payload bytes of one re-emission at most, so that live traffic is not starved.
    public var reemitMessagesMax = 1024
    /// Payload bytes of one re-emission at most.
    public var reemitBytesMax = 4 << 20
    /// Sequences above the floor that an unordered channel accepts.
    public var windowMax: UInt64 = 1 << 20
    /// Events of a commit at most.
    public var commitEventsMax = 65_536
    /// Offsets of a peer between two `witnessed`.
    public var witnessEvery: UInt64 = 1024
    /// Whether what is pending is sent again without a plan.
    public var retries = true
    /// The seed of the jitter.
    public var seed: UInt64 = 0
    /// Whether ``ShardMachine/takeSettled()`` is fed.
    public var tracksSettled = false
    /// Where the machine acts unusually; only for simulations.
    public var buggify: Buggify?

    /// The defaults.
    public init() {}
}

/// A filling disk refuses commands first, then new messages; outcomes are taken to the last.
public enum DiskPressure: Sendable {
    /// Everything is taken.
    case none
    /// Commands are refused.
    case refusesCommands
    /// Commands and new messages are refused.
    case refusesMessages
}

/// A message of this shard that just became terminal.
public struct Settled: Equatable, Sendable {
    /// The message.
    public var message: MessageName
    /// What became of it.
    public var result: MessageResult
    /// The answer's payload; an operator's reason when the timeout was forced.
    public var payload: [UInt8]
    /// The offset of the terminal event.
    public var offset: Offset

    /// Makes a settlement.
    public init(message: MessageName, result: MessageResult, payload: [UInt8], offset: Offset) {
        self.message = message
        self.result = result
        self.payload = payload
        self.offset = offset
    }
}

/// What happened without leaving a trace in the log.
public struct MachineCounters: Equatable, Sendable {
    /// Envelope items of sessions that are not heard.
    public var unheard: UInt64 = 0
    /// Deliveries at or below the floor.
    public var belowFloor: UInt64 = 0
    /// Deliveries that were known and were answered again.
    public var repeated: UInt64 = 0
    /// Deliveries too early for an ordered channel.
    public var early: UInt64 = 0
    /// Deliveries refused before they were appended.
    public var refused: UInt64 = 0
    /// Answers for messages that are settled.
    public var late: UInt64 = 0
    /// Messages of this shard that a peer did not take.
    public var refusalsHeard: UInt64 = 0
    /// The greatest difference a peer has refused this shard's time with, in nanoseconds.
    public var skewHeard: UInt64 = 0
    /// Decisions on messages or outcomes that went past `pendingMax`.
    public var pastPendingMax: UInt64 = 0
}

/// What is volatile about a peer: nothing here has to survive.
package struct Link: Equatable, Sendable {
    /// The one session of the peer that is heard.
    package var heard = Session.none
    /// The peer's session as it last named itself: what envelopes to it name.
    package var known = Session.none
    /// The peer's session that this shard has confirmed itself to.
    package var confirmedTo = Session.none
    package var askAt: UInt64?
    package var askLevel: UInt64 = 0
    package var retryAt: UInt64?
    package var retryLevel: UInt64 = 0
    /// What the next re-emission covers: sequences sent before its timer was set.
    package var retryThrough = SequenceNumber.none
    /// Until when a message that the peer called owed is not sent again, in ticks.
    package var quiet: [SequenceNumber: UInt64] = [:]
}

/// Something to say once the offset is durable.
package struct Outgoing: Sendable {
    package enum Item: Sendable {
        case message(Delivery)
        case answer(AnswerItem)
        case confirmAsk(Statement)
        case confirmed(Statement, to: Session)
        case conflict(ConflictItem)
        case refused(RefusedItem)
    }
    package var peer: ShardID
    package var after: Offset
    /// The peer's session that was heard when this was decided: what it answers came from there.
    package var heard: Session
    package var item: Item
}

/// A small random source for jitter (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number
/// Generators", 2014).
public struct SplitMix64: RandomNumberGenerator, Sendable {
    private var state: UInt64
    /// The same numbers again for the same seed.
    public init(seed: UInt64) { state = seed }
    public mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}
