public import TallyCore

/// How deep a verification goes; each level needs those before it.
public enum VerifyLevel: String, CaseIterable, Comparable, Sendable {
    /// The file's pages hang together.
    case structure
    /// Every record is a valid commit; offsets, times and epochs go on.
    case commits
    /// Every commit names the head before it; the mark's head is in the log.
    case chain
    /// The fold finds no anomaly, and snapshots equal it.
    case fold
    /// Both halves of every message agree; every witnessed head is in the peer's chain.
    case halves
    /// Counted from opposite logs, every channel balances; the program's own law holds.
    case books

    private var depth: Int {
        switch self {
        case .structure: 0
        case .commits: 1
        case .chain: 2
        case .fold: 3
        case .halves: 4
        case .books: 5
        }
    }

    public static func < (left: Self, right: Self) -> Bool { left.depth < right.depth }
}

/// One contradiction, with its place.
public struct VerifyFinding: Equatable, Sendable {
    /// The level that found it.
    public var level: VerifyLevel
    /// Stable, in kebab case.
    public var code: String
    /// The shard it is about, if one.
    public var shard: ShardID?
    /// The offset it is about, if one.
    public var offset: Offset?
    /// The message it is about, if one.
    public var message: MessageName?
    /// One sentence for a person.
    public var text: String
    /// The places in the logs.
    public var evidence: [Evidence]

    init(
        _ level: VerifyLevel, _ code: String, _ shard: ShardID? = nil, _ offset: Offset? = nil,
        message: MessageName? = nil, text: String, evidence: [Evidence]? = nil
    ) {
        self.level = level
        self.code = code
        self.shard = shard
        self.offset = offset
        self.message = message
        self.text = text
        let place = shard.flatMap { shard in offset.map { [Evidence(shard, $0)] } }
        self.evidence = evidence ?? place ?? []
    }
}

/// What one level came to.
public struct VerifiedLevel: Equatable, Sendable {
    /// The level.
    public var level: VerifyLevel
    /// Whether there was something to check, and it was checked.
    public var isChecked: Bool
    /// Pages; commits; commits; events; messages and witnessed heads; channels.
    public var items: UInt64
    /// How many findings it had.
    public var findings: UInt64
}

/// What a verification checked, what it found, and what it did not check.
public struct VerifyReport: Sendable {
    /// The levels asked for, in order.
    public var levels: [VerifiedLevel]
    /// By level, shard, offset.
    public var findings: [VerifyFinding]
    /// What was not checked and why, one line each.
    public var notChecked: [String]
    /// What a person should know, one line each.
    public var notes: [String]
    /// Whether a shard could not be checked as deep as asked.
    public var isPartial: Bool

    /// No finding, and something was checked at every level asked for: nothing checked is a
    /// failure.
    public var isClean: Bool {
        findings.isEmpty && !levels.isEmpty && levels.allSatisfy(\.isChecked)
    }
}

extension Anomaly.Code {
    /// The finding's code, in kebab case.
    var findingCode: String {
        switch self {
        case .unknownPeer: "unknown-peer"
        case .epochJump: "epoch-jump"
        case .noSession: "no-session"
        case .sentOutOfSequence: "sent-out-of-sequence"
        case .receivedTwice: "received-twice"
        case .receivedOutOfOrder: "received-out-of-order"
        case .receivedBelowFloor: "received-below-floor"
        case .settledBeyondItself: "settled-beyond-itself"
        case .answeredWithoutReceipt: "answered-without-receipt"
        case .answeredTwice: "answered-twice"
        case .settledWithoutSend: "settled-without-send"
        case .reemittedWithoutSend: "reemitted-without-send"
        case .commandedTwice: "commanded-twice"
        case .witnessedItself: "witnessed-itself"
        }
    }
}
