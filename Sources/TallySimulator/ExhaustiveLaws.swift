internal import TallyCore

extension Exploration {
    /// What must hold in every state and at every step.
    public enum Law: String, CaseIterable, Sendable {
        /// A sealed commit can be read.
        case readable
        /// No log breaks a law of the fold.
        case noAnomaly = "no-anomaly"
        /// No shard stops: no old copy of a log is ever put into place here.
        case noStop = "no-stop"
        /// The state of the machine is the fold of its log.
        case foldIsState = "fold-is-state"
        /// A message is applied at most once, and never when it was recorded as expired.
        case appliedOnce = "applied-once"
        /// A message is acknowledged or timed out, at most once.
        case settledOnce = "settled-once"
        /// A receipt rests on a durable send of the same bytes.
        case receiptRestsOnSend = "receipt-rests-on-send"
        /// A message is recorded as expired exactly when it came behind its deadline.
        case deadlineDecides = "deadline-decides"
        /// An acknowledgement rests on a durable answer of the same outcome and bytes.
        case acknowledgementRestsOnAnswer = "acknowledgement-rests-on-answer"
        /// A timeout rests on a durable receipt that expired.
        case timeoutRestsOnExpired = "timeout-rests-on-expired"
        /// Nothing is earlier than what it rests on.
        case causality
        /// An ordered channel delivers without a gap.
        case order
        /// Only what is pending is sent again.
        case reemitsPending = "reemits-pending"
        /// What a log records of a peer comes from a session that it has witnessed.
        case witnessedFirst = "witnessed-first"
        /// Nothing is said that is not durable.
        case durableFirst = "durable-first"
        /// A command that is asked again has the same result and leads to nothing.
        case askedAgain = "asked-again"
        /// The machine takes every input.
        case progress
        /// Once nothing fails any more, everything settles, and both sides agree on how.
        case settles
    }
}

extension Exploration.World {
    private typealias Breach = Exploration.Breach

    // MARK: What is appended

    /// Checks a commit that was just appended, and the state behind it.
    func check(
        appended commit: Exploration.Boundary, by node: Exploration.Node
    ) throws(Exploration.Breach) {
        let messaging = commit.messaging
        guard messaging.anomalyCount == 0, node.machine.messaging.anomalyCount == 0 else {
            throw Breach(.noAnomaly, "\(messaging.anomalies)")
        }
        guard commit.tallies == node.machine.application,
            messaging.encoded() == node.machine.messaging.encoded()
        else { throw Breach(.foldIsState, "the state of \(name(node)) is not its log's fold") }
        for tally in commit.tallies {
            guard tally.applied + tally.expired <= 1, tally.answered <= tally.applied else {
                throw Breach(.appliedOnce, "at \(name(node)): \(tally)")
            }
            guard tally.settled <= 1 else {
                throw Breach(.settledOnce, "at \(name(node)): \(tally)")
            }
        }
        for record in commit.records { try check(record, in: commit, by: node) }
    }

    private func name(_ node: Exploration.Node) -> String { setting.name(node.shard) }

    /// An event in few words: its kind, its message, its outcome, whose log holds it.
    private func text(_ event: Event, _ node: Exploration.Node) -> String {
        let message =
            event.kind == .received
            ? MessageName(from: event.peer, to: node.shard, event.sequence)
            : MessageName(from: node.shard, to: event.peer, event.sequence)
        return "\(event.kind.name) \(setting.directory.text(message)) \(event.outcome.name)"
            + " in the log of \(name(node))"
    }

    private func check(
        _ record: LogRecord, in commit: Exploration.Boundary, by node: Exploration.Node
    ) throws(Exploration.Breach) {
        let event = record.event
        switch event.kind {
        case .received:
            let sent = try evidence(of: record, in: commit, by: node, .receiptRestsOnSend)
            guard sent.event.kind == .sent,
                sent.message(in: event.peer) == record.message(in: node.shard)
            else {
                throw Breach(.receiptRestsOnSend, "other bytes were sent than \(text(event, node))")
            }
            let isLate = event.deadline != .none && event.deadline <= record.timestamp
            guard isLate == (event.outcome == .expired) else {
                throw Breach(.deadlineDecides, "\(text(event, node)) at \(record.timestamp)")
            }
            let earlier = commit.before?.tallies.count {
                $0.name.channel.origin == event.peer && $0.name.channel.destination == node.shard
            }
            guard !setting.options.isOrdered || UInt64(earlier ?? 0) + 1 == event.sequence.rawValue
            else { throw Breach(.order, "\(text(event, node)) is receipt \((earlier ?? 0) + 1)") }
        case .acknowledged:
            let answer = try evidence(
                of: record, in: commit, by: node, .acknowledgementRestsOnAnswer)
            guard answer.event.kind == .answered, answer.event.outcome == event.outcome,
                answer.payload == record.payload
            else {
                throw Breach(
                    .acknowledgementRestsOnAnswer, "another answer than \(text(event, node))")
            }
        case .timedOut:
            let receipt = try evidence(of: record, in: commit, by: node, .timeoutRestsOnExpired)
            guard receipt.event.kind == .received, receipt.event.outcome == .expired else {
                throw Breach(.timeoutRestsOnExpired, "no expired receipt for \(text(event, node))")
            }
        case .reemitted:
            let pending = commit.before?.messaging.peer(event.peer)?.pending
            guard event.sequence <= event.through, pending?[event.sequence] != nil,
                pending?[event.through] != nil
            else { throw Breach(.reemitsPending, "not pending: \(text(event, node))") }
        default: break
        }
    }

    /// The other half of a record, where the record says that it stands; it is durable.
    private func evidence(
        of record: LogRecord, in commit: Exploration.Boundary, by node: Exploration.Node,
        _ law: Exploration.Law
    ) throws(Exploration.Breach) -> LogRecord {
        let event = record.event
        let peer = event.peer == node.shard ? node : self[event.peer]
        let log = event.peer == node.shard ? commit : peer.durable
        guard let other = log.record(at: event.peerOffset), other.event.peer == node.shard,
            other.event.sequence == event.sequence
        else { throw Breach(law, "\(text(event, node)) rests on nothing durable") }
        guard event.peer != node.shard else { return other }
        guard other.timestamp < record.timestamp else {
            throw Breach(.causality, "\(text(event, node)) is not later than what it rests on")
        }
        let session = peer.durable.messaging.sessions.last { $0.first <= event.peerOffset }?.session
        let witnessed = commit.messaging.peer(event.peer)?.witness.session
        guard let session, let witnessed, session.epoch <= witnessed.epoch else {
            throw Breach(.witnessedFirst, "\(text(event, node)) is from a session not witnessed")
        }
        return other
    }

    // MARK: What is said

    /// Checks an envelope of one item as it leaves.
    func check(
        released envelope: Envelope, by node: Exploration.Node
    ) throws(Exploration.Breach) {
        let (header, log) = (envelope.header, node.durable)
        guard header.durableEnd == log.end, header.senderSession == log.messaging.session else {
            throw Breach(.durableFirst, "the header names what is not durable")
        }
        let said: Bool
        switch envelope.content {
        case .deliver(let items):
            said = items.allSatisfy { isDurable($0, to: header.receiver, in: log, of: node) }
        case .answer(let items):
            said = items.allSatisfy { isDurable($0, to: header.receiver, in: log, of: node) }
        case .confirmAsk(let statement):
            said =
                statement.statementOffset <= log.end.offset
                && (statement.session == .none
                    || log.record(at: statement.statementOffset)?.event.peer == header.receiver)
        case .confirmed(let statement):
            said =
                statement.session == .none
                || log.messaging.holds(
                    statement.offset, in: statement.session, through: log.end.offset)
        case .conflict, .refused: said = false
        }
        guard said else { throw Breach(.durableFirst, "it is not durable: \(envelope.content)") }
    }

    private func isDurable(
        _ item: Delivery, to peer: ShardID, in log: Exploration.Boundary,
        of node: Exploration.Node
    ) -> Bool {
        guard let record = log.record(at: item.offset), record.event.kind == .sent else {
            return false
        }
        let name = MessageName(from: node.shard, to: peer, item.sequence)
        let content = MessageContent(
            name: name, deadline: item.deadline, correlation: item.correlation,
            payload: item.payload)
        let settled = log.messaging.peer(peer)?.settledThrough ?? .none
        return record.message(in: node.shard) == content && record.timestamp == item.sentAt
            && item.settledThrough <= settled
    }

    private func isDurable(
        _ item: AnswerItem, to peer: ShardID, in log: Exploration.Boundary,
        of node: Exploration.Node
    ) -> Bool {
        guard let record = log.record(at: item.offset), record.event.peer == peer,
            record.event.sequence == item.sequence
        else { return false }
        var receipt = record
        switch item.result {
        case .accepted, .rejected:
            let outcome: Outcome = item.result == .accepted ? .accepted : .rejected
            guard record.event.kind == .answered, record.event.outcome == outcome,
                record.payload == Array(item.payload),
                let cause = log.record(at: record.event.cause)
            else { return false }
            receipt = cause
        case .expired: guard record.event.outcome == .expired else { return false }
        case .owed: guard record.event.outcome == .applied else { return false }
        }
        return receipt.event.kind == .received
            && item.digest == log.digest(receipt.message(in: node.shard))
    }

    // MARK: Fairness

    /// From here on nothing fails: what is down starts, what is said anew arrives, what is owed is
    /// answered. What is under way now is lost.
    ///
    /// - Returns: How many rounds it took until everything was settled.
    mutating func settleFairly() throws(Exploration.Breach) -> Int {
        isFair = true
        queue = []
        for shard in setting.directory.all {
            if !self[shard].isUp { try start(shard) }
            try flush(shard)
        }
        var rounds = try settle { $0.isSettled }
        // And it goes on: a message of each shard to each other one settles, too.
        for shard in setting.directory.all {
            for other in setting.directory.all where other != shard {
                try probe(shard, other)
                try flush(shard)
            }
        }
        rounds = max(rounds, try settle { $0.isSettled })
        for node in nodes { try agree(node) }
        return rounds
    }

    /// Rounds of a fair continuation at most: each shard asks, confirms, sends again, is answered,
    /// for each message that leads to another one.
    static var roundsMax: Int { 40 }

    /// Carries, wakes and answers until a condition holds.
    mutating func settle(
        until isDone: (Self) -> Bool
    ) throws(Exploration.Breach) -> Int {
        for round in 0..<Self.roundsMax {
            while !queue.isEmpty {
                let envelope = queue.removeFirst()
                let node = own(envelope.header.receiver)
                for one in Input.inputs(of: envelope) { try input(node, one) }
                try flush(node.shard)
            }
            if isDone(self) { return round }
            for shard in setting.directory.all {
                for tally in self[shard].machine.application where tally.isOwed {
                    try answer(tally.name, on: shard)
                    try flush(shard)
                }
                let node = own(shard)
                guard let next = node.machine.nextWake else { continue }
                node.ticks = max(node.ticks, next)
                try input(node, .wake)
                try flush(shard)
            }
        }
        let pending = nodes.map {
            "\(setting.name($0.shard)): \($0.machine.messaging.pendingCount)"
        }
        throw Breach(
            .settles,
            "not settled after \(Self.roundsMax) rounds; pending \(pending.joined(separator: ", "))"
        )
    }

    /// Whether no message waits for anything.
    var isSettled: Bool {
        nodes.allSatisfy {
            $0.machine.messaging.pendingCount == 0 && $0.machine.messaging.owedCount == 0
        }
    }

    /// Whether all shards hear each other.
    var isConnected: Bool {
        nodes.allSatisfy { node in
            nodes.allSatisfy { other in
                node === other
                    || node.machine.links[Int(other.shard.rawValue)].heard
                        == other.machine.messaging.session
            }
        }
    }

    /// Whether everything that a shard has sent ended as its destination ended it.
    private func agree(_ node: Exploration.Node) throws(Exploration.Breach) {
        for other in nodes {
            guard let peer = node.machine.messaging.peer(other.shard) else { continue }
            for sequence in 1..<peer.next.rawValue {
                let name = MessageName(from: node.shard, to: other.shard, SequenceNumber(sequence))
                let mine = node.end.tallies.first { $0.name == name }
                let theirs = other.end.tallies.first { $0.name == name }
                guard let mine, let theirs, mine.settled == 1,
                    theirs.expired == mine.timedOut, theirs.applied == 1 - mine.timedOut,
                    theirs.answered == theirs.applied
                else {
                    throw Breach(
                        .settles,
                        "\(setting.directory.text(name)) ended as \(String(describing: mine)) here"
                            + " and \(String(describing: theirs)) there")
                }
            }
        }
        let orphans = node.machine.messaging.orphans(now: .greatest) {
            self[$0].machine.messaging
        }
        guard orphans.isEmpty else { throw Breach(.settles, "orphans: \(orphans)") }
    }
}
