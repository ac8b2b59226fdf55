/// What the messages of one shard have come to: the fold of its log, without the application's state.
///
/// Dense on purpose: a ring per channel for what is pending and for what was received above the
/// floor; no dictionary is touched for a message. Payloads stay in the log.
public struct MessagingState: Sendable {
    /// The rules a log was made under.
    public struct Rules: Hashable, Sendable {
        /// Whether messages are answered; false for recorded one-way systems.
        public var answers: Bool
        /// Whether the log was made by a writer of ours: it has sessions and contiguous sequences.
        public var native: Bool
        /// Channels whose messages are received in any order.
        public var unordered: Set<Channel>
        /// Whether channels are ordered unless they stand in `unordered`.
        public var ordered: Bool

        public init(
            answers: Bool = true, native: Bool = true, ordered: Bool = true,
            unordered: Set<Channel> = []
        ) {
            self.answers = answers
            self.native = native
            self.ordered = ordered
            self.unordered = unordered
        }

        public func isOrdered(_ channel: Channel) -> Bool {
            ordered && !unordered.contains(channel)
        }
    }

    public let shard: ShardID
    public let rules: Rules
    /// The last offset folded.
    public internal(set) var offset = Offset.none
    /// The timestamp of the last commit folded.
    public internal(set) var timestamp = Timestamp.none
    public internal(set) var epoch = Epoch.none
    public internal(set) var foldVersion: UInt32 = 0
    /// Every session of this shard: its name and the offset of its `opened`.
    public internal(set) var sessions: [(session: Session, first: Offset)] = []
    /// By shard id; index 0 is unused.
    public internal(set) var peers: ContiguousArray<PeerState>
    public internal(set) var clients: [Bytes16: ClientState] = [:]
    /// Nanoseconds that an operator admitted this log to run ahead of the wall clock.
    public internal(set) var admittedDifference: UInt64 = 0
    public internal(set) var anomalyCount: UInt64 = 0
    /// The first anomalies, at most ``anomaliesMax``; the count goes on.
    public internal(set) var anomalies: [Anomaly] = []
    public static let anomaliesMax = 64

    public init(shard: ShardID, shardCount: Int, rules: Rules) {
        self.shard = shard
        self.rules = rules
        peers = ContiguousArray(repeating: PeerState(), count: shardCount + 1)
        for index in 1...max(1, shardCount) where index < peers.count {
            let peer = ShardID(UInt32(index))
            peers[index].isOrdered = rules.isOrdered(Channel(origin: peer, destination: shard))
        }
    }

    public var session: Session { sessions.last?.session ?? .none }

    public func peer(_ shard: ShardID) -> PeerState? {
        shard.rawValue >= 1 && Int(shard.rawValue) < peers.count
            ? peers[Int(shard.rawValue)] : nil
    }

    /// Messages of this shard without a terminal event.
    public var pendingCount: Int { peers.reduce(0) { $0 + $1.pending.count } }
    /// Messages this shard has applied and not answered.
    public var owedCount: UInt64 { peers.reduce(0) { $0 + $1.owed } }

    /// Whether a position lies within a session of this log.
    public func holds(_ offset: Offset, in session: Session, through durable: Offset) -> Bool {
        guard let index = sessions.lastIndex(where: { $0.session == session }) else { return false }
        let end =
            index + 1 < sessions.count
            ? Offset(sessions[index + 1].first.rawValue - 1) : durable
        return offset >= sessions[index].first && offset <= end
    }
}

/// A place at which a log breaks a law of the protocol.
public struct Anomaly: Hashable, Sendable {
    public enum Code: UInt8, CaseIterable, Sendable {
        case unknownPeer = 1
        case epochJump = 2
        case noSession = 3
        case sentOutOfSequence = 4
        case receivedTwice = 5
        case receivedOutOfOrder = 6
        case receivedBelowFloor = 7
        case settledBeyondItself = 8
        case answeredWithoutReceipt = 9
        case answeredTwice = 10
        case settledWithoutSend = 11
        case reemittedWithoutSend = 12
        case commandedTwice = 13
        case witnessedItself = 14

        public var text: String {
            switch self {
            case .unknownPeer: "names a shard that the ledger does not have"
            case .epochJump: "opens a session whose epoch does not follow the one before"
            case .noSession: "stands before any session was opened"
            case .sentOutOfSequence: "does not carry the channel's next sequence"
            case .receivedTwice: "is a second receipt of the same message"
            case .receivedOutOfOrder: "is not the next message of an ordered channel"
            case .receivedBelowFloor: "is a receipt at or below the channel's floor"
            case .settledBeyondItself: "says that the message itself was settled already"
            case .answeredWithoutReceipt: "answers a message that was not received and applied"
            case .answeredTwice: "answers a message that was answered already"
            case .settledWithoutSend: "settles a message that is not pending"
            case .reemittedWithoutSend: "sends messages again that were never sent"
            case .commandedTwice: "records a command that this client had recorded already"
            case .witnessedItself: "witnesses the shard's own log"
            }
        }
    }

    public var code: Code
    public var offset: Offset
    public var peer: ShardID
    public var sequence: SequenceNumber
}

/// A message of this shard that is not settled.
public struct PendingSend: Vacant {
    /// The offset of its `sent`.
    public var offset: Offset
    public var sentAt: Timestamp
    public var deadline: Timestamp
    public static var vacant: PendingSend {
        PendingSend(offset: .none, sentAt: .none, deadline: .none)
    }
    public var isVacant: Bool { offset == .none }
}

/// A message received above the floor.
public struct Receipt: Vacant {
    /// The offset of its `received`.
    public var offset: Offset
    /// The offset of its `answered`; zero while it is owed, and when it expired.
    public var answer: Offset
    public var isExpired: Bool
    public static var vacant: Receipt { Receipt(offset: .none, answer: .none, isExpired: false) }
    public var isVacant: Bool { offset == .none }
    public var isOwed: Bool { answer == .none && !isExpired }
}

/// Where a recorded command stands.
public struct CommandRecord: Vacant {
    public var offset: Offset
    public static var vacant: CommandRecord { CommandRecord(offset: .none) }
    public var isVacant: Bool { offset == .none }
}

/// What this log has last seen of a peer's log.
public struct Witness: Hashable, Sendable {
    public var session = Session.none
    /// The highest offset of the peer's log that this session's evidence names.
    public var offset = Offset.none
    /// The own offset of the event that holds that evidence.
    public var recordedAt = Offset.none
    /// The peer's offset at the last `witnessed`.
    public var headOffset = Offset.none
}

/// What a shard's durable log last witnessed of a peer, sent to it for confirmation.
public struct Statement: Hashable, Sendable {
    /// The peer's session that was last witnessed; none when it never was.
    public var session = Session.none
    /// The highest offset witnessed in it.
    public var offset = Offset.none
    /// The sender's own offset of the event that holds that evidence.
    public var statementOffset = Offset.none
    /// The highest sequence received from the peer.
    public var receivedThrough = SequenceNumber.none
    /// The sender's floor for messages of the peer.
    public var floor = SequenceNumber.none
    /// All sequences of the sender's own messages to the peer through this one are terminal.
    public var settledThrough = SequenceNumber.none

    public init() {}
}

/// Bytes that differed once already: recorded once per name and digest.
public struct ConflictRecord: Hashable, Sendable {
    public var sequence: SequenceNumber
    public var reason: Reason
    public var offered: Digest
}

/// Both directions of one pair of shards, as one of them knows them.
public struct PeerState: Sendable {
    /// The sequence of the next message to the peer.
    public internal(set) var next = SequenceNumber(1)
    public internal(set) var pending = SequenceMap<PendingSend>()
    /// The attempt of the last re-emission; zero again once something settles.
    public internal(set) var attempt: UInt32 = 0
    /// Sequences timed out by force, ascending.
    public internal(set) var forced: [SequenceNumber] = []

    /// All messages from the peer up to here are terminal at the peer.
    public internal(set) var floor = SequenceNumber.none
    /// The highest sequence received from the peer.
    public internal(set) var receivedThrough = SequenceNumber.none
    public internal(set) var receipts = SequenceMap<Receipt>()
    public internal(set) var owed: UInt64 = 0
    /// Whether messages from the peer are received in order only.
    public internal(set) var isOrdered = true

    public internal(set) var witness = Witness()
    public internal(set) var conflicts: [ConflictRecord] = []
    public static let conflictsMax = 1024
    /// Statements of the peer that an operator accepted.
    public internal(set) var accepted: [Statement] = []

    public internal(set) var counts = Counts()

    /// Events per kind, and sends closed as lost by an `intervened`.
    public struct Counts: Hashable, Sendable {
        public var sent: UInt64 = 0
        public var applied: UInt64 = 0
        public var expired: UInt64 = 0
        public var answered: UInt64 = 0
        public var acknowledged: UInt64 = 0
        public var timedOut: UInt64 = 0
        public var lost: UInt64 = 0
        public var reemitted: UInt64 = 0
    }

    /// All own messages through this one are terminal.
    public var settledThrough: SequenceNumber {
        if let lowest = pending.lowest { return SequenceNumber(lowest.rawValue - 1) }
        return SequenceNumber(next.rawValue - 1)
    }

    /// Sequences between the oldest pending message and the next one: what `pendingMax` bounds.
    public var span: UInt64 { next.rawValue - 1 - settledThrough.rawValue }

    /// The statement this side makes about the peer.
    public var statement: Statement {
        var statement = Statement()
        statement.session = witness.session
        statement.offset = witness.offset
        statement.statementOffset = witness.recordedAt
        statement.receivedThrough = receivedThrough
        statement.floor = floor
        statement.settledThrough = settledThrough
        return statement
    }
}

/// The commands of one client that are remembered.
public struct ClientState: Sendable {
    public internal(set) var highest = SequenceNumber.none
    public internal(set) var settledThrough = SequenceNumber.none
    public internal(set) var records = SequenceMap<CommandRecord>()
    /// Commands remembered per client.
    public static let rememberedMax: UInt64 = 1024

    /// Whether a sequence lies below what is remembered.
    public func isTooOld(_ sequence: SequenceNumber) -> Bool {
        sequence <= settledThrough
            || (highest.rawValue > Self.rememberedMax
                && sequence.rawValue <= highest.rawValue - Self.rememberedMax)
    }
}
