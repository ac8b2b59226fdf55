/// The log format, version 1: one commit is one record.
///
/// The record's key is the first offset, 8 bytes big-endian; its value is the commit below. All
/// integers in it are little-endian. Every part begins at a multiple of 8 within the value; LMDB
/// promises an alignment of 2 only, so loads are unaligned.
///
///     commit header, 80 bytes
///      0   4  magic "TLLY"
///      4   2  format version, 1
///      6   2  zero
///      8   4  byte length of the commit, this header included
///     12   4  event count
///     16   8  first offset
///     24   8  timestamp, nanoseconds since 1970 UTC
///     32   8  epoch; zero only in a log that was imported
///     40  32  head of the commit before; of the first one SHA-256(ledger id 16, shard id 4)
///     72   4  zero
///     76   4  CRC-32C of the bytes 0..<76 and 80..<length
///     80      the events, one behind the other, each padded with zeros to a multiple of 8
///
///     event header, 56 bytes
///      0   4  byte length of the event without its padding
///      4   1  kind
///      5   1  flags: bit 0 clean
///      6   1  outcome
///      7   1  reason
///      8   4  peer
///     12   4  attempt
///     16   8  sequence
///     24   8  deadline
///     32   8  cause
///     40  16  correlation
///     56      fields of the kind, then the payload
///
///     numbers
///     kind     1 opened, 2 commanded, 3 sent, 4 received, 5 answered, 6 acknowledged, 7 timedOut,
///              8 reemitted, 9 conflicted, 10 witnessed, 11 intervened, 12 noted
///     outcome  0 none, 1 applied, 2 expired, 3 accepted, 4 rejected
///     reason   0 none, 1 retry, 2 deadline, 3 recovery, 4 forced, 5 delivery, 6 answer, 7 notice,
///              8 overruled, 9 peer, 10 mark, 11 clock
///
///     fields of the kinds; the payload of a `reemitted`, `timedOut` or `intervened` is an operator's
///     reason, of the others the application's bytes
///     opened        24  nonce 16, fold version 4, zero 4
///     commanded     32  client 16, settled through 8, result length 4, zero 4;
///                       the result stands behind the payload
///     sent           0
///     received      24  sent at 8, peer offset 8, settled through 8
///     answered       0
///     acknowledged   8  peer offset 8
///     timedOut       8  peer offset 8
///     reemitted     24  through 8, plan 16
///     conflicted    64  held digest 32, offered digest 32
///     witnessed     64  peer epoch 8, peer nonce 16, peer offset 8, peer head 32
///     intervened   104  peer epoch 8, peer nonce 16, peer offset 8, statement offset 8, received
///                       through 8, floor 8, settled through 8, difference 8, mark's head 32
///     noted          0
///
/// A commit is valid if and only if
/// (1) its length is that of the record, at least 136, at most 64 MiB, and a multiple of 8;
/// (2) magic, version and the zeros of its header are right, and so is its checksum;
/// (3) the first offset is at least 1 and equals the key, the last offset is below 2^63,
///     and the timestamp lies in 1 ..< 2^63;
/// (4) the events fill it exactly, as many as the count says;
/// (5) each event's kind is known; its length covers its fields; its payload (and result) is at most
///     16 MiB; its padding, and each field that `EventShape` does not allow to its kind, is zero;
///     fields the shape requires are not. Deadlines and sent-at are below 2^63; the result lies within
///     its event; a range's end is not before its beginning; an `intervened` has a peer if and only if
///     its reason is `peer`.
///
/// The head of a commit is SHA-256 over all its bytes. It covers the head before, so the last head
/// covers the whole log.
public enum CommitFormat {
    /// The characters "TLLY".
    public static let magic: UInt32 = 0x594C_4C54
    /// The version written, and the only one read.
    public static let version: UInt16 = 1
    /// Bytes of a commit's header.
    public static let headerLength = 80
    /// Bytes of an event's header.
    public static let eventHeaderLength = 56
    /// Bytes of a commit at most: 64 MiB.
    public static let commitLengthMax = 64 << 20
    /// Bytes of a payload at most: 16 MiB.
    public static let payloadLengthMax = 16 << 20
    /// The greatest offset, so that sums of offsets never overflow.
    public static let offsetMax = UInt64(Int64.max)

    static func padded(_ length: Int) -> Int { (length + 7) & ~7 }
}

/// Which header fields an event of a kind may and must carry: one row of the byte table.
struct EventShape {
    var fieldsLength: Int
    var outcomes: [Outcome] = [.none]
    var reasons: [Reason] = [.none]
    var hasPeer = false
    var hasSequence = false
    var mayHaveAttempt = false
    var mayHaveDeadline = false
    var mayHaveCause = false
    var mayHaveCorrelation = false
    var mayHavePayload = true

    static let answers: [Outcome] = [.accepted, .rejected]

    static func of(_ kind: EventKind) -> EventShape {
        switch kind {
        case .opened:
            EventShape(fieldsLength: 24, mayHavePayload: false)
        case .commanded:
            EventShape(fieldsLength: 32, hasSequence: true, mayHaveCorrelation: true)
        case .sent:
            EventShape(
                fieldsLength: 0, hasPeer: true, hasSequence: true, mayHaveDeadline: true,
                mayHaveCause: true, mayHaveCorrelation: true)
        case .received:
            EventShape(
                fieldsLength: 24, outcomes: [.applied, .expired], hasPeer: true, hasSequence: true,
                mayHaveDeadline: true, mayHaveCorrelation: true)
        case .answered:
            EventShape(
                fieldsLength: 0, outcomes: answers, hasPeer: true, hasSequence: true,
                mayHaveCause: true, mayHaveCorrelation: true)
        case .acknowledged:
            EventShape(
                fieldsLength: 8, outcomes: answers, hasPeer: true, hasSequence: true,
                mayHaveCause: true, mayHaveCorrelation: true)
        case .timedOut:
            EventShape(
                fieldsLength: 8, reasons: [.none, .forced], hasPeer: true, hasSequence: true,
                mayHaveCause: true, mayHaveCorrelation: true)
        case .reemitted:
            EventShape(
                fieldsLength: 24, reasons: [.retry, .deadline, .recovery], hasPeer: true,
                hasSequence: true, mayHaveAttempt: true)
        case .conflicted:
            EventShape(
                fieldsLength: 64, reasons: [.delivery, .answer, .notice, .overruled],
                hasPeer: true, hasSequence: true, mayHavePayload: false)
        case .witnessed:
            EventShape(fieldsLength: 64, hasPeer: true, mayHavePayload: false)
        case .intervened:
            EventShape(fieldsLength: 104, reasons: [.peer, .mark, .clock])
        case .noted:
            EventShape(fieldsLength: 0, mayHaveCause: true, mayHaveCorrelation: true)
        }
    }

    /// The shapes by raw kind; index 0 stands for no kind.
    static let table: [EventShape] =
        [EventShape(fieldsLength: 0)] + EventKind.allCases.map { of($0) }
}

/// Bytes of the fields between an event's header and its payload.
@inline(__always)
func fieldsLength(of kind: EventKind) -> Int {
    switch kind {
    case .opened, .received, .reemitted: 24
    case .commanded: 32
    case .acknowledged, .timedOut: 8
    case .conflicted, .witnessed: 64
    case .intervened: 104
    case .sent, .answered, .noted: 0
    }
}

/// Why bytes are not a valid commit.
public struct CommitError: Error, Equatable, Sendable, CustomStringConvertible {
    /// Which part of the validity rule is broken.
    public enum Code: String, Sendable {
        /// Named after the part: a field of the header, the events as a whole, or one event.
        case length, magic, version, header, checksum, offset, timestamp, events, event
    }
    /// Which part of the validity rule is broken.
    public var code: Code
    /// The byte within the commit at which reading stopped.
    public var byte: Int
    /// What is wrong, for a person.
    public var text: String

    /// Makes an error of a code, a byte of the commit, and a text.
    public init(_ code: Code, at byte: Int, _ text: String) {
        self.code = code
        self.byte = byte
        self.text = text
    }

    public var description: String { "\(text) (byte \(byte) of the commit)" }
}
