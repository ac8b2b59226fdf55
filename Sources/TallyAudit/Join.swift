public import TallyCore
public import TallyStore

/// Both halves of every message of a ledger at one cut.
public struct Joined: Sendable {
    /// Channels on which anything happened, by origin and destination.
    public var channels: [(channel: Channel, summary: ChannelSummary)]
    /// Pending messages, classified, by name.
    public var orphans: [Orphan]
    /// What else is to be said about messages, by name.
    public var findings: [HalfFinding]
    /// Shards whose logs could not be read to the cut.
    public var problems: [(shard: ShardID, problem: StoreError)]
    /// Events read.
    public var events: UInt64
    /// Distinct messages seen.
    public var messages: UInt64
    /// The greatest timestamp in the cut: what ages count from.
    public var latest: Timestamp
    /// Whether a log, or a part of one, could not be read.
    public var isPartial: Bool { !problems.isEmpty }

    /// The counts of all channels together.
    public subscript(_ channel: Channel) -> ChannelSummary {
        channels.first { $0.channel == channel }?.summary ?? ChannelSummary()
    }
}

/// Puts the two halves of every message together in one pass over all logs.
///
/// The logs are merged by (timestamp, shard). A message whose halves agree leaves memory as soon as
/// it is settled, so memory follows what is in flight. Whatever does not happen exactly once (a
/// second receipt, a receipt behind the settlement) is named in the first pass and read again,
/// whole, in a second one: memory follows those, too. Times order nothing but this: a receipt that
/// comes before its send (foreign clocks) is matched all the same, and only what is unmatched at
/// the end is classified.
public enum Join {
    /// Joins a ledger.
    ///
    /// - Parameters:
    ///   - audit: The ledger.
    ///   - cut: `nil`: everything there is.
    ///   - comparesBytes: Whether messages are hashed, so that other bytes under the same name are
    ///     seen. Without it two halves of one name match; a one-way ledger is always hashed.
    ///   - progress: Called now and then with the events read so far.
    /// - Complexity: O(events), and O(in flight) memory.
    public static func run(
        _ audit: AuditLedger, at cut: Cut? = nil, comparesBytes: Bool = true,
        progress: ((UInt64) -> Void)? = nil
    ) throws -> Joined {
        try run(
            audit, at: cut, comparesBytes: comparesBytes, excluding: [:], progress: progress)
    }

    /// - Parameter excluded: Logs that are known to make no sense, and why; they are not read.
    static func run(
        _ audit: AuditLedger, at cut: Cut?, comparesBytes: Bool,
        excluding excluded: [ShardID: StoreError], progress: ((UInt64) -> Void)? = nil
    ) throws -> Joined {
        try audit.reading {
            let pass = JoinPass(
                audit, cut ?? audit.cut, comparesBytes || !audit.manifest.hasAnswers, excluded)
            pass.run(progress)
            return pass.result()
        }
    }
}

/// One channel during the pass.
private final class ChannelPass {
    let channel: Channel
    var summary = ChannelSummary()
    var entries = EntryTable()
    var settled = SequenceIntervals()
    var odd: Set<SequenceNumber> = []
    var messages: UInt64 = 0

    init(_ channel: Channel) { self.channel = channel }

    func take(_ event: HalfEvent, answers: Bool) {
        switch event.kind {
        case .sent: summary.sent += 1
        case .received: summary.received += 1
        case .answered: summary.answered += 1
        case .acknowledged: summary.acknowledged += 1
        default: summary.timedOut += 1
        }
        let sequence = event.name.sequence
        if !odd.isEmpty, odd.contains(sequence) { return }
        if !entries.contains(sequence), settled.contains(sequence) {
            // Counted as settled already; the second pass counts it again, from all its events.
            odd.insert(sequence)
            summary.matched -= 1
            messages -= 1
            return
        }
        var isOdd = false
        var isSettled = false
        entries.update(sequence) { entry in
            isOdd = !entry.take(event)
            isSettled = !isOdd && entry.isComplete(answers: answers)
            return !isOdd && !isSettled
        }
        if isOdd {
            odd.insert(sequence)
        } else if isSettled {
            settled.insert(sequence)
            summary.matched += 1
            messages += 1
        }
    }
}

private final class JoinPass {
    private let audit: AuditLedger
    private let comparesBytes: Bool
    private var context: JoinContext
    private let excluded: Set<ShardID>
    private var problems: [ShardID: StoreError]
    private var channels: [Channel: ChannelPass] = [:]
    /// By shard and peer: the channel that was used last, so that no dictionary is touched per
    /// event.
    private var recent: [(outgoing: ChannelPass?, incoming: ChannelPass?)]
    private var events: UInt64 = 0
    private var orphans: [Orphan] = []
    private var findings: [HalfFinding] = []
    private var oddMessages: UInt64 = 0

    init(
        _ audit: AuditLedger, _ cut: Cut, _ comparesBytes: Bool,
        _ excluded: [ShardID: StoreError]
    ) {
        self.audit = audit
        self.comparesBytes = comparesBytes
        context = JoinContext(answers: audit.manifest.hasAnswers, cut: cut)
        context.windows = Set(audit.manifest.windows.keys)
        self.excluded = Set(excluded.keys)
        problems = excluded
        recent = Array(repeating: (nil, nil), count: audit.shards.count + 1)
        for shard in audit.shards {
            if let problem = shard.problem, problems[shard.shard] == nil {
                problems[shard.shard] = problem
            }
        }
    }

    private func readers(only: Set<MessageName>? = nil) -> [HalfReader] {
        audit.shards.compactMap { shard in
            guard let log = shard.log, !excluded.contains(shard.shard) else { return nil }
            return HalfReader(
                shard.shard, log, from: audit.manifest.first(of: shard.shard),
                through: context.cut.through(shard.shard), shardCount: audit.shards.count,
                comparesBytes: comparesBytes, only: only)
        }
    }

    func run(_ progress: ((UInt64) -> Void)?) {
        let first = readers()
        merge(first, progress) { take($0) }
        for reader in first {
            if !reader.losses.isEmpty { context.losses[reader.shard] = reader.losses }
            if let problem = reader.problem { problems[reader.shard] = problem }
            events += reader.eventCount
        }
        context.unreadable = Set(problems.keys)
        classifyRemaining()
        classifyOdd()
    }

    private func take(_ event: HalfEvent) {
        let index = Int(event.shard.rawValue)
        let channel = event.name.channel
        if event.kind == .received || event.kind == .answered {
            if recent[index].incoming?.channel != channel {
                recent[index].incoming = pass(of: channel)
            }
            recent[index].incoming?.take(event, answers: context.answers)
        } else {
            if recent[index].outgoing?.channel != channel {
                recent[index].outgoing = pass(of: channel)
            }
            recent[index].outgoing?.take(event, answers: context.answers)
        }
    }

    private func pass(of channel: Channel) -> ChannelPass {
        if let known = channels[channel] { return known }
        let new = ChannelPass(channel)
        channels[channel] = new
        return new
    }

    /// Visits the events of all logs by (timestamp, shard).
    private func merge(
        _ readers: [HalfReader], _ progress: ((UInt64) -> Void)?, _ body: (HalfEvent) -> Void
    ) {
        var told: UInt64 = 0
        while true {
            while true {
                let hungry = readers.filter { $0.isEmpty && !$0.isDone }
                if hungry.isEmpty { break }
                // Others are read on as well when they are there: all cores are at work then.
                let due = readers.filter { !$0.isDone && $0.index * 2 >= $0.buffer.count }
                _ = Parallel.map(due.count) { due[$0].refill() }
                if let progress {
                    let read = readers.reduce(0) { $0 + $1.eventCount }
                    if read - told > 200_000 {
                        told = read
                        progress(read)
                    }
                }
            }
            var lowest: HalfReader?
            var second = Timestamp.greatest
            for reader in readers where !reader.isEmpty {
                guard let known = lowest else {
                    lowest = reader
                    continue
                }
                if reader.headTime < known.headTime {
                    second = known.headTime
                    lowest = reader
                } else {
                    second = min(second, reader.headTime)
                }
            }
            guard let lowest else { return }
            repeat { body(lowest.take()) } while !lowest.isEmpty && lowest.headTime < second
        }
    }

    // MARK: At the end

    private func conclude(_ found: Classification, _ pass: ChannelPass) {
        pass.summary.add(found.counts)
        pass.messages += 1
        if let orphan = found.orphan { orphans.append(orphan) }
        findings.append(contentsOf: found.findings)
    }

    private func classifyRemaining() {
        for pass in channels.values {
            pass.entries.forEach { sequence, entry in
                let name = MessageName(channel: pass.channel, sequence: sequence)
                conclude(entry.history(name).classify(context), pass)
            }
        }
    }

    private func classifyOdd() {
        var names: Set<MessageName> = []
        for pass in channels.values {
            for sequence in pass.odd {
                names.insert(MessageName(channel: pass.channel, sequence: sequence))
            }
        }
        guard !names.isEmpty else { return }
        var histories: [MessageName: MessageHistory] = [:]
        merge(readers(only: names), nil) { event in
            histories[event.name, default: MessageHistory(event.name)].add(event)
        }
        for (name, history) in histories {
            conclude(history.classify(context), pass(of: name.channel))
        }
    }

    func result() -> Joined {
        let sorted = channels.values.sorted { $0.channel < $1.channel }
        return Joined(
            channels: sorted.map { ($0.channel, $0.summary) },
            orphans: orphans.sorted { $0.message < $1.message },
            findings: findings.sorted { left, right in
                left.message != right.message
                    ? left.message < right.message
                    : left.evidence.map(\.offset).lexicographicallyPrecedes(
                        right.evidence.map(\.offset))
            },
            problems: problems.sorted { $0.key < $1.key }.map { ($0.key, $0.value) },
            events: events, messages: sorted.reduce(0) { $0 + $1.messages },
            latest: context.cut.latest)
    }
}

extension MessageEntry {
    fileprivate func history(_ name: MessageName) -> MessageHistory {
        var history = MessageHistory(name)
        func event(_ kind: EventKind, _ shard: ShardID, _ offset: Offset) -> HalfEvent {
            HalfEvent(kind, name, in: shard, at: offset)
        }
        let (origin, destination) = (name.channel.origin, name.channel.destination)
        if send != .none {
            var half = event(.sent, origin, send)
            (half.time, half.deadline, half.digest) = (sentAt, deadline, sendDigest)
            history.sends.append(half)
        }
        if receipt != .none {
            var half = event(.received, destination, receipt)
            (half.time, half.outcome, half.digest) = (receivedAt, disposition, receiptDigest)
            half.peerOffset = receiptPeerOffset
            history.receipts.append(half)
        }
        if answer != .none {
            var half = event(.answered, destination, answer)
            half.outcome = answerOutcome
            history.answers.append(half)
        }
        if terminal != .none {
            var half = event(isTimeout ? .timedOut : .acknowledged, origin, terminal)
            (half.time, half.outcome, half.isForced) = (terminalAt, terminalOutcome, isForced)
            half.peerOffset = terminalPeerOffset
            history.terminals.append(half)
        }
        return history
    }
}

extension HalfEvent {
    fileprivate init(
        _ kind: EventKind, _ name: MessageName, in shard: ShardID, at offset: Offset
    ) {
        self.shard = shard
        time = .none
        self.offset = offset
        self.kind = kind
        outcome = .none
        isForced = false
        self.name = name
        deadline = .none
        peerOffset = .none
    }
}

extension ChannelSummary {
    fileprivate mutating func add(_ other: ChannelSummary) {
        pending += other.pending
        matched += other.matched
        undelivered += other.undelivered
        owed += other.owed
        unacknowledged += other.unacknowledged
        expired += other.expired
        unknown += other.unknown
        unsent += other.unsent
        conflicting += other.conflicting
        repeated += other.repeated
        overruled += other.overruled
        unfounded += other.unfounded
        outside += other.outside
        lost += other.lost
        books.lostApplied += other.books.lostApplied
        books.lostExpired += other.books.lostExpired
        books.lostAcknowledged += other.books.lostAcknowledged
        books.lostTimedOut += other.books.lostTimedOut
        books.closedSends += other.books.closedSends
        books.forced += other.books.forced
        books.closedAsLost += other.books.closedAsLost
        books.forcedExpired += other.books.forcedExpired
        books.isBounded = books.isBounded || other.books.isBounded
    }
}
