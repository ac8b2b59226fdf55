import TallyCore

/// The interchange form, version 1: JSON lines that hold a ledger and lose nothing.
///
/// The first line is the header, every further line is one event; shards in header order, then by
/// offset. Keys stand in the order below; a key is absent when its value is zero, empty or not
/// applicable to the kind (`answers` and `ordered` always stand in what is written here). A reader
/// takes keys in any order, but knows all of them, and none twice.
///
///     header
///     format      "tally-events"
///     version     1
///     native      true: made by writers of ours, an import is a copy; absent: a foreign system
///     ledger      the ledger's name
///     id          32 hexadecimal digits; absent in a file made elsewhere: then the first 16 bytes
///                 of the SHA-256 of the header line (without its newline) stand for it
///     program     the program that made it
///     answers     false: a one-way system, a receipt settles a message; absent: true
///     ordered     false: messages of a channel arrive in any order; absent: true
///     unordered   channels, "origin/destination", that differ from `ordered`
///     windows     shard to [first offset, last offset]: what part of its log there is
///     shards      the names; a shard's id is its place, from 1
///
///     event            kinds
///     shard            all
///     offset           all; may be absent: the next one
///     commit           all; the first offset of its commit; absent: one commit per time
///     time             all; of the commit, RFC 3339 with nine digits behind the second
///     epoch            all
///     kind             all
///     clean            opened; true only
///     peer             sent, received, answered, acknowledged, timedOut, reemitted, conflicted,
///                      witnessed, intervened
///     sequence         commanded, sent, received, answered, acknowledged, timedOut, reemitted,
///                      conflicted
///     attempt          reemitted
///     outcome          received, answered, acknowledged
///     reason           timedOut, reemitted, conflicted, intervened
///     deadline         sent, received
///     cause            sent, answered, acknowledged, timedOut, noted
///     correlation      commanded, sent, received, answered, acknowledged, timedOut, noted;
///                      32 digits
///     nonce            opened; 32 hexadecimal digits
///     foldVersion      opened
///     client           commanded; 32 digits
///     sentAt           received
///     peerOffset       received, acknowledged, timedOut, witnessed, intervened
///     settledThrough   commanded, received, intervened
///     through          reemitted
///     plan             reemitted; 32 digits
///     held             conflicted; 64 digits
///     offered          conflicted; 64 digits
///     peerEpoch        witnessed, intervened
///     peerNonce        witnessed, intervened; 32 digits
///     peerHead         witnessed; 64 digits
///     statementOffset  intervened
///     receivedThrough  intervened
///     floor            intervened
///     difference       intervened
///     markHead         intervened; 64 digits
///     payload          all but opened, conflicted, witnessed; base64
///     result           commanded; base64
///     head             the last event of a commit: the log's head there; 64 digits
///
/// A peer that the ledger does not have (such a log is well-formed, and an anomaly) is `shard-#N`.
///
/// The log of a shard begins at offset 1, or at the lower end of its window: there its first commit
/// stands under that offset, with the seed as its previous head, as in a whole log.
public enum InterchangeForm {
    /// What the header calls the form.
    public static let format = "tally-events"
    /// The version written, and the only one read.
    public static let version: UInt64 = 1
    /// Bytes of a line at most: a payload and a result of 16 MiB each fit.
    public static let lineLengthMax = 48 << 20
}

/// The keys of an event line; the raw value is the place in the line.
enum InterchangeKey: Int, CaseIterable {
    case shard, offset, commit, time, epoch, kind, clean, peer, sequence, attempt, outcome, reason
    case deadline, cause, correlation, nonce, foldVersion, client, sentAt, peerOffset
    case settledThrough, through, plan, held, offered, peerEpoch, peerNonce, peerHead
    case statementOffset, receivedThrough, floor, difference, markHead, payload, result, head

    var bit: UInt64 { 1 << UInt64(rawValue) }

    /// The kinds whose events may carry it.
    private var kinds: [EventKind] {
        switch self {
        case .shard, .offset, .commit, .time, .epoch, .kind, .head: EventKind.allCases
        case .clean, .nonce, .foldVersion: [.opened]
        case .peer:
            [
                .sent, .received, .answered, .acknowledged, .timedOut, .reemitted, .conflicted,
                .witnessed, .intervened,
            ]
        case .sequence:
            [
                .commanded, .sent, .received, .answered, .acknowledged, .timedOut, .reemitted,
                .conflicted,
            ]
        case .attempt, .through, .plan: [.reemitted]
        case .outcome: [.received, .answered, .acknowledged]
        case .reason: [.timedOut, .reemitted, .conflicted, .intervened]
        case .deadline: [.sent, .received]
        case .cause: [.sent, .answered, .acknowledged, .timedOut, .noted]
        case .correlation:
            [.commanded, .sent, .received, .answered, .acknowledged, .timedOut, .noted]
        case .client, .result: [.commanded]
        case .sentAt: [.received]
        case .peerOffset: [.received, .acknowledged, .timedOut, .witnessed, .intervened]
        case .settledThrough: [.commanded, .received, .intervened]
        case .held, .offered: [.conflicted]
        case .peerEpoch, .peerNonce: [.witnessed, .intervened]
        case .peerHead: [.witnessed]
        case .statementOffset, .receivedThrough, .floor, .difference, .markHead: [.intervened]
        case .payload:
            [
                .commanded, .sent, .received, .answered, .acknowledged, .timedOut, .reemitted,
                .intervened,
                .noted,
            ]
        }
    }

    /// The kinds whose events must carry it.
    private var requiredKinds: [EventKind] {
        switch self {
        case .shard, .time, .kind: EventKind.allCases
        case .peer: kinds.filter { $0 != .intervened }
        case .sequence, .outcome: kinds
        case .reason: kinds.filter { $0 != .timedOut }
        default: []
        }
    }

    /// Per raw kind, the bits of the keys that it may carry.
    static let allowed: [UInt64] = masks { $0.kinds }
    /// Per raw kind, the bits of the keys that it must carry.
    static let required: [UInt64] = masks { $0.requiredKinds }

    private static func masks(_ kinds: (InterchangeKey) -> [EventKind]) -> [UInt64] {
        var masks = [UInt64](repeating: 0, count: EventKind.allCases.count + 1)
        for key in allCases {
            for kind in kinds(key) { masks[Int(kind.rawValue)] |= key.bit }
        }
        return masks
    }

    var name: String { "\(self)" }

    /// The names as bytes, by raw value.
    static let names: [[UInt8]] = allCases.map { Array($0.name.utf8) }

    /// The first key of a set of bits, for a message.
    static func first(in bits: UInt64) -> InterchangeKey? {
        allCases.first { $0.bit & bits != 0 }
    }
}

/// Why a line is not well-formed; the number of the line is added by whoever counts them.
struct InterchangeFault: Error {
    var text: String
    var isNewerFormat = false
    init(_ text: String) { self.text = text }
}

/// Bytes of a file, shortened and made harmless for a message of one line.
func printable(_ bytes: Span<UInt8>) -> String {
    var shown: [UInt8] = []
    for index in 0..<min(bytes.count, 40) {
        let byte = bytes[index]
        shown.append((0x20..<0x7F).contains(byte) ? byte : UInt8(ascii: "?"))
    }
    return String(decoding: shown, as: UTF8.self) + (bytes.count > 40 ? "..." : "")
}

func printable(_ text: String) -> String { printable(Array(text.utf8).span) }

/// A copy of bytes as text; what is not UTF-8 is replaced.
func string(_ bytes: Span<UInt8>) -> String {
    var copy: [UInt8] = []
    copy.reserveCapacity(bytes.count)
    for index in 0..<bytes.count { copy.append(bytes[index]) }
    return String(decoding: copy, as: UTF8.self)
}
