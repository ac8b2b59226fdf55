internal import TallyCore
internal import TallyStore

/// What the join needs of one event that names a message.
struct HalfEvent {
    var shard: ShardID
    var time: Timestamp
    var offset: Offset
    var kind: EventKind
    var outcome: Outcome
    var isForced: Bool
    var name: MessageName
    var deadline: Timestamp
    var peerOffset: Offset
    /// Of a `sent` or `received`: the digest of the message; none when bytes are not compared.
    var digest = Digest.none

    /// The message of a `sent`, `received`, `answered`, `acknowledged` or `timedOut`; `nil` for
    /// others.
    static func name(_ view: EventView, _ kind: EventKind, in shard: ShardID) -> MessageName? {
        switch kind {
        case .sent, .acknowledged, .timedOut:
            MessageName(from: shard, to: view.peer, view.sequence)
        case .received, .answered:
            MessageName(from: view.peer, to: shard, view.sequence)
        default:
            nil
        }
    }

    init(
        _ view: EventView, _ kind: EventKind, _ name: MessageName, in shard: ShardID,
        _ time: Timestamp
    ) {
        self.shard = shard
        self.time = time
        offset = view.offset
        self.kind = kind
        outcome = view.outcome
        isForced = view.reason == .forced
        self.name = name
        deadline = view.deadline
        peerOffset = view.peerOffset
    }

    var evidence: Evidence { Evidence(shard, offset) }
}

/// A tail that a shard has lost and an operator accepted: an `intervened` with reason `peer`.
struct AcceptedLoss {
    /// The shard that lost it.
    var shard: ShardID
    /// The offset of the `intervened`.
    var offset: Offset
    var peer: ShardID
    /// The peer's own offset of what it had last seen.
    var statementOffset: Offset
    var receivedThrough: SequenceNumber
    var floor: SequenceNumber
    var settledThrough: SequenceNumber
    /// The last offset that the lost history shares with the log.
    var cut: Offset
}

/// Reads one log in pages, and keeps of it what the join needs.
///
/// A page is read in one short transaction, so nothing is held while other logs are read.
final class HalfReader {
    let shard: ShardID
    private let log: any LogReading
    private let through: Offset
    private let comparesBytes: Bool
    /// Only events of these messages are kept; `nil`: all.
    private let only: Set<MessageName>?
    private let shardCount: Int
    private var next: Offset
    private var lastTime = Timestamp.none
    private var sessions: [(session: Session, first: Offset)] = []

    private(set) var buffer: ContiguousArray<HalfEvent> = []
    private(set) var index = 0
    private(set) var isDone = false
    private(set) var problem: StoreError?
    private(set) var eventCount: UInt64 = 0
    private(set) var losses: [AcceptedLoss] = []

    /// Events of one page at least, unless the log ends.
    private static let pageMin = 8192

    init(
        _ shard: ShardID, _ log: any LogReading, from first: Offset, through: Offset,
        shardCount: Int, comparesBytes: Bool, only: Set<MessageName>? = nil
    ) {
        next = first
        self.shard = shard
        self.log = log
        self.through = through
        self.shardCount = shardCount
        self.comparesBytes = comparesBytes
        self.only = only
    }

    var isEmpty: Bool { index == buffer.count }

    /// The time of the first event that was not taken.
    var headTime: Timestamp { buffer[index].time }

    func take() -> HalfEvent {
        index += 1
        return buffer[index - 1]
    }

    /// Reads the next page behind what was not taken yet.
    func refill() {
        guard !isDone else { return }
        if isEmpty { buffer.removeAll(keepingCapacity: true) } else { buffer.removeFirst(index) }
        index = 0
        var scanned = 0
        var reachedEnd = true
        do {
            try log.forEachCommit(from: next) { commit in
                guard commit.firstOffset <= through else { return false }
                guard commit.firstOffset == next, commit.timestamp > lastTime else {
                    throw StoreError(
                        .damaged,
                        "the log of \(log.name) makes no sense at \(log.name)@\(next.rawValue);"
                            + " run: tally verify DIR")
                }
                read(commit)
                next = Offset(commit.lastOffset.rawValue + 1)
                lastTime = commit.timestamp
                scanned += commit.eventCount
                guard scanned >= Self.pageMin else { return true }
                reachedEnd = false
                return false
            }
        } catch {
            problem = StoreError(wrapping: error, log.name)
        }
        isDone = reachedEnd || problem != nil || next > through
        eventCount += UInt64(scanned)
    }

    private func read(_ commit: CommitView) {
        let (time, epoch, shard, through) = (commit.timestamp, commit.epoch, shard, through)
        commit.forEach { view in
            guard view.offset <= through else { return }
            let kind = view.kind
            guard let name = HalfEvent.name(view, kind, in: shard) else {
                if kind == .opened || kind == .intervened {
                    readRare(view.event, view.offset, epoch)
                }
                return
            }
            if let only, !only.contains(name) { return }
            guard view.peer.rawValue >= 1, view.peer.rawValue <= UInt32(shardCount) else { return }
            var half = HalfEvent(view, kind, name, in: shard, time)
            if comparesBytes, kind == .sent || kind == .received {
                half.digest = view.withPayload {
                    Hashing.digest(
                        of: name, deadline: view.deadline, correlation: view.correlation,
                        payload: $0)
                }
            }
            buffer.append(half)
        }
    }

    private func readRare(_ event: Event, _ offset: Offset, _ epoch: Epoch) {
        if event.kind == .opened {
            sessions.append((Session(epoch: epoch, nonce: event.identity), offset))
            return
        }
        guard event.reason == .peer else { return }
        losses.append(
            AcceptedLoss(
                shard: shard, offset: offset, peer: event.peer,
                statementOffset: event.statementOffset, receivedThrough: event.receivedThrough,
                floor: event.floor, settledThrough: event.settledThrough,
                cut: cut(of: event.peerSession, before: offset)))
    }

    /// Where the history of a session parts from this log; the same rule as the fold's.
    private func cut(of session: Session, before offset: Offset) -> Offset {
        if let index = sessions.lastIndex(where: { $0.session == session }) {
            return index + 1 < sessions.count
                ? Offset(sessions[index + 1].first.rawValue - 1) : offset
        }
        return .none
    }
}
