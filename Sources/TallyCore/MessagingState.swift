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

        /// Makes rules; those of a native ledger unless given.
        public init(
            answers: Bool = true, native: Bool = true, ordered: Bool = true,
            unordered: Set<Channel> = []
        ) {
            self.answers = answers
            self.native = native
            self.ordered = ordered
            self.unordered = unordered
        }

        /// Whether a channel delivers in order.
        public func isOrdered(_ channel: Channel) -> Bool {
            ordered && !unordered.contains(channel)
        }
    }

    /// The shard whose log is folded.
    public let shard: ShardID
    /// What kind of ledger it is of.
    public let rules: Rules
    /// The last offset folded.
    public internal(set) var offset = Offset.none
    /// The timestamp of the last commit folded.
    public internal(set) var timestamp = Timestamp.none
    /// The epoch of the present session.
    public internal(set) var epoch = Epoch.none
    /// The fold version that the last `opened` recorded.
    public internal(set) var foldVersion: UInt32 = 0
    /// Every session of this shard: its name and the offset of its `opened`.
    public internal(set) var sessions: [(session: Session, first: Offset)] = []
    /// By shard id; index 0 is unused.
    public internal(set) var peers: ContiguousArray<PeerState>
    /// What is remembered of each client.
    public internal(set) var clients: [Bytes16: ClientState] = [:]
    /// Nanoseconds that an operator admitted this log to run ahead of the wall clock.
    public internal(set) var admittedDifference: UInt64 = 0
    /// How often the log breaks a law.
    public internal(set) var anomalyCount: UInt64 = 0
    /// The first anomalies, at most ``anomaliesMax``; the count goes on.
    public internal(set) var anomalies: [Anomaly] = []
    /// Anomalies listed at most.
    public static let anomaliesMax = 64

    /// The state before the first event.
    public init(shard: ShardID, shardCount: Int, rules: Rules) {
        self.shard = shard
        self.rules = rules
        peers = ContiguousArray(repeating: PeerState(), count: shardCount + 1)
        for index in 1...max(1, shardCount) where index < peers.count {
            let peer = ShardID(UInt32(index))
            peers[index].isOrdered = rules.isOrdered(Channel(origin: peer, destination: shard))
        }
    }

    /// The present session; none before the first `opened`.
    public var session: Session { sessions.last?.session ?? .none }

    /// What is known of one peer; `nil` for a shard that the ledger does not have.
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
    /// Which law is broken; the numbers are stable.
    public enum Code: UInt8, CaseIterable, Sendable {
        /// It names a shard that the ledger does not have.
        case unknownPeer = 1
        /// A session whose epoch does not follow the one before.
        case epochJump = 2
        /// It stands before any session.
        case noSession = 3
        /// It is not the channel's next sequence.
        case sentOutOfSequence = 4
        /// A second receipt.
        case receivedTwice = 5
        /// Not the next message of an ordered channel.
        case receivedOutOfOrder = 6
        /// A receipt at or below the floor.
        case receivedBelowFloor = 7
        /// A message that calls itself settled.
        case settledBeyondItself = 8
        /// An answer to what was not applied.
        case answeredWithoutReceipt = 9
        /// A second answer.
        case answeredTwice = 10
        /// A settlement of what is not pending.
        case settledWithoutSend = 11
        /// A re-emission of what was never sent.
        case reemittedWithoutSend = 12
        /// A command recorded twice.
        case commandedTwice = 13
        /// It witnesses the shard's own log.
        case witnessedItself = 14

        /// What the event does, as a part of a sentence.
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

    /// Which law.
    public var code: Code
    /// The event that breaks it.
    public var offset: Offset
    /// The peer that event names.
    public var peer: ShardID
    /// The sequence that event names.
    public var sequence: SequenceNumber
}

/// A message of this shard that is not settled.
public struct PendingSend: Vacant {
    /// The offset of its `sent`.
    public var offset: Offset
    /// The time of the commit that sent it.
    public var sentAt: Timestamp
    /// Its deadline; zero: none.
    public var deadline: Timestamp
    /// Stands for no message.
    public static var vacant: PendingSend {
        PendingSend(offset: .none, sentAt: .none, deadline: .none)
    }
    /// Whether it stands for no message.
    public var isVacant: Bool { offset == .none }
}

/// A message received above the floor.
public struct Receipt: Vacant {
    /// The offset of its `received`.
    public var offset: Offset
    /// The offset of its `answered`; zero while it is owed, and when it expired.
    public var answer: Offset
    /// Whether it came too late.
    public var isExpired: Bool
    /// Stands for no receipt.
    public static var vacant: Receipt { Receipt(offset: .none, answer: .none, isExpired: false) }
    /// Whether it stands for no receipt.
    public var isVacant: Bool { offset == .none }
    /// Applied, and not answered yet.
    public var isOwed: Bool { answer == .none && !isExpired }
}

/// Where a recorded command stands.
public struct CommandRecord: Vacant {
    /// The offset of its `commanded`.
    public var offset: Offset
    /// Stands for no command.
    public static var vacant: CommandRecord { CommandRecord(offset: .none) }
    /// Whether it stands for no command.
    public var isVacant: Bool { offset == .none }
}

/// What this log has last seen of a peer's log.
public struct Witness: Hashable, Sendable {
    /// The peer's session that was last witnessed.
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

    /// Nothing witnessed.
    public init() {}
}

/// Bytes that differed once already: recorded once per name and digest.
public struct ConflictRecord: Hashable, Sendable {
    /// The message's place in its channel.
    public var sequence: SequenceNumber
    /// How it came to be known.
    public var reason: Reason
    /// The digest of what arrived.
    public var offered: Digest
}

/// Both directions of one pair of shards, as one of them knows them.
public struct PeerState: Sendable {
    /// The sequence of the next message to the peer.
    public internal(set) var next = SequenceNumber(1)
    /// Own messages to the peer that are not settled.
    public internal(set) var pending = SequenceMap<PendingSend>()
    /// The attempt of the last re-emission; zero again once something settles.
    public internal(set) var attempt: UInt32 = 0
    /// Sequences timed out by force, ascending.
    public internal(set) var forced: [SequenceNumber] = []

    /// All messages from the peer up to here are terminal at the peer.
    public internal(set) var floor = SequenceNumber.none
    /// The highest sequence received from the peer.
    public internal(set) var receivedThrough = SequenceNumber.none
    /// Messages from the peer above the floor, and owed ones at or below it.
    public internal(set) var receipts = SequenceMap<Receipt>()
    /// Messages from the peer that are applied and not answered.
    public internal(set) var owed: UInt64 = 0
    /// Whether messages from the peer are received in order only.
    public internal(set) var isOrdered = true

    /// What was last seen of the peer's log.
    public internal(set) var witness = Witness()
    /// Conflicts recorded.
    public internal(set) var conflicts: [ConflictRecord] = []
    /// Conflicts recorded per peer at most.
    public static let conflictsMax = 1024
    /// Statements of the peer that an operator accepted.
    public internal(set) var accepted: [Statement] = []

    /// Events that name the peer, by kind.
    public internal(set) var counts = Counts()

    /// Events per kind, and sends closed as lost by an `intervened`.
    public struct Counts: Hashable, Sendable {
        /// Messages sent to the peer.
        public var sent: UInt64 = 0
        /// Messages received from it in time.
        public var applied: UInt64 = 0
        /// Messages received from it too late.
        public var expired: UInt64 = 0
        /// Messages from it that were answered.
        public var answered: UInt64 = 0
        /// Own messages that were acknowledged.
        public var acknowledged: UInt64 = 0
        /// Own messages that timed out.
        public var timedOut: UInt64 = 0
        /// Own messages closed as lost.
        public var lost: UInt64 = 0
        /// Re-emissions recorded: one for each range.
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
    /// The highest sequence recorded.
    public internal(set) var highest = SequenceNumber.none
    /// Through here nothing will be asked again.
    public internal(set) var settledThrough = SequenceNumber.none
    /// Commands that are remembered.
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
