/// Bytes of an operator's reason that are recorded.
let reasonLengthMax = 4096

/// Re-emission: idempotent, paced, recorded, and it never gives up.
extension ShardMachine {
    /// Sets the timer for what is pending now, or none when nothing is.
    mutating func setRetry(_ index: Int, now: Now) {
        guard options.retries, !messaging.peers[index].pending.isEmpty else {
            links[index].retryAt = nil
            return
        }
        let level = min(links[index].retryLevel, 20)
        var delay = min(options.retryBase << level, options.retryMax)
        if isUnusual(.retrySoon) { delay /= 16 }
        links[index].retryAt = now.ticks &+ jittered(delay)
        links[index].retryThrough = SequenceNumber(messaging.peers[index].next.rawValue - 1)
    }

    /// Whether the peer's present session has been told that this one is whole.
    private func isReachable(_ index: Int) -> Bool {
        index == Int(shard.rawValue)
            || (links[index].confirmedTo != .none && links[index].known != .none)
    }

    mutating func wake(now: Now, log: some OwnLog) -> StepResult {
        guard isOpened else { return .done }
        for index in links.indices.dropFirst() {
            if links[index].heard != .none, index != Int(shard.rawValue), isUnusual(.askAgain) {
                links[index].askAt = now.ticks
            }
            if let askAt = links[index].askAt, askAt <= now.ticks { ask(index, now: now) }
            guard let retryAt = links[index].retryAt, retryAt <= now.ticks else { continue }
            let through = links[index].retryThrough
            let sequencesMax = isUnusual(.reemitOne) ? 1 : options.reemitMessagesMax
            let hasQuiet = !isUnusual(.forgetQuiet)
            var sequences: [SequenceNumber] = []
            messaging.peers[index].pending.forEach { sequence, _ in
                guard sequence <= through, sequences.count < sequencesMax else { return false }
                if hasQuiet, let quiet = links[index].quiet[sequence], quiet > now.ticks {
                    return true
                }
                sequences.append(sequence)
                return true
            }
            if !sequences.isEmpty, isReachable(index) {
                let isLate = sequences.first.flatMap { messaging.peers[index].pending[$0] }
                    .map { $0.deadline != .none && $0.deadline <= now.wall }
                guard
                    reemit(
                        index, sequences, reason: isLate == true ? .deadline : .retry,
                        now: now, log: log) != nil
                else { return .sealFirst }
                links[index].retryLevel += 1
            } else if !sequences.isEmpty, links[index].askAt == nil {
                // The peer has never asked this session: a late `confirmed` of a dead one can have
                // made it content. Being asked, it asks.
                ask(index, now: now)
            }
            setRetry(index, now: now)
        }
        return .done
    }

    /// Records one attempt for a range and queues its messages.
    ///
    /// - Returns: How many of the sequences were taken, bounded by the budget; `nil` when the commit
    ///   has to be sealed first.
    private mutating func reemit(
        _ index: Int, _ sequences: [SequenceNumber], reason: Reason, plan: Bytes16 = .none,
        text: [UInt8] = [], now: Now, log: some OwnLog
    ) -> Int? {
        guard let first = sequences.first else { return 0 }
        guard openCommit(now: now, payloadBytes: reasonLengthMax) else { return nil }
        let peer = ShardID(UInt32(index))
        var deliveries: [Delivery] = []
        var bytes = 0
        let settled = messaging.peers[index].settledThrough
        for sequence in sequences {
            guard let pending = messaging.peers[index].pending[sequence] else { continue }
            guard let record = record(at: pending.offset, log: log) else {
                stop = .log(pending.offset)
                return sequences.count
            }
            if bytes > 0, bytes + record.payload.count > options.reemitBytesMax { break }
            bytes += record.payload.count
            deliveries.append(
                Delivery(
                    sequence: sequence, offset: pending.offset, sentAt: pending.sentAt,
                    deadline: pending.deadline, settledThrough: settled,
                    correlation: record.event.correlation, payload: record.payload[...]))
        }
        guard let last = deliveries.last else { return sequences.count }
        var event = Event(.reemitted)
        event.peer = peer
        event.sequence = first
        event.through = last.sequence
        event.attempt = messaging.peers[index].attempt &+ 1
        event.reason = reason
        event.identity = plan
        append(event, payload: text.prefix(reasonLengthMax))
        for delivery in deliveries { queue(peer, .message(delivery)) }
        return deliveries.count
    }

    /// Sends the pending messages of a plan again, one `reemitted` per channel and contiguous range.
    ///
    /// A plan may have more ranges than a commit holds: what was taken before the commit had to be sealed
    /// is not taken again.
    mutating func recover(
        plan: Bytes16, _ messages: [MessageName], reason: [UInt8], now: Now, log: some OwnLog
    ) -> StepResult {
        guard isOpened else { return .done }
        var byPeer: [Int: [SequenceNumber]] = [:]
        for message in messages where message.channel.origin == shard {
            let index = Int(message.channel.destination.rawValue)
            guard messaging.peers.indices.contains(index),
                messaging.peers[index].pending[message.sequence] != nil
            else { continue }
            byPeer[index, default: []].append(message.sequence)
        }
        for (index, sequences) in byPeer.sorted(by: { $0.key < $1.key }) {
            var sorted = sequences.sorted()
            if let done = recovered {
                guard index >= done.peer else { continue }
                if index == done.peer { sorted.removeAll { $0 <= done.sequence } }
            }
            var start = 0
            while start < sorted.count {
                var end = start + 1
                while end < sorted.count, sorted[end] == sorted[end - 1].next,
                    end - start < options.reemitMessagesMax
                {
                    end += 1
                }
                guard
                    let taken = reemit(
                        index, Array(sorted[start..<end]), reason: .recovery, plan: plan,
                        text: reason, now: now, log: log)
                else { return .sealFirst }
                start += max(1, taken)
                recovered = (index, sorted[min(start, sorted.count) - 1])
            }
        }
        recovered = nil
        return .done
    }

    /// Takes note of what is durable and hands out what may be said now.
    ///
    /// - Returns: Envelopes in the order in which they were decided, runs of one kind to one peer
    ///   joined. What has no session to go to is dropped: it is pending, and sent again later.
    public mutating func release(durable: LogPosition) -> [Envelope] {
        self.durable = durable
        guard isOpened,
            let count = outgoing.firstIndex(where: { $0.after > durable.offset })
                ?? (outgoing.isEmpty ? nil : outgoing.count), count > 0
        else { return [] }
        var runs = EnvelopeRuns(
            shard: shard, session: messaging.session, durable: durable,
            isShort: isUnusual(.shortRun))
        for item in outgoing[..<count] {
            runs.add(item, known: links[Int(item.peer.rawValue)].known)
        }
        outgoing.removeFirst(count)
        return runs.finished()
    }
}

/// Joins queued items to envelopes.
private struct EnvelopeRuns {
    let shard: ShardID
    let session: Session
    let durable: LogPosition
    private var envelopes: [Envelope] = []
    /// By peer and kind: the envelope that may still grow, and its bytes.
    private var open: [Run: (index: Int, bytes: Int)] = [:]
    private struct Run: Hashable {
        var peer: ShardID
        var session: Session
        var answers: Bool
    }
    /// Whether nothing is joined.
    private let isShort: Bool
    static var runBytesMax: Int { 1 << 20 }

    init(shard: ShardID, session: Session, durable: LogPosition, isShort: Bool) {
        self.isShort = isShort
        self.shard = shard
        self.session = session
        self.durable = durable
    }

    /// A message may go to a session that is known and not heard yet. What answers goes to the session
    /// it answers: to another one it would be an answer to another message of that name.
    mutating func add(_ outgoing: Outgoing, known: Session) {
        let peer = outgoing.peer
        let heard = outgoing.heard
        switch outgoing.item {
        case .confirmAsk(let statement):
            start(peer, known, .confirmAsk(statement))
        case .confirmed(let statement, let session):
            start(peer, session, .confirmed(statement))
        case .message(let delivery):
            guard known != .none else { return }
            let run = Run(peer: peer, session: known, answers: false)
            if let index = growing(run), case .deliver(var items) = envelopes[index].content {
                envelopes[index].content = .deliver([])
                items.append(delivery)
                envelopes[index].content = .deliver(items)
                open[run]?.bytes += delivery.encodedLength
            } else {
                start(peer, known, .deliver([delivery]))
                open[run] = (envelopes.count - 1, delivery.encodedLength)
            }
        case .answer(let item):
            guard heard != .none else { return }
            let run = Run(peer: peer, session: heard, answers: true)
            if let index = growing(run), case .answer(var items) = envelopes[index].content {
                envelopes[index].content = .answer([])
                items.append(item)
                envelopes[index].content = .answer(items)
                open[run]?.bytes += item.encodedLength
            } else {
                start(peer, heard, .answer([item]))
                open[run] = (envelopes.count - 1, item.encodedLength)
            }
        case .conflict(let item):
            guard heard != .none else { return }
            start(peer, heard, .conflict([item]))
        case .refused(let item):
            guard heard != .none else { return }
            start(peer, heard, .refused([item]))
        }
    }

    private func growing(_ run: Run) -> Int? {
        guard !isShort, let open = open[run], open.bytes < Self.runBytesMax else { return nil }
        return open.index
    }

    private mutating func start(_ peer: ShardID, _ known: Session, _ content: Envelope.Content) {
        let header = EnvelopeHeader(
            sender: shard, receiver: peer, senderSession: session, receiverSession: known,
            durableEnd: durable)
        envelopes.append(Envelope(header: header, content: content))
    }

    func finished() -> [Envelope] { envelopes }
}
