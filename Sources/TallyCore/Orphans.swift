/// What the two halves of one message say together. One log alone cannot tell these apart.

/// Why a message is pending.
public enum OrphanClass: String, CaseIterable, Sendable {
    /// The destination's log, read to its end, does not know it. Re-emission applies it, or records it
    /// as expired.
    case undelivered
    /// Received and applied, no answer yet. Nothing on the wire settles it; the destination owes.
    case owed
    /// Answered; the answer did not arrive.
    case unacknowledged
    /// Expired at the destination; the timeout did not arrive.
    case expired
    /// The destination's log is missing, unreadable, or not read that far.
    case unknown

    /// What settles it.
    public var action: String {
        switch self {
        case .undelivered, .unacknowledged, .expired: "re-emit"
        case .owed: "wait"
        case .unknown: "bring-log"
        }
    }
}

/// A place in one of a ledger's logs.
public struct Evidence: Hashable, Sendable {
    /// The shard.
    public var shard: ShardID
    /// The offset in its log.
    public var offset: Offset

    /// Names a place.
    public init(_ shard: ShardID, _ offset: Offset) {
        self.shard = shard
        self.offset = offset
    }
}

/// What the destination's log knows of a message.
public enum ReceiverHalf: Equatable, Sendable {
    /// Nothing.
    case absent
    /// The receipt; no answer yet.
    case applied(Offset)
    /// The receipt and its answer.
    case answered(receipt: Offset, answer: Offset)
    /// The expired receipt.
    case expired(Offset)
    /// The log cannot be read, or not that far.
    case unreadable
}

/// A pending message with its class.
public struct Orphan: Equatable, Sendable {
    /// The message.
    public var message: MessageName
    /// Why it is pending.
    public var `class`: OrphanClass
    /// Past its deadline.
    public var isOverdue: Bool
    /// When it was sent.
    public var since: Timestamp
    /// The send, and what the destination holds.
    public var evidence: [Evidence]

    /// Classifies one pending message from both halves.
    ///
    /// - Parameters:
    ///   - message: The message's name.
    ///   - pending: What its origin's log knows.
    ///   - receiver: What its destination's log knows.
    ///   - now: The latest timestamp of the ledger; ages and deadlines count from it, so the same cut
    ///     gives the same answer.
    public init(
        message: MessageName, pending: PendingSend, receiver: ReceiverHalf, now: Timestamp
    ) {
        self.message = message
        isOverdue = pending.deadline != .none && pending.deadline <= now
        since = pending.sentAt
        evidence = [Evidence(message.channel.origin, pending.offset)]
        let destination = message.channel.destination
        switch receiver {
        case .absent:
            `class` = .undelivered
        case .applied(let offset):
            `class` = .owed
            evidence.append(Evidence(destination, offset))
        case .answered(let receipt, let answer):
            `class` = .unacknowledged
            evidence.append(Evidence(destination, receipt))
            evidence.append(Evidence(destination, answer))
        case .expired(let offset):
            `class` = .expired
            evidence.append(Evidence(destination, offset))
        case .unreadable:
            `class` = .unknown
        }
    }
}

extension MessagingState {
    /// What this shard, as a destination, knows of a message above its floor.
    ///
    /// At or below the floor only an owed receipt is remembered; for the rest the log has to be
    /// read, and the answer here is `nil`.
    public func receiverHalf(of message: MessageName) -> ReceiverHalf? {
        guard let peer = peer(message.channel.origin) else { return .absent }
        guard let receipt = peer.receipts[message.sequence] else {
            return message.sequence > peer.floor ? .absent : nil
        }
        if receipt.isExpired { return .expired(receipt.offset) }
        return receipt.isOwed
            ? .applied(receipt.offset)
            : .answered(receipt: receipt.offset, answer: receipt.answer)
    }

    /// Every pending message of this shard, classified with the destinations' states.
    ///
    /// - Parameters:
    ///   - now: The latest timestamp of the ledger.
    ///   - destination: The state of a shard; `nil` when its log cannot be read.
    /// - Complexity: O(pending).
    public func orphans(
        now: Timestamp, destination: (ShardID) -> MessagingState?
    ) -> [Orphan] {
        var found: [Orphan] = []
        for index in peers.indices.dropFirst() where !peers[index].pending.isEmpty {
            let other = ShardID(UInt32(index))
            let state = other == shard ? self : destination(other)
            peers[index].pending.forEach { sequence, pending in
                let name = MessageName(from: shard, to: other, sequence)
                found.append(
                    Orphan(
                        message: name, pending: pending,
                        receiver: state.map { $0.receiverHalf(of: name) ?? .unreadable }
                            ?? .unreadable,
                        now: now))
                return true
            }
        }
        return found
    }
}
