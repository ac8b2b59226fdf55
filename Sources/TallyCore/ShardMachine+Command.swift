extension ShardMachine {
    /// Decides on a command.
    ///
    /// - Returns: `nil` when the commit has to be sealed first.
    mutating func perform(_ command: Command, now: Now, log: some OwnLog) -> CommandOutcome? {
        guard isOpened else { return .refused(Refusal(.closing, "the shard is not open yet")) }
        guard command.payload.count <= CommitFormat.payloadLengthMax else {
            return .refused(
                Refusal(
                    .payloadTooLarge,
                    "a command of \(command.payload.count) bytes; at most 16 MiB are taken"))
        }
        guard command.sequence != .none else {
            return .refused(Refusal(.notApplicable, "a command's sequence begins at 1"))
        }
        if let client = messaging.clients[command.client] {
            if let known = client.records[command.sequence] {
                return again(command, at: known.offset, log: log)
            }
            if client.isTooOld(command.sequence) {
                return .refused(
                    Refusal(
                        .tooOld,
                        "command \(command.sequence.rawValue) of this client lies below what is"
                            + " remembered; the last \(ClientState.rememberedMax) are"))
            }
        }
        guard pressure == .none, !isUnusual(.refuseCommand) else {
            return .refused(
                Refusal(
                    .full,
                    "the disk under \(context.name) is nearly full; commands are taken again once"
                        + " there is room"))
        }
        let ahead = messaging.timestamp.nanoseconds(since: now.wall)
        guard
            ahead <= options.clockSkewMax
                || ahead - options.clockSkewMax <= messaging.admittedDifference
        else {
            return .refused(
                Refusal(
                    .clockBehind,
                    "the log of \(context.name) runs \(ahead / 1_000_000) ms ahead of the wall"
                        + " clock; commands are taken again once the clock has caught up"))
        }
        let decision: Decision
        do {
            decision = try P.decide(
                .command(payload: P.current(command.payload, of: .commanded)), application, context)
        } catch {
            return .refused(error)
        }
        if let refusal = check(decision, isCommand: true, besides: nil) {
            return .refused(refusal)
        }
        let size = size(of: decision)
        guard
            openCommit(
                now: now, events: size.events + 1,
                payloadBytes: size.bytes + command.payload.count + decision.result.count)
        else { return nil }
        guard
            commit.hasRoom(
                events: size.events + 1,
                payloadBytes: size.bytes + command.payload.count + decision.result.count)
        else {
            return .refused(Refusal(.payloadTooLarge, "the decision does not fit a commit"))
        }
        var event = Event(.commanded)
        event.identity = command.client
        event.sequence = command.sequence
        event.settledThrough = min(
            command.settledThrough, SequenceNumber(command.sequence.rawValue - 1))
        event.correlation = command.correlation
        let offset = append(event, payload: command.payload, result: decision.result)
        let messages = append(
            decision, cause: offset, correlation: command.correlation, current: nil, now: now,
            log: log)
        return .recorded(
            Performed(
                offset: offset, through: messaging.offset, result: decision.result,
                messages: messages))
    }

    /// The recorded result for a command that is asked again.
    private func again(_ command: Command, at offset: Offset, log: some OwnLog) -> CommandOutcome {
        guard let record = record(at: offset, log: log) else {
            return .refused(Refusal(.stopped, "the recorded command cannot be read back"))
        }
        guard record.payload == command.payload else {
            return .refused(
                Refusal(
                    .conflicting,
                    "this client used sequence \(command.sequence.rawValue) for another command, at "
                        + context.directory.address(shard, offset)))
        }
        var through = offset
        var messages: [MessageName] = []
        while through < messaging.offset,
            let next = self.record(at: Offset(through.rawValue + 1), log: log),
            next.event.cause == offset || next.event.kind == .answered
        {
            if next.event.kind == .sent {
                messages.append(MessageName(from: shard, to: next.event.peer, next.event.sequence))
            }
            through = Offset(through.rawValue + 1)
        }
        return .known(
            Performed(offset: offset, through: through, result: record.result, messages: messages))
    }

    /// Checks that a decision can be recorded.
    ///
    /// - Parameter besides: The message being decided on, which will be owed by then.
    func check(_ decision: Decision, isCommand: Bool, besides: MessageName?) -> Refusal? {
        var answered: Set<MessageName> = []
        for answer in decision.answers {
            let name = answer.message
            guard name.channel.destination == shard,
                context.directory.contains(name.channel.origin)
            else {
                return Refusal(.notApplicable, "an answer to a message of another shard")
            }
            let receipt = messaging.peers[Int(name.channel.origin.rawValue)].receipts[name.sequence]
            guard name == besides || receipt?.isOwed == true, answered.insert(name).inserted else {
                return Refusal(
                    .notApplicable,
                    "an answer to \(context.directory.text(name)), which is not owed")
            }
            if let refusal = checkPayload(answer.payload) { return refusal }
        }
        for note in decision.notes {
            if let refusal = checkPayload(note) { return refusal }
        }
        if let refusal = checkPayload(decision.result) { return refusal }
        var spans: [ShardID: UInt64] = [:]
        for send in decision.sends {
            guard context.directory.contains(send.destination) else {
                return Refusal(
                    .unknownShard, "shard \(send.destination.rawValue) is not in this ledger")
            }
            if let refusal = checkPayload(send.payload) { return refusal }
            let peer = messaging.peers[Int(send.destination.rawValue)]
            let span = spans[send.destination, default: peer.span] + 1
            spans[send.destination] = span
            if span > options.pendingMax, isCommand {
                return Refusal(
                    .backpressure,
                    "\(span - 1) messages from \(context.name) to "
                        + "\(context.directory.name(of: send.destination)) are not settled; at"
                        + " most \(options.pendingMax) may be")
            }
        }
        return nil
    }

    private func checkPayload(_ payload: [UInt8]) -> Refusal? {
        payload.count <= CommitFormat.payloadLengthMax
            ? nil
            : Refusal(.payloadTooLarge, "a payload of \(payload.count) bytes; at most 16 MiB")
    }

    func size(of decision: Decision) -> (events: Int, bytes: Int) {
        var bytes = 0
        for answer in decision.answers { bytes += answer.payload.count }
        for note in decision.notes { bytes += note.count }
        for send in decision.sends { bytes += send.payload.count }
        return (decision.answers.count + decision.notes.count + decision.sends.count, bytes)
    }

    /// Appends what a decision leads to, behind its stimulus: answers, notes, sends.
    ///
    /// - Parameter current: The message that was just received, with its digest.
    /// - Returns: The messages sent.
    @discardableResult
    mutating func append(
        _ decision: Decision, cause: Offset, correlation: Bytes16,
        current: (name: MessageName, digest: Digest)?, now: Now, log: some OwnLog
    ) -> [MessageName] {
        for answer in decision.answers {
            append(answer, correlation: correlation, current: current, log: log)
        }
        for note in decision.notes {
            var event = Event(.noted)
            event.cause = cause
            event.correlation = correlation
            append(event, payload: note)
        }
        var messages: [MessageName] = []
        for send in decision.sends {
            let index = Int(send.destination.rawValue)
            var event = Event(.sent)
            event.peer = send.destination
            event.sequence = messaging.peers[index].next
            event.cause = cause
            event.correlation = send.correlation ?? correlation
            if let after = send.deadlineAfter {
                event.deadline = commit.timestamp.advanced(byNanoseconds: after)
            }
            let settled = messaging.peers[index].settledThrough
            let offset = append(event, payload: send.payload)
            messages.append(MessageName(from: shard, to: send.destination, event.sequence))
            queue(
                send.destination,
                .message(
                    Delivery(
                        sequence: event.sequence, offset: offset, sentAt: commit.timestamp,
                        deadline: event.deadline, settledThrough: settled,
                        correlation: event.correlation, payload: send.payload[...])))
            if messaging.peers[index].span > options.pendingMax { counters.pastPendingMax += 1 }
            if links[index].retryAt == nil { setRetry(index, now: now) }
        }
        return messages
    }

    private mutating func append(
        _ answer: Decision.Answer, correlation: Bytes16,
        current: (name: MessageName, digest: Digest)?, log: some OwnLog
    ) {
        let peer = answer.message.channel.origin
        let sequence = answer.message.sequence
        let index = Int(peer.rawValue)
        guard let receipt = messaging.peers[index].receipts[sequence] else { return }
        var event = Event(.answered)
        event.peer = peer
        event.sequence = sequence
        event.outcome = answer.accepted ? .accepted : .rejected
        event.cause = receipt.offset
        let digest: Digest
        if let current, current.name == answer.message {
            event.correlation = correlation
            digest = current.digest
        } else {
            guard let record = record(at: receipt.offset, log: log) else {
                stop = .log(receipt.offset)
                return
            }
            event.correlation = record.event.correlation
            digest = log.digest(record.message(in: shard))
        }
        let offset = append(event, payload: answer.payload)
        queue(
            peer,
            .answer(
                AnswerItem(
                    sequence: sequence, offset: offset,
                    result: answer.accepted ? .accepted : .rejected, digest: digest,
                    payload: answer.payload[...])))
    }
}
