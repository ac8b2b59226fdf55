import CCRC32C

/// What shards say to each other. An envelope is made from durable state only.
///
///     envelope header, 144 bytes, integers little-endian
///      0   4  magic "TLEN"
///      4   1  version, 1
///      5   1  content: 1 deliver, 2 answer, 3 confirm?, 4 confirmed, 5 conflict, 6 refused
///      6   2  zero
///      8   4  byte length of the envelope
///     12   4  sender
///     16   4  receiver
///     20   4  zero
///     24  24  the sender's session: epoch 8, nonce 16
///     48  24  the receiver's session as the sender knows it; zero when unknown
///     72   8  the sender's durable end: offset
///     80   8  its timestamp
///     88  32  its head
///    120   4  item count
///    124   4  CRC-32C of the bytes 0..<124 and 128..<length
///    128  16  zero
///    144      the items
///
///     items
///     deliver    sequence 8, offset 8, sent at 8, deadline 8, settled through 8, correlation 16,
///                payload length 4, payload
///     answer     sequence 8, offset 8, result 1 (1 accepted, 2 rejected, 3 expired, 4 owed), digest
///                of the message 32, payload length 4, payload
///     confirm?, confirmed  one statement, 64: session 24, offset 8, statement offset 8, received
///                through 8, floor 8, settled through 8
///     conflict   sequence 8, held digest 32, offered digest 32
///     refused    sequence 8, code 4, difference 8
///
/// An envelope is valid if and only if magic, version, zeros, length and checksum are right, its items
/// fill it exactly, times are below 2^63, sequences are at least 1, and payloads are at most 16 MiB.
/// There is one form: decoding and encoding gives the same bytes.
public struct Envelope: Equatable, Sendable {
    /// Who speaks to whom.
    public var header: EnvelopeHeader
    /// What is said.
    public var content: Content

    /// Makes an envelope.
    public init(header: EnvelopeHeader, content: Content) {
        self.header = header
        self.content = content
    }

    /// What an envelope may say.
    public enum Content: Equatable, Sendable {
        /// Messages.
        case deliver([Delivery])
        /// Outcomes.
        case answer([AnswerItem])
        /// Is what I have seen of you in your log?
        case confirmAsk(Statement)
        /// It is.
        case confirmed(Statement)
        /// I hold other bytes under these names.
        case conflict([ConflictItem])
        /// These were not taken.
        case refused([RefusedItem])
    }
}

/// Who speaks, to whom, from which session to which, and how far the speaker's log is durable.
public struct EnvelopeHeader: Equatable, Sendable {
    /// Who speaks.
    public var sender: ShardID
    /// To whom.
    public var receiver: ShardID
    /// The sender's session.
    public var senderSession: Session
    /// ``Session/none`` in a `confirm?` to a peer whose session is not known.
    public var receiverSession: Session
    /// How far the sender's log is durable.
    public var durableEnd: LogPosition

    /// Makes a header.
    public init(
        sender: ShardID, receiver: ShardID, senderSession: Session, receiverSession: Session,
        durableEnd: LogPosition
    ) {
        self.sender = sender
        self.receiver = receiver
        self.senderSession = senderSession
        self.receiverSession = receiverSession
        self.durableEnd = durableEnd
    }
}

/// A commit boundary of one log.
public struct LogPosition: Equatable, Sendable {
    /// The last offset; zero before the first commit.
    public var offset: Offset
    /// The head there; the seed before the first commit.
    public var head: Digest
    /// The last commit's time; zero before the first one.
    public var timestamp: Timestamp

    /// Names a position.
    public init(offset: Offset, head: Digest, timestamp: Timestamp) {
        self.offset = offset
        self.head = head
        self.timestamp = timestamp
    }
}

/// One message under way.
public struct Delivery: Equatable, Sendable {
    /// Its place in the channel.
    public var sequence: SequenceNumber
    /// The offset of its `sent`.
    public var offset: Offset
    /// The time of the commit that sent it.
    public var sentAt: Timestamp
    /// The time by which it must be received; zero: none.
    public var deadline: Timestamp
    /// All messages of the channel through this one were terminal at the origin.
    public var settledThrough: SequenceNumber
    /// Sixteen opaque bytes.
    public var correlation: Bytes16
    /// The application's bytes.
    public var payload: ArraySlice<UInt8>

    /// Makes a delivery.
    public init(
        sequence: SequenceNumber, offset: Offset, sentAt: Timestamp, deadline: Timestamp,
        settledThrough: SequenceNumber, correlation: Bytes16, payload: ArraySlice<UInt8>
    ) {
        self.sequence = sequence
        self.offset = offset
        self.sentAt = sentAt
        self.deadline = deadline
        self.settledThrough = settledThrough
        self.correlation = correlation
        self.payload = payload
    }
}

/// One outcome under way.
public struct AnswerItem: Equatable, Sendable {
    /// What became of a message.
    public enum Result: UInt8, Sendable {
        /// Answered: accepted.
        case accepted = 1
        /// Answered: rejected.
        case rejected = 2
        /// It came too late and was not applied.
        case expired = 3
        /// Received and applied, the answer is not decided: slows re-emission down, ends nothing.
        case owed = 4
    }
    /// The message's place in its channel.
    public var sequence: SequenceNumber
    /// The offset of the `answered`, of the expired receipt, or of the receipt that is owed.
    public var offset: Offset
    /// What became of it.
    public var result: Result
    /// The digest of the message that this answers.
    public var digest: Digest
    /// The answer's bytes.
    public var payload: ArraySlice<UInt8>

    /// Makes an outcome.
    public init(
        sequence: SequenceNumber, offset: Offset, result: Result, digest: Digest,
        payload: ArraySlice<UInt8>
    ) {
        self.sequence = sequence
        self.offset = offset
        self.result = result
        self.digest = digest
        self.payload = payload
    }
}

/// The destination holds other bytes under the message's name.
public struct ConflictItem: Equatable, Sendable {
    /// The message's place in its channel.
    public var sequence: SequenceNumber
    /// The digest of what the destination holds.
    public var held: Digest
    /// The digest of what arrived there.
    public var offered: Digest

    /// Makes a notice.
    public init(sequence: SequenceNumber, held: Digest, offered: Digest) {
        self.sequence = sequence
        self.held = held
        self.offered = offered
    }
}

/// The receiver did not take a message, and why; nothing was recorded.
public struct RefusedItem: Equatable, Sendable {
    /// The message's place in its channel.
    public var sequence: SequenceNumber
    /// The raw value of a ``Refusal/Code``.
    public var code: UInt32
    /// `clockSkew`: nanoseconds by which the sender is ahead.
    public var difference: UInt64

    /// Makes a refusal.
    public init(sequence: SequenceNumber, code: UInt32, difference: UInt64) {
        self.sequence = sequence
        self.code = code
        self.difference = difference
    }
}
