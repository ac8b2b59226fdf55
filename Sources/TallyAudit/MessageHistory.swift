internal import TallyCore

/// Everything that two logs say about one message, in the order of the merge.
struct MessageHistory {
    var name: MessageName
    var sends: [HalfEvent] = []
    var receipts: [HalfEvent] = []
    var answers: [HalfEvent] = []
    var terminals: [HalfEvent] = []

    init(_ name: MessageName) { self.name = name }

    mutating func add(_ event: HalfEvent) {
        switch event.kind {
        case .sent: sends.append(event)
        case .received: receipts.append(event)
        case .answered: answers.append(event)
        default: terminals.append(event)
        }
    }
}

/// What the classification of a message depends on beside its events.
struct JoinContext {
    var answers: Bool
    var cut: Cut
    /// By shard id: whether the log has to be read as ending early.
    var unreadable: Set<ShardID> = []
    var windows: Set<ShardID> = []
    var losses: [ShardID: [AcceptedLoss]] = [:]

    /// Why a half may be absent without meaning anything.
    enum Absence {
        case nothing, outside, unknown
    }

    /// Why a message of this time is not in the destination's log.
    func absence(at shard: ShardID, sentAt: Timestamp) -> Absence {
        if unreadable.contains(shard) || sentAt > cut.readThrough(shard) { return .unknown }
        return windows.contains(shard) ? .outside : .nothing
    }

    /// Why the event that another log names by its offset is not in a log.
    func absence(at shard: ShardID, of offset: Offset, seenAt time: Timestamp) -> Absence {
        if unreadable.contains(shard) { return .unknown }
        if cut.readThrough(shard) != .greatest,
            offset == .none ? time > cut.readThrough(shard) : offset > cut.through(shard)
        {
            return .unknown
        }
        return windows.contains(shard) ? .outside : .nothing
    }

    private func losses(of shard: ShardID, to peer: ShardID) -> [AcceptedLoss] {
        losses.isEmpty ? [] : (losses[shard] ?? []).filter { $0.peer == peer }
    }

    /// Whether a pending send was closed when its shard accepted a lost tail.
    func isClosed(_ send: HalfEvent) -> Bool {
        let channel = send.name.channel
        return losses(of: channel.origin, to: channel.destination).contains { loss in
            send.offset < loss.offset
                && (send.name.sequence <= loss.floor
                    || (send.name.sequence <= loss.receivedThrough && send.offset > loss.cut))
        }
    }

    /// Whether a receipt's send stood in a tail that its origin lost.
    func isSendLost(_ name: MessageName) -> Bool {
        losses(of: name.channel.origin, to: name.channel.destination).contains {
            name.sequence <= $0.receivedThrough
        }
    }

    /// Whether what settled a message stood in a tail that the destination lost.
    func isReceiptLost(_ terminal: HalfEvent) -> Bool {
        let channel = terminal.name.channel
        return losses(of: channel.destination, to: channel.origin).contains {
            terminal.name.sequence <= $0.settledThrough || terminal.offset <= $0.statementOffset
        }
    }
}

/// What the halves of one message come to.
struct Classification {
    var counts = ChannelSummary()
    var orphan: Orphan?
    var findings: [HalfFinding] = []
    /// Whether both halves agree and nothing is pending.
    var isSettled: Bool { orphan == nil && findings.isEmpty }
}

extension MessageHistory {
    /// Classifies a message from all its events.
    ///
    /// Only receipts of the bytes that were sent are the message's other half; any other receipt is
    /// reported beside it and settles nothing.
    func classify(_ context: JoinContext) -> Classification {
        var found = Classification()
        let sentDigests = sends.map(\.digest)
        let matching = receipts.first { sentDigests.contains($0.digest) }
        found.counts.matched = UInt64(
            sends.count { send in receipts.contains { $0.digest == send.digest } })
        let isClosed = terminals.isEmpty && sends.first.map { context.isClosed($0) } ?? false
        classifyReceipts(context, sentDigests, isClosed: isClosed, &found)
        guard let send = sends.first else {
            classifyUnsentTerminals(context, &found)
            return found
        }
        if !context.answers {
            for send in sends where !receipts.contains(where: { $0.digest == send.digest }) {
                pend(send, nil, nil, context, &found)
            }
        } else if terminals.isEmpty {
            if isClosed {
                lose(matching, send, &found)
            } else {
                pend(send, matching, answers.first, context, &found)
            }
        } else {
            for terminal in terminals {
                classify(terminal, send, matching, context, &found)
            }
        }
        return found
    }

    private func report(
        _ kind: HalfClass, _ detail: HalfFinding.Detail = .none, _ events: [HalfEvent?],
        _ found: inout Classification
    ) {
        switch kind {
        case .unsent: found.counts.unsent += 1
        case .conflicting: found.counts.conflicting += 1
        case .repeated: found.counts.repeated += 1
        case .overruled: found.counts.overruled += 1
        case .unfounded: found.counts.unfounded += 1
        case .lost: found.counts.lost += 1
        case .outside: found.counts.outside += 1
        case .unknown: found.counts.unknown += 1
        }
        if kind == .outside || kind == .unknown { found.counts.books.isBounded = true }
        found.findings.append(
            HalfFinding(
                message: name, class: kind, detail: detail,
                evidence: events.compactMap { $0?.evidence }))
    }

    private func classifyReceipts(
        _ context: JoinContext, _ sent: [Digest], isClosed: Bool, _ found: inout Classification
    ) {
        var claimed: Set<Digest> = []
        for receipt in receipts {
            if sent.contains(receipt.digest) {
                if !claimed.insert(receipt.digest).inserted {
                    report(.repeated, .none, [sends.first, receipt], &found)
                }
            } else if let send = sends.first {
                // The lost history used this name before; the log that is left used it again.
                if isClosed {
                    countLost(receipt, &found)
                } else {
                    report(.conflicting, .none, [send, receipt], &found)
                }
            } else {
                classifyUnsent(receipt, context, &found)
            }
        }
    }

    private func countLost(_ receipt: HalfEvent, _ found: inout Classification) {
        if receipt.outcome == .expired {
            found.counts.books.lostExpired += 1
        } else {
            found.counts.books.lostApplied += 1
        }
    }

    private func classifyUnsent(
        _ receipt: HalfEvent, _ context: JoinContext, _ found: inout Classification
    ) {
        let origin = name.channel.origin
        switch context.absence(at: origin, of: receipt.peerOffset, seenAt: receipt.time) {
        case .outside: report(.outside, .none, [receipt], &found)
        case .unknown: report(.unknown, .none, [receipt], &found)
        case .nothing:
            if context.isSendLost(name) {
                report(.lost, .none, [receipt], &found)
                countLost(receipt, &found)
            } else {
                report(.unsent, .none, [receipt], &found)
            }
        }
    }

    private func classifyUnsentTerminals(
        _ context: JoinContext, _ found: inout Classification
    ) {
        guard let terminal = terminals.first, receipts.isEmpty else { return }
        // The origin's own log settles what it did not send; only a window explains that.
        if context.windows.contains(name.channel.origin) {
            report(.outside, .none, [terminal], &found)
        } else {
            report(.unfounded, .noSend, [terminal], &found)
        }
    }

    private func lose(
        _ receipt: HalfEvent?, _ send: HalfEvent, _ found: inout Classification
    ) {
        report(.lost, .none, [send, receipt, answers.first], &found)
        found.counts.books.closedAsLost += 1
        if let receipt { countLost(receipt, &found) } else { found.counts.books.closedSends += 1 }
    }

    private func pend(
        _ send: HalfEvent, _ receipt: HalfEvent?, _ answer: HalfEvent?, _ context: JoinContext,
        _ found: inout Classification
    ) {
        found.counts.pending += 1
        var half = ReceiverHalf.absent
        if let receipt {
            if receipt.outcome == .expired {
                half = .expired(receipt.offset)
                found.counts.expired += 1
            } else if let answer {
                half = .answered(receipt: receipt.offset, answer: answer.offset)
                found.counts.unacknowledged += 1
            } else {
                half = .applied(receipt.offset)
                found.counts.owed += 1
            }
        } else if receipts.isEmpty {
            switch context.absence(at: name.channel.destination, sentAt: send.time) {
            case .outside:
                report(.outside, .none, [send], &found)
                return
            case .unknown:
                half = .unreadable
                found.counts.unknown += 1
            case .nothing: found.counts.undelivered += 1
            }
        } else {
            found.counts.undelivered += 1
        }
        var pending = PendingSend.vacant
        (pending.offset, pending.sentAt, pending.deadline) = (send.offset, send.time, send.deadline)
        found.orphan = Orphan(
            message: name, pending: pending, receiver: half, now: context.cut.latest)
    }

    private func classify(
        _ terminal: HalfEvent, _ send: HalfEvent, _ receipt: HalfEvent?, _ context: JoinContext,
        _ found: inout Classification
    ) {
        let answer = answers.first
        if terminal.kind == .timedOut, terminal.isForced {
            found.counts.books.forced += 1
            if receipt == nil { found.counts.books.closedSends += 1 }
            if receipt?.outcome == .expired { found.counts.books.forcedExpired += 1 }
            if receipt?.outcome == .applied {
                report(.overruled, .none, [send, receipt, answer, terminal], &found)
            }
            return
        }
        let isTimeout = terminal.kind == .timedOut
        let detail: HalfFinding.Detail
        if let receipt {
            if isTimeout {
                guard receipt.outcome != .expired else { return }
                detail = .noExpiry
            } else if receipt.outcome == .expired {
                detail = .otherOutcome
            } else if let answer {
                guard answer.outcome != terminal.outcome else { return }
                detail = .otherOutcome
            } else {
                detail = .noAnswer
            }
        } else {
            detail = isTimeout ? .noExpiry : .noReceipt
        }
        guard receipts.isEmpty || receipt != nil else {
            report(.unfounded, detail, [send, receipts.first, terminal], &found)
            return
        }
        let isMissing = detail == .noReceipt || detail == .noAnswer || receipt == nil
        let absence =
            isMissing
            ? context.absence(
                at: name.channel.destination, of: terminal.peerOffset, seenAt: terminal.time)
            : .nothing
        if receipt == nil, absence != .nothing { found.counts.books.closedSends += 1 }
        switch absence {
        case .outside: report(.outside, .none, [send, terminal], &found)
        case .unknown: report(.unknown, .none, [send, terminal], &found)
        case .nothing:
            guard context.isReceiptLost(terminal) else {
                report(.unfounded, detail, [send, receipt, answer, terminal], &found)
                return
            }
            report(.lost, .none, [send, receipt, answer, terminal], &found)
            loseTerminal(terminal, receipt, &found)
        }
    }

    /// A terminal event whose receipt was lost, or is another one than the one it rests on.
    private func loseTerminal(
        _ terminal: HalfEvent, _ receipt: HalfEvent?, _ found: inout Classification
    ) {
        let isTimeout = terminal.kind == .timedOut
        if receipt == nil { found.counts.books.closedSends += 1 }
        switch receipt?.outcome {
        case .applied where isTimeout:
            found.counts.books.lostApplied += 1
            found.counts.books.lostTimedOut += 1
        case .expired where !isTimeout:
            found.counts.books.lostExpired += 1
            found.counts.books.lostAcknowledged += 1
        case nil where isTimeout: found.counts.books.lostTimedOut += 1
        case nil: found.counts.books.lostAcknowledged += 1
        default: break
        }
    }
}
