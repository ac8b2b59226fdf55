/// The destination's side: identity first, then order, then the clock; once.
extension ShardMachine {
    /// Whether an envelope other than `confirm?` and `confirmed` is processed at all.
    func accepts(_ header: EnvelopeHeader) -> Bool {
        guard isOpened, header.receiver == shard, context.directory.contains(header.sender),
            header.receiverSession == messaging.session
        else { return false }
        if header.sender == shard { return header.senderSession == messaging.session }
        let link = links[Int(header.sender.rawValue)]
        return link.heard != .none && link.heard == header.senderSession
    }

    /// Drops an item, and asks: one of the two may be speaking to a dead session, of which a late
    /// `confirmed` can have made it believe that it lives.
    mutating func unheard(_ header: EnvelopeHeader, now: Now) -> StepResult {
        counters.unheard += 1
        guard isOpened, header.receiver == shard, header.sender != shard,
            context.directory.contains(header.sender)
        else { return .done }
        let index = Int(header.sender.rawValue)
        if links[index].askAt == nil { links[index].askAt = now.ticks &+ jittered(options.askBase) }
        return .done
    }

    mutating func deliver(
        _ delivery: Delivery, _ header: EnvelopeHeader, now: Now, log: some OwnLog
    ) -> StepResult {
        guard accepts(header) else { return unheard(header, now: now) }
        let index = Int(header.sender.rawValue)
        let peer = messaging.peers[index]
        let name = MessageName(from: header.sender, to: shard, delivery.sequence)
        guard delivery.sequence > peer.floor else {
            counters.belowFloor += 1
            return .done
        }
        let content = MessageContent(
            name: name, deadline: delivery.deadline, correlation: delivery.correlation,
            payload: delivery.payload)
        if let receipt = peer.receipts[delivery.sequence] {
            return deliverAgain(content, receipt, header, now: now, log: log)
        }
        if let refusal = refusal(of: delivery, header, now: now) {
            counters.refused += 1
            queue(header.sender, .refused(refusal))
            return .done
        }
        let settled = max(peer.floor, delivery.settledThrough)
        if peer.isOrdered, delivery.sequence != max(peer.receivedThrough, settled).next {
            counters.early += 1
            return .done
        }
        return receive(content, delivery, header, now: now, log: log)
    }

    /// What would fold to an anomaly, or cannot be true, is refused before it is appended.
    private func refusal(
        of delivery: Delivery, _ header: EnvelopeHeader, now: Now
    ) -> RefusedItem? {
        func refused(_ code: Refusal.Code, _ difference: UInt64 = 0) -> RefusedItem {
            RefusedItem(
                sequence: delivery.sequence, code: code.rawValue, difference: difference)
        }
        guard pressure != .refusesMessages else { return refused(.full) }
        let floor = messaging.peers[Int(header.sender.rawValue)].floor
        guard delivery.settledThrough < delivery.sequence,
            delivery.sequence.rawValue - max(floor, delivery.settledThrough).rawValue
                <= options.windowMax,
            delivery.offset != .none, delivery.offset <= header.durableEnd.offset,
            delivery.sentAt != .none, delivery.sentAt <= header.durableEnd.timestamp
        else { return refused(.notApplicable) }
        if let ahead = HybridClock.skew(
            of: header.durableEnd.timestamp, wall: now.wall, last: messaging.timestamp,
            skewMax: options.clockSkewMax)
        {
            return refused(.clockSkew, ahead)
        }
        return nil
    }

    /// A delivery whose name is known: the same answer again, or a conflict.
    private mutating func deliverAgain(
        _ content: MessageContent, _ receipt: Receipt, _ header: EnvelopeHeader, now: Now,
        log: some OwnLog
    ) -> StepResult {
        guard let record = record(at: receipt.offset, log: log) else {
            stop = .log(receipt.offset)
            return .done
        }
        let held = record.message(in: shard)
        guard held == content else {
            return conflicted(
                content.name, peer: header.sender, held: log.digest(held),
                offered: log.digest(content), reason: .delivery, header: header, now: now)
        }
        counters.repeated += 1
        let digest = log.digest(held)
        var item = AnswerItem(
            sequence: content.name.sequence, offset: receipt.offset, result: .owed,
            digest: digest, payload: [])
        if receipt.isExpired {
            item.result = .expired
        } else if receipt.answer != .none {
            guard let answer = self.record(at: receipt.answer, log: log) else {
                stop = .log(receipt.answer)
                return .done
            }
            item.result = answer.event.outcome == .accepted ? .accepted : .rejected
            item.offset = receipt.answer
            item.payload = answer.payload[...]
        }
        if isUnusual(.answerTwice) { queue(header.sender, .answer(item)) }
        queue(header.sender, .answer(item))
        return .done
    }

    /// Records a conflict once per name and digest, and tells the peer when it is the origin.
    mutating func conflicted(
        _ name: MessageName, peer: ShardID, held: Digest, offered: Digest, reason: Reason,
        header: EnvelopeHeader, now: Now
    ) -> StepResult {
        let index = Int(peer.rawValue)
        let known = messaging.peers[index].conflicts.contains {
            $0.sequence == name.sequence && $0.reason == reason && $0.offered == offered
        }
        if !known, messaging.peers[index].conflicts.count < PeerState.conflictsMax {
            guard openCommit(now: now, received: followable(header, now: now)) else {
                return .sealFirst
            }
            var event = Event(.conflicted)
            event.peer = peer
            event.sequence = name.sequence
            event.held = held
            event.offered = offered
            event.reason = reason
            append(event)
        }
        if reason == .delivery {
            queue(
                peer,
                .conflict(
                    ConflictItem(sequence: name.sequence, held: held, offered: offered)))
        }
        return .done
    }

    /// The peer's time, unless it is too far ahead to be followed.
    func followable(_ header: EnvelopeHeader, now: Now) -> Timestamp {
        let time = header.durableEnd.timestamp
        let ahead = HybridClock.skew(
            of: time, wall: now.wall, last: messaging.timestamp, skewMax: options.clockSkewMax)
        return ahead == nil ? time : .none
    }

    /// A new message: recorded as applied or expired, and decided on.
    private mutating func receive(
        _ content: MessageContent, _ delivery: Delivery, _ header: EnvelopeHeader, now: Now,
        log: some OwnLog
    ) -> StepResult {
        let time = header.durableEnd.timestamp
        guard openCommit(now: now, received: time) else { return .sealFirst }
        let isExpired = delivery.deadline != .none && delivery.deadline <= commit.timestamp
        var decision = Decision()
        if !isExpired {
            do {
                let payload = P.current(Array(delivery.payload), of: .received)
                decision = try P.decide(
                    .message(name: content.name, payload: payload), application, context)
            } catch {
                stop = .program(
                    "it refused \(context.directory.text(content.name)): \(error.text)")
                return .done
            }
            if let refusal = check(decision, isCommand: false, besides: content.name) {
                stop = .program(refusal.text)
                return .done
            }
        }
        let size = size(of: decision)
        guard
            openCommit(
                now: now, received: time, events: size.events + 2,
                payloadBytes: size.bytes + delivery.payload.count)
        else { return .sealFirst }
        guard
            commit.hasRoom(
                events: size.events + 2, payloadBytes: size.bytes + delivery.payload.count)
        else {
            stop = .program("a decision that does not fit a commit")
            return .done
        }
        witness(header)
        var event = Event(.received)
        event.peer = header.sender
        event.sequence = delivery.sequence
        event.outcome = isExpired ? .expired : .applied
        event.deadline = delivery.deadline
        event.correlation = delivery.correlation
        event.sentAt = delivery.sentAt
        event.peerOffset = delivery.offset
        event.settledThrough = delivery.settledThrough
        let offset = append(event, payload: delivery.payload)
        if isExpired {
            queue(
                header.sender,
                .answer(
                    AnswerItem(
                        sequence: delivery.sequence, offset: offset, result: .expired,
                        digest: log.digest(content), payload: [])))
            return .done
        }
        let digest =
            decision.answers.contains { $0.message == content.name }
            ? log.digest(content) : Digest.none
        append(
            decision, cause: offset, correlation: delivery.correlation,
            current: (content.name, digest), now: now, log: log)
        return .done
    }

    /// Records how far the peer's log is, once per ``MachineOptions/witnessEvery`` of its offsets.
    /// The commit is open.
    mutating func witness(_ header: EnvelopeHeader) {
        let index = Int(header.sender.rawValue)
        let (end, seen) = (header.durableEnd.offset, messaging.peers[index].witness.headOffset)
        guard header.sender != shard, end > seen,
            end.rawValue - seen.rawValue >= options.witnessEvery || isUnusual(.witnessOften)
        else { return }
        appendWitnessed(header)
    }

    mutating func appendWitnessed(_ header: EnvelopeHeader) {
        var event = Event(.witnessed)
        event.peer = header.sender
        event.peerEpoch = header.senderSession.epoch
        event.identity = header.senderSession.nonce
        event.peerOffset = header.durableEnd.offset
        event.held = header.durableEnd.head
        append(event)
    }
}
