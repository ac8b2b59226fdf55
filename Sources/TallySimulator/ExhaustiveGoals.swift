internal import TallyCore

extension Exploration {
    /// A situation that must have been reached by some exploration: one in which nothing ever went
    /// wrong has shown nothing.
    public enum Goal: String, CaseIterable, Sendable {
        /// A known and answered message came again and was answered again.
        case answeredAgain = "duplicate-answered-again"
        /// A known and owed message came again.
        case owedHint = "duplicate-of-owed-hinted"
        /// A message came behind its deadline.
        case expired = "expired-recorded"
        /// An expired message came again and was not applied.
        case expiredAgain = "expired-then-late-copy-refused"
        /// A message received in time came again behind its deadline: identity before clock.
        case knownPastDeadline = "known-past-deadline-answered-again"
        /// A copy came at or below the floor.
        case belowFloor = "below-floor-dropped"
        /// A message came too early for its ordered channel.
        case early = "early-not-appended"
        /// On an ordered channel a message was applied behind one that had expired.
        case appliedBehindExpired = "applied-behind-expired"
        /// A receipt above one that is missing, on an unordered channel.
        case windowWithGap = "window-with-gap"
        /// Accepted, and the origin knows.
        case accepted = "acknowledged-accepted"
        /// Rejected, and the origin knows.
        case rejected = "acknowledged-rejected"
        /// Timed out by evidence.
        case timedOut = "timed-out-with-evidence"
        /// An answer came for a message that was settled.
        case lateAnswer = "late-answer-ignored"
        /// An answer came for a session that had ended.
        case answerToDead = "answer-to-dead-session-dropped"
        /// A message came for a session that had ended.
        case messageToDead = "message-to-dead-session-dropped"
        /// A message came from a session that is not heard, or not any more.
        case unheardSender = "unheard-sender-dropped"
        /// `confirm?` of a session that had ended.
        case oldAsk = "confirm-of-dead-session-asked"
        /// `confirmed` with a statement that is not the present one.
        case staleConfirmed = "stale-confirmed-dropped"
        /// `confirmed` of a new session: it is heard from here on.
        case newSessionHeard = "new-session-heard"
        /// A shard died with a receipt durable and its answer not yet gone.
        case diedBeforeAnswerLeft = "crash-between-receipt-and-answer"
        /// A shard died with a send durable and its message not yet gone.
        case diedBeforeMessageLeft = "crash-between-send-and-release"
        /// A shard died with a terminal event durable.
        case diedBehindTerminal = "crash-behind-terminal-event"
        /// A shard died before its session's `opened` had left a trace.
        case diedOpening = "crash-while-opening"
        /// A crash took a send that was not durable.
        case sendLost = "unflushed-send-lost"
        /// A crash took a receipt that was not durable.
        case receiptLost = "unflushed-receipt-lost"
        /// A crash kept one of several commits that were not durable.
        case prefixKept = "unflushed-prefix-kept"
        /// Both shards were down.
        case bothDown = "both-shards-down"
        /// Pending on the wall clock past its deadline, with no evidence.
        case overdue = "pending-past-deadline"
        /// Sent again because its deadline had passed.
        case deadlineReemission = "re-emission-past-deadline"
        /// Sent again by a later session than the one that sent it.
        case reemittedAfterRestart = "re-emission-after-restart"
        /// Settled in a later session than the one that sent it.
        case settledAfterRestart = "settled-after-restart"
        /// Owed by a shard that started again.
        case owedAcrossRestart = "owed-across-restart"
        /// Answered in a later session than the one that received it.
        case owedAnsweredAfterRestart = "owed-answered-after-restart"
        /// A message that was sent because of a message.
        case causedByMessage = "send-caused-by-message"
        /// A message that was sent because of an outcome.
        case causedByOutcome = "send-caused-by-outcome"
        /// Messages pending in both directions.
        case crossing = "pending-both-ways"
    }

    /// How often each goal was reached. One exploration counts at a time.
    final class Goals {
        private(set) var counts = [Int](repeating: 0, count: Goal.allCases.count)
        private static let indices = Dictionary(
            uniqueKeysWithValues: Goal.allCases.enumerated().map { ($1, $0) })

        func count(_ goal: Goal) { counts[Self.indices[goal] ?? 0] += 1 }

        var reached: [(goal: Goal, count: Int)] { Array(zip(Goal.allCases, counts)) }
    }
}

extension Exploration.Goals {
    func noteDelivery(
        _ envelope: Envelope, _ before: MachineCounters, _ log: Exploration.Boundary,
        _ node: Exploration.Node
    ) {
        let after = node.machine.counters
        if after.belowFloor > before.belowFloor { count(.belowFloor) }
        if after.early > before.early { count(.early) }
        if after.late > before.late { count(.lateAnswer) }
        let header = envelope.header
        let isDead = header.receiverSession != log.messaging.session
        if after.unheard > before.unheard { noteUnheard(envelope, isDead: isDead) }
        switch envelope.content {
        case .deliver(let items):
            if after.repeated > before.repeated, let item = items.first,
                let receipt = log.messaging.peer(header.sender)?.receipts[item.sequence]
            {
                noteRepeated(receipt, item, node)
            }
        case .confirmAsk:
            if header.senderSession.epoch < witnessed(header.sender, log) { count(.oldAsk) }
        case .confirmed(let statement):
            let present = log.messaging.peer(header.sender)?.statement
            if !isDead, statement != present { count(.staleConfirmed) }
            if node.end !== log { count(.newSessionHeard) }
        case .answer, .conflict, .refused: break
        }
        if node.end !== log { noteAppended(node) }
    }

    private func noteUnheard(_ envelope: Envelope, isDead: Bool) {
        if !isDead { return count(.unheardSender) }
        switch envelope.content {
        case .answer: count(.answerToDead)
        case .deliver: count(.messageToDead)
        case .confirmAsk, .confirmed, .conflict, .refused: break
        }
    }

    private func witnessed(_ peer: ShardID, _ log: Exploration.Boundary) -> Epoch {
        log.messaging.peer(peer)?.witness.session.epoch ?? .none
    }

    private func noteRepeated(_ receipt: Receipt, _ item: Delivery, _ node: Exploration.Node) {
        if receipt.isExpired { return count(.expiredAgain) }
        count(receipt.isOwed ? .owedHint : .answeredAgain)
        if item.deadline != .none, item.deadline <= node.now.wall { count(.knownPastDeadline) }
    }

    private func noteAppended(_ node: Exploration.Node) {
        let log = node.end
        for record in log.records {
            let event = record.event
            switch event.kind {
            case .received:
                if event.outcome == .expired { count(.expired) }
                noteReceipt(event, log)
            case .acknowledged, .timedOut:
                if event.kind == .timedOut { count(.timedOut) }
                if event.outcome == .accepted { count(.accepted) }
                if event.outcome == .rejected { count(.rejected) }
                if event.cause < firstOfSession(log) { count(.settledAfterRestart) }
            case .sent:
                let cause = log.record(at: event.cause)?.event.kind
                if cause == .received { count(.causedByMessage) }
                if cause == .acknowledged { count(.causedByOutcome) }
            default: break
            }
        }
    }

    private func noteReceipt(_ event: Event, _ log: Exploration.Boundary) {
        guard let peer = log.messaging.peer(event.peer), event.sequence.rawValue > 1 else { return }
        let below = SequenceNumber(event.sequence.rawValue - 1)
        if peer.receipts[below] == nil, below > peer.floor { count(.windowWithGap) }
        let hasExpired = log.tallies.contains {
            $0.expired > 0 && $0.name.channel.origin == event.peer && $0.name.sequence == below
        }
        if peer.isOrdered, event.outcome == .applied, hasExpired { count(.appliedBehindExpired) }
    }

    private func firstOfSession(_ log: Exploration.Boundary) -> Offset {
        log.messaging.sessions.last?.first ?? .none
    }

    func noteWake(_ before: Exploration.Boundary, _ node: Exploration.Node) {
        guard node.end !== before else { return }
        for record in node.end.records where record.event.kind == .reemitted {
            if record.event.reason == .deadline { count(.deadlineReemission) }
            let pending = before.messaging.peer(record.event.peer)?.pending
            if let pending = pending?[record.event.sequence],
                pending.offset < firstOfSession(before)
            {
                count(.reemittedAfterRestart)
            }
        }
    }

    func noteCrash(
        before: Exploration.Node, kept: Exploration.Boundary, lost: Exploration.Boundary?,
        in world: Exploration.World
    ) {
        if world.nodes.allSatisfy({ !$0.isUp }) { count(.bothDown) }
        if kept !== before.durable {
            for record in kept.records {
                switch record.event.kind {
                case .received: count(.diedBeforeAnswerLeft)
                case .sent: count(.diedBeforeMessageLeft)
                case .acknowledged, .timedOut: count(.diedBehindTerminal)
                case .opened: count(.diedOpening)
                default: break
                }
            }
        }
        guard var commit = lost else { return }
        if kept !== before.durable, kept !== commit { count(.prefixKept) }
        while commit !== kept, let earlier = commit.before {
            for record in commit.records {
                if record.event.kind == .sent { count(.sendLost) }
                if record.event.kind == .received { count(.receiptLost) }
            }
            commit = earlier
        }
    }

    func noteRestart(_ node: Exploration.Node) {
        if node.machine.messaging.owedCount > 0 { count(.owedAcrossRestart) }
    }

    /// Looks at a state, not at how it came about.
    func note(_ world: Exploration.World) {
        var ways = 0
        for node in world.nodes {
            let messaging = node.end.messaging
            guard messaging.pendingCount > 0 else { continue }
            ways += 1
            guard world.setting.hasDeadlines else { continue }
            for other in world.nodes {
                messaging.peer(other.shard)?.pending.forEach { sequence, pending in
                    let name = MessageName(from: node.shard, to: other.shard, sequence)
                    let isOpen = !other.end.tallies.contains { $0.name == name }
                    if isOpen, pending.deadline != .none, pending.deadline <= node.now.wall {
                        count(.overdue)
                    }
                    return true
                }
            }
        }
        if ways > 1 { count(.crossing) }
    }
}
