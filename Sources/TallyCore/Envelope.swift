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
    public var header: EnvelopeHeader
    public var content: Content

    public init(header: EnvelopeHeader, content: Content) {
        self.header = header
        self.content = content
    }

    public enum Content: Equatable, Sendable {
        case deliver([Delivery])
        case answer([AnswerItem])
        case confirmAsk(Statement)
        case confirmed(Statement)
        case conflict([ConflictItem])
        case refused([RefusedItem])
    }
}

/// Who speaks, to whom, from which session to which, and how far the speaker's log is durable.
public struct EnvelopeHeader: Equatable, Sendable {
    public var sender: ShardID
    public var receiver: ShardID
    public var senderSession: Session
    /// ``Session/none`` in a `confirm?` to a peer whose session is not known.
    public var receiverSession: Session
    public var durableEnd: LogPosition

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
    public var offset: Offset
    public var head: Digest
    public var timestamp: Timestamp

    public init(offset: Offset, head: Digest, timestamp: Timestamp) {
        self.offset = offset
        self.head = head
        self.timestamp = timestamp
    }
}

/// One message under way.
public struct Delivery: Equatable, Sendable {
    public var sequence: SequenceNumber
    /// The offset of its `sent`.
    public var offset: Offset
    public var sentAt: Timestamp
    public var deadline: Timestamp
    /// All messages of the channel through this one were terminal at the origin.
    public var settledThrough: SequenceNumber
    public var correlation: Bytes16
    public var payload: ArraySlice<UInt8>

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
    public enum Result: UInt8, Sendable {
        case accepted = 1
        case rejected = 2
        case expired = 3
        /// Received and applied, the answer is not decided: slows re-emission down, ends nothing.
        case owed = 4
    }
    public var sequence: SequenceNumber
    /// The offset of the `answered`, of the expired receipt, or of the receipt that is owed.
    public var offset: Offset
    public var result: Result
    /// The digest of the message that this answers.
    public var digest: Digest
    public var payload: ArraySlice<UInt8>

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
    public var sequence: SequenceNumber
    public var held: Digest
    public var offered: Digest

    public init(sequence: SequenceNumber, held: Digest, offered: Digest) {
        self.sequence = sequence
        self.held = held
        self.offered = offered
    }
}

/// The receiver did not take a message, and why; nothing was recorded.
public struct RefusedItem: Equatable, Sendable {
    public var sequence: SequenceNumber
    public var code: UInt32
    /// `clockSkew`: nanoseconds by which the sender is ahead.
    public var difference: UInt64

    public init(sequence: SequenceNumber, code: UInt32, difference: UInt64) {
        self.sequence = sequence
        self.code = code
        self.difference = difference
    }
}
