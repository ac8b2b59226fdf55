/// Sessions are confirmed before they are heard: by every peer, at open, even with nothing to send.
extension ShardMachine {
    /// A peer asks whether this log holds what it has seen of it.
    mutating func confirmAsked(
        _ statement: Statement, _ header: EnvelopeHeader, now: Now
    ) -> StepResult {
        guard isOpened, header.receiver == shard, context.directory.contains(header.sender),
            header.sender != shard, header.senderSession != .none
        else { return .done }
        let index = Int(header.sender.rawValue)
        links[index].known = header.senderSession
        if links[index].heard != header.senderSession { links[index].askAt = now.ticks }
        if isFound(statement, of: index) {
            queue(header.sender, .confirmed(statement, to: header.senderSession))
            let isNew = links[index].confirmedTo != header.senderSession
            links[index].confirmedTo = header.senderSession
            if isNew { resume(index, now: now) }
        } else if header.receiverSession == messaging.session {
            stop = .fork(
                peer: header.sender, peerSession: header.senderSession, statement,
                ownEnd: messaging.offset, ownSession: messaging.session)
        } else {
            queue(header.sender, .confirmAsk(messaging.peers[index].statement))
        }
        return .done
    }

    /// Whether this log holds what a peer has seen of it, or an operator accepted that it does not.
    ///
    /// The offset alone does not tell: it is that of the last message received, and a settlement behind
    /// it, of which the peer's floor is the trace, may be lost. What the peer would drop cannot be
    /// pending here.
    private func isFound(_ statement: Statement, of index: Int) -> Bool {
        let peer = messaging.peers[index]
        if peer.accepted.contains(statement) { return true }
        guard statement.floor <= peer.settledThrough else { return false }
        return statement.session == .none
            || messaging.holds(statement.offset, in: statement.session, through: durable.offset)
    }

    /// A peer says that its log holds what this shard has seen of it.
    mutating func confirmed(
        _ statement: Statement, _ header: EnvelopeHeader, now: Now
    ) -> StepResult {
        guard isOpened, header.receiver == shard, context.directory.contains(header.sender),
            header.sender != shard, header.senderSession != .none,
            header.receiverSession == messaging.session
        else { return .done }
        let index = Int(header.sender.rawValue)
        guard statement == messaging.peers[index].statement else {
            if links[index].heard != header.senderSession { links[index].askAt = now.ticks }
            return .done
        }
        if links[index].heard == header.senderSession {
            links[index].known = header.senderSession
            links[index].askAt = nil
            return .done
        }
        let time = header.durableEnd.timestamp
        guard
            HybridClock.skew(
                of: time, wall: now.wall, last: messaging.timestamp,
                skewMax: options.clockSkewMax) == nil
        else {
            counters.refused += 1
            return .done
        }
        if messaging.peers[index].witness.session != header.senderSession {
            guard openCommit(now: now, received: time) else { return .sealFirst }
            appendWitnessed(header)
        }
        links[index].heard = header.senderSession
        links[index].known = header.senderSession
        links[index].askAt = nil
        links[index].askLevel = 0
        resume(index, now: now)
        return .done
    }

    /// Once both sides hear each other, what is pending is sent again: at once when this side knows
    /// that they do, else when the timer says so.
    private mutating func resume(_ index: Int, now: Now) {
        guard options.retries, !messaging.peers[index].pending.isEmpty else { return }
        guard links[index].heard != .none, links[index].confirmedTo == links[index].heard else {
            // An old `confirm?` can stand for the present session here: pending without a timer
            // would be pending for ever.
            if links[index].retryAt == nil { setRetry(index, now: now) }
            return
        }
        links[index].retryAt = now.ticks
        links[index].retryLevel = 0
        links[index].retryThrough = SequenceNumber(messaging.peers[index].next.rawValue - 1)
    }

    mutating func ask(_ index: Int, now: Now) {
        queue(ShardID(UInt32(index)), .confirmAsk(messaging.peers[index].statement))
        let delay = min(options.askBase << min(links[index].askLevel, 20), options.askMax)
        links[index].askLevel += 1
        links[index].askAt = now.ticks &+ jittered(delay)
    }

    /// A delay between three quarters and five quarters of the given one.
    mutating func jittered(_ delay: UInt64) -> UInt64 {
        let delay = max(4, delay)
        let quarter = delay / 4
        return delay - quarter + random.next() % (2 * quarter)
    }

    /// An operator's decision.
    mutating func intervene(_ intervention: Intervention, now: Now) -> StepResult {
        guard isOpened else { return .done }
        guard openCommit(now: now, payloadBytes: reasonLengthMax) else { return .sealFirst }
        var event = Event(.intervened)
        let reason: [UInt8]
        switch intervention {
        case .acceptPeer(let peer, let statement, let text):
            guard context.directory.contains(peer), peer != shard else { return .done }
            event.reason = .peer
            event.peer = peer
            event.peerEpoch = statement.session.epoch
            event.identity = statement.session.nonce
            event.peerOffset = statement.offset
            event.statementOffset = statement.statementOffset
            event.receivedThrough = statement.receivedThrough
            event.floor = statement.floor
            event.settledThrough = statement.settledThrough
            reason = text
        case .acceptMark(let offset, let head, let text):
            event.reason = .mark
            event.peerOffset = offset
            event.held = head
            reason = text
        case .admitClock(let difference, let text):
            event.reason = .clock
            event.difference = difference
            reason = text
        }
        append(event, payload: reason.prefix(reasonLengthMax))
        return .done
    }
}
