internal import TallyAudit
internal import TallyCore
internal import TallyRuntime
internal import TallyStore

/// What must hold at every append, at every release, and at rest.
extension World {
    // MARK: At every append

    func take(_ commit: CommitView, _ node: Node) {
        let (time, end) = (commit.timestamp, commit.lastOffset)
        if let last = node.facts.all.last, last.time >= time {
            broken = broken ?? LawBroken("time", "time goes back in \(name(node.shard))")
        }
        commit.forEach { view in
            let fact = Fact(view, time: time, commitEnd: end)
            if !node.facts.append(fact) {
                broken =
                    broken
                    ?? LawBroken(
                        "once", "\(text(fact, view.offset, node)): the log says it a second time")
            }
            if Offset(UInt64(node.facts.all.count)) != view.offset {
                broken = broken ?? LawBroken("log", "a gap at \(text(fact, view.offset, node))")
            }
            if let found = check(fact, view.offset, node) { broken = broken ?? found }
            onFact?(node, fact, view.offset)
        }
    }

    func text(_ fact: Fact, _ offset: Offset, _ node: Node) -> String {
        let place = directory.address(node.shard, offset)
        guard fact.peer.rawValue != 0 else { return "\(place) \(fact.kind.name)" }
        let isOwn =
            fact.kind == .sent || fact.kind == .acknowledged || fact.kind == .timedOut
            || fact.kind == .reemitted || (fact.kind == .conflicted && fact.reason != .delivery)
        let message =
            isOwn
            ? MessageName(from: node.shard, to: fact.peer, fact.sequence)
            : MessageName(from: fact.peer, to: node.shard, fact.sequence)
        let outcome = fact.outcome.name.isEmpty ? "" : " \(fact.outcome.name)"
        let reason = fact.reason.name.isEmpty ? "" : " (\(fact.reason.name))"
        let about = fact.sequence == .none ? name(fact.peer) : directory.text(message)
        return "\(place) \(fact.kind.name) \(about)\(outcome)\(reason)"
    }

    /// An event that rests on the other half is compared with it.
    private func check(_ fact: Fact, _ offset: Offset, _ node: Node) -> LawBroken? {
        switch fact.kind {
        case .received: checkReceipt(fact, offset, node)
        case .acknowledged: checkAcknowledgement(fact, offset, node)
        case .timedOut where fact.reason != .forced: checkTimeout(fact, offset, node)
        default: nil
        }
    }

    private func checkReceipt(_ fact: Fact, _ offset: Offset, _ node: Node) -> LawBroken? {
        let origin = self[fact.peer]
        func isSend(_ other: Fact) -> Bool {
            other.kind == .sent && other.peer == node.shard && other.sequence == fact.sequence
                && other.content == fact.content && other.deadline == fact.deadline
        }
        guard let sent = origin.facts[fact.peerOffset], isSend(sent) else {
            if origin.facts.ghosts.contains(where: isSend) { return nil }
            return LawBroken(
                "receipt", "\(text(fact, offset, node)) has other bytes than were sent, or none")
        }
        if fact.peer != node.shard {
            if fact.peerOffset > origin.disk.durableEnd.offset {
                return LawBroken(
                    "durability", "\(text(fact, offset, node)) rests on what is not durable")
            }
            if sent.time >= fact.time {
                return LawBroken(
                    "causality", "\(text(fact, offset, node)) is not later than its send")
            }
        }
        if fact.outcome == .applied, fact.deadline != .none, fact.deadline <= fact.time {
            return LawBroken("deadline", "\(text(fact, offset, node)) was applied too late")
        }
        if fact.outcome == .expired, fact.deadline == .none || fact.deadline > fact.time {
            return LawBroken("deadline", "\(text(fact, offset, node)) expired too early")
        }
        let received = node.facts.channels[Int(fact.peer.rawValue)].received
        let channel = Channel(origin: fact.peer, destination: node.shard)
        if manifest.rules.isOrdered(channel), !origin.hasForked, !node.hasForked, !hasForced,
            fact.sequence > SequenceNumber(1),
            Facts.at(received, SequenceNumber(fact.sequence.rawValue - 1)) == .none
        {
            return LawBroken("order", "\(text(fact, offset, node)) came before the one before it")
        }
        return nil
    }

    private func checkAcknowledgement(
        _ fact: Fact, _ offset: Offset, _ node: Node
    ) -> LawBroken? {
        let destination = self[fact.peer]
        func isAnswer(_ other: Fact) -> Bool {
            other.kind == .answered && other.peer == node.shard && other.sequence == fact.sequence
                && other.content == fact.content && other.outcome == fact.outcome
        }
        if let broken = checkSame(fact, offset, node, outcome: .applied) { return broken }
        guard let answered = destination.facts[fact.peerOffset], isAnswer(answered) else {
            if destination.facts.ghosts.contains(where: isAnswer) { return nil }
            return LawBroken(
                "answer", "\(text(fact, offset, node)) is another answer than was given")
        }
        if fact.peer != node.shard, fact.peerOffset > destination.disk.durableEnd.offset {
            return LawBroken(
                "durability", "\(text(fact, offset, node)) rests on what is not durable")
        }
        return nil
    }

    private func checkTimeout(_ fact: Fact, _ offset: Offset, _ node: Node) -> LawBroken? {
        checkSame(fact, offset, node, outcome: .expired)
    }

    /// What settles a message is about the same bytes: an answer to another message of that name
    /// settles nothing.
    private func checkSame(
        _ fact: Fact, _ offset: Offset, _ node: Node, outcome: Outcome
    ) -> LawBroken? {
        let sends = node.facts.channels[Int(fact.peer.rawValue)].sent
        guard let sent = node.facts[Facts.at(sends, fact.sequence)] else {
            return LawBroken("settle", "\(text(fact, offset, node)) settles what was not sent")
        }
        let destination = self[fact.peer]
        func isReceipt(_ other: Fact) -> Bool {
            other.kind == .received && other.peer == node.shard
                && other.sequence == fact.sequence && other.content == sent.content
                && other.deadline == sent.deadline && other.outcome == outcome
        }
        let receipts = destination.facts.channels[Int(node.shard.rawValue)].received
        if let receipt = destination.facts[Facts.at(receipts, fact.sequence)], isReceipt(receipt) {
            return nil
        }
        if destination.facts.ghosts.contains(where: isReceipt) { return nil }
        return LawBroken(
            "settle", "\(text(fact, offset, node)) has no receipt of the same bytes behind it")
    }

    // MARK: At every release

    func check(_ envelope: Envelope, _ durable: LogPosition, _ node: Node) throws {
        let peer = Int(envelope.header.receiver.rawValue)
        guard envelope.header.durableEnd.offset <= durable.offset else {
            throw LawBroken(
                "durability", "\(name(node.shard)) speaks of an end that is not durable")
        }
        switch envelope.content {
        case .deliver(let items):
            for item in items {
                try check(item.offset, .sent, durable, node)
                let terminal = node.facts.channels[peer].terminal
                if item.settledThrough != .none, !node.hasForked {
                    let offset = Facts.at(terminal, item.settledThrough)
                    if offset == .none || offset > durable.offset {
                        throw LawBroken(
                            "durability", "\(name(node.shard)) calls settled what is not durable")
                    }
                }
            }
        case .answer(let items):
            for item in items {
                try check(
                    item.offset,
                    item.result == .expired || item.result == .owed ? .received : .answered,
                    durable, node)
            }
        case .confirmAsk(let statement):
            guard statement.statementOffset <= durable.offset else {
                throw LawBroken(
                    "durability", "\(name(node.shard)) states what is not durable")
            }
        case .confirmed, .conflict, .refused: break
        }
    }

    private func check(
        _ offset: Offset, _ kind: EventKind, _ durable: LogPosition, _ node: Node
    ) throws {
        guard offset <= durable.offset, node.facts[offset]?.kind == kind else {
            throw LawBroken(
                "durability",
                "\(name(node.shard)) speaks of @\(offset.rawValue), which is no durable \(kind.name)"
            )
        }
    }

    /// A live shard keeps the laws of its own log, and stops for nothing but a fork that there was.
    func checkLive(_ node: Node) throws {
        guard let engine = node.engine else { return }
        if let stop = engine.stop {
            let text = stop.text(directory, node.shard)
            switch stop {
            case .fork, .conflict:
                guard nodes.contains(where: \.hasForked) else { throw LawBroken("stop", text) }
            case .anomaly, .program, .log: throw LawBroken("stop", text)
            }
        }
        if engine.anomalyCount != 0 {
            throw LawBroken("anomaly", "\(engine.machine.messaging.anomalies)")
        }
    }

    // MARK: At a restart, and at rest

    /// The state is the fold of the log, from nothing and from a snapshot, and survives its bytes.
    func checkFold(_ node: Node) throws {
        guard let engine = node.engine, !engine.hasCollected else { return }
        let live = engine.machine.messaging.encoded()
        let empty = ShardState<P>(context: node.context, manifest: manifest)
        let folded = try fold(empty, node)
        guard folded.messaging.encoded() == live else {
            throw LawBroken("fold", "the state of \(name(node.shard)) is not the fold of its log")
        }
        let application = P.encode(engine.machine.application)
        guard P.encode(folded.application) == application else {
            throw LawBroken(
                "fold", "the program's state of \(name(node.shard)) is not the fold of its log")
        }
        guard folded.position == engine.end else {
            throw LawBroken("fold", "the head of \(name(node.shard)) is not that of its log")
        }
        if let snapshot = node.snapshot,
            let cut = try? Snapshot.read(snapshot, node.context, manifest, log: node.disk)
                as ShardState<P>
        {
            let tail = try fold(cut, node)
            guard tail.messaging.encoded() == live, P.encode(tail.application) == application
            else {
                throw LawBroken(
                    "snapshot", "snapshot and tail of \(name(node.shard)) are not the fold")
            }
        }
    }

    /// Whether nothing is pending or owed and all shards are up and hear each other.
    var isSettled: Bool {
        nodes.allSatisfy { node in
            guard let engine = node.engine, engine.stop == nil else { return false }
            return engine.pendingCount == 0 && engine.owedCount == 0
                && nodes.allSatisfy { engine.hears($0.shard) }
        }
    }

    /// Both halves of every message, where no log has forked.
    func checkHalves() throws {
        for node in nodes {
            for peer in nodes {
                let own = node.facts.channels[Int(peer.shard.rawValue)]
                let other = peer.facts.channels[Int(node.shard.rawValue)]
                for sequence in own.sent.indices where own.sent[sequence] != 0 {
                    try checkHalves(
                        SequenceNumber(UInt64(sequence)), node, own, peer, other)
                }
                for sequence in other.received.indices where other.received[sequence] != 0 {
                    guard Facts.at(own.sent, SequenceNumber(UInt64(sequence))) != .none else {
                        throw LawBroken(
                            "halves", "\(name(peer.shard)) received what was not sent")
                    }
                }
            }
        }
    }

    private func checkHalves(
        _ sequence: SequenceNumber, _ node: Node, _ own: Facts.Channel, _ peer: Node,
        _ other: Facts.Channel
    ) throws {
        let message = directory.text(MessageName(from: node.shard, to: peer.shard, sequence))
        guard let terminal = node.facts[Facts.at(own.terminal, sequence)] else {
            throw LawBroken("settled", "\(message) is not settled")
        }
        if terminal.kind == .timedOut, terminal.reason == .forced { return }
        guard let receipt = peer.facts[Facts.at(other.received, sequence)] else {
            throw LawBroken("halves", "\(message) is settled and was never received")
        }
        let answer = peer.facts[Facts.at(other.answered, sequence)]
        switch terminal.kind {
        case .acknowledged:
            guard receipt.outcome == .applied, answer?.outcome == terminal.outcome,
                answer?.content == terminal.content
            else {
                throw LawBroken("halves", "\(message) was acknowledged otherwise than answered")
            }
        default:
            guard receipt.outcome == .expired, answer == nil else {
                throw LawBroken("halves", "\(message) timed out and was applied")
            }
        }
    }

    /// What an audit reads: the durable logs.
    func audit() -> AuditLedger {
        var logs: [ShardID: any LogReading] = [:]
        for node in nodes { logs[node.shard] = node.disk }
        return AuditLedger(manifest: manifest, logs: logs)
    }

    /// The program's own law over the live states.
    func checkProgram() throws {
        let states = nodes.compactMap { node in
            node.engine.map { (shard: node.context, state: $0.machine.application) }
        }
        if let first = P.law(states).first { throw LawBroken("program", first) }
    }

    /// The production audit finds nothing.
    func checkAudit() throws {
        let audit = audit()
        let report = try Verify.run(P.self, audit)
        if let finding = report.findings.first {
            throw LawBroken("verify", "\(finding.code): \(finding.text)")
        }
    }
}
