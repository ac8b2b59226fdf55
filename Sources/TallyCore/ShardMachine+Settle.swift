/// The origin's side: the terminal event first, and everything it leads to in the same commit.
extension ShardMachine {
    mutating func settle(
        _ item: AnswerItem, _ header: EnvelopeHeader, now: Now, log: some OwnLog
    ) -> StepResult {
        guard accepts(header) else { return unheard(header, now: now) }
        let index = Int(header.sender.rawValue)
        let name = MessageName(from: shard, to: header.sender, item.sequence)
        guard let pending = messaging.peers[index].pending[item.sequence] else {
            return settleLate(item, name, header, now: now)
        }
        guard let record = record(at: pending.offset, log: log) else {
            stop = .log(pending.offset)
            return .done
        }
        let own = log.digest(record.message(in: shard))
        guard own == item.digest else {
            let result = conflicted(
                name, peer: header.sender, held: own, offered: item.digest, reason: .answer,
                header: header, now: now)
            if case .sealFirst = result { return result }
            stop = .conflict(name, held: item.digest, offered: own)
            return .done
        }
        if item.result == .owed {
            links[index].quiet[item.sequence] = now.ticks &+ options.retryMax
            return .done
        }
        guard item.offset != .none, item.offset <= header.durableEnd.offset,
            item.result != .expired || pending.deadline != .none,
            HybridClock.skew(
                of: header.durableEnd.timestamp, wall: now.wall, last: messaging.timestamp,
                skewMax: options.clockSkewMax) == nil
        else {
            counters.refused += 1
            return .done
        }
        return terminal(item, name, record, pending, header, now: now, log: log)
    }

    private mutating func terminal(
        _ item: AnswerItem, _ name: MessageName, _ record: LogRecord, _ pending: PendingSend,
        _ header: EnvelopeHeader, now: Now, log: some OwnLog
    ) -> StepResult {
        let result: MessageResult =
            switch item.result {
            case .accepted: .accepted
            case .rejected: .rejected
            case .expired, .owed: .timedOut
            }
        var event = Event(result == .timedOut ? .timedOut : .acknowledged)
        event.peer = header.sender
        event.sequence = item.sequence
        event.cause = pending.offset
        event.correlation = record.event.correlation
        event.peerOffset = item.offset
        if result == .accepted { event.outcome = .accepted }
        if result == .rejected { event.outcome = .rejected }
        return appendTerminal(
            event, name, result, payload: item.payload, received: header.durableEnd.timestamp,
            witnessing: header, now: now, log: log)
    }

    /// Appends a terminal event and what the program does because of it.
    mutating func appendTerminal(
        _ event: Event, _ name: MessageName, _ result: MessageResult,
        payload: ArraySlice<UInt8>, received: Timestamp, witnessing header: EnvelopeHeader?,
        now: Now, log: some OwnLog
    ) -> StepResult {
        let decision: Decision
        do {
            let payload = P.current(Array(payload), of: event.kind)
            decision = try P.decide(
                .outcome(name: name, result: result, payload: payload), application, context)
        } catch {
            stop = .program(
                "it refused the outcome of \(context.directory.text(name)): \(error.text)")
            return .done
        }
        if let refusal = check(decision, isCommand: false, besides: nil) {
            stop = .program(refusal.text)
            return .done
        }
        let size = size(of: decision)
        guard
            openCommit(
                now: now, received: received, events: size.events + 2,
                payloadBytes: size.bytes + payload.count)
        else { return .sealFirst }
        if let header { witness(header) }
        let index = Int(event.peer.rawValue)
        let settledBefore = messaging.peers[index].settledThrough
        let offset = append(event, payload: payload)
        links[index].quiet[event.sequence] = nil
        if options.tracksSettled {
            settled.append(
                Settled(message: name, result: result, payload: Array(payload), offset: offset))
        }
        if messaging.peers[index].settledThrough != settledBefore {
            // Only the oldest pending message moves the timer: a later one that settles says nothing
            // about it.
            links[index].retryLevel = 0
            setRetry(index, now: now)
        }
        append(
            decision, cause: offset, correlation: event.correlation, current: nil, now: now,
            log: log)
        return .done
    }

    /// An answer for a message that is settled: ignored, unless an operator had forced it.
    private mutating func settleLate(
        _ item: AnswerItem, _ name: MessageName, _ header: EnvelopeHeader, now: Now
    ) -> StepResult {
        counters.late += 1
        guard item.result == .accepted || item.result == .rejected,
            messaging.peers[Int(header.sender.rawValue)].forced.contains(item.sequence)
        else { return .done }
        return conflicted(
            name, peer: header.sender, held: item.digest, offered: item.digest,
            reason: .overruled, header: header, now: now)
    }

    /// The destination holds other bytes under one of this shard's names.
    mutating func conflictNoticed(
        _ item: ConflictItem, _ header: EnvelopeHeader, now: Now, log: some OwnLog
    ) -> StepResult {
        guard accepts(header) else { return unheard(header, now: now) }
        let index = Int(header.sender.rawValue)
        let name = MessageName(from: shard, to: header.sender, item.sequence)
        guard let pending = messaging.peers[index].pending[item.sequence] else { return .done }
        guard let record = record(at: pending.offset, log: log) else {
            stop = .log(pending.offset)
            return .done
        }
        let own = log.digest(record.message(in: shard))
        guard own != item.held else { return .done }
        let result = conflicted(
            name, peer: header.sender, held: own, offered: item.held, reason: .notice,
            header: header, now: now)
        if case .sealFirst = result { return result }
        stop = .conflict(name, held: item.held, offered: own)
        return .done
    }

    /// An operator's timeout without evidence.
    mutating func force(
        _ message: MessageName, reason: [UInt8], now: Now, log: some OwnLog
    ) -> StepResult {
        guard isOpened else {
            return .command(.refused(Refusal(.closing, "the shard is not open yet")))
        }
        guard message.channel.origin == shard,
            context.directory.contains(message.channel.destination)
        else {
            return .command(.refused(Refusal(.notApplicable, "the message is not this shard's")))
        }
        let index = Int(message.channel.destination.rawValue)
        guard let pending = messaging.peers[index].pending[message.sequence],
            let record = record(at: pending.offset, log: log)
        else {
            return .command(
                .refused(
                    Refusal(
                        .notApplicable, "\(context.directory.text(message)) is not pending")))
        }
        var event = Event(.timedOut)
        event.peer = message.channel.destination
        event.sequence = message.sequence
        event.reason = .forced
        event.cause = pending.offset
        event.correlation = record.event.correlation
        return appendTerminal(
            event, message, .timedOut, payload: reason[...], received: .none, witnessing: nil,
            now: now, log: log)
    }
}
