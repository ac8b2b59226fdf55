public import TallyCore

/// A program under test, without a store: given what happened, when a stimulus comes, then it decides.
///
/// Everything is a plain value. What is given, and what is decided, goes through the fold that a
/// running shard uses, so several steps can follow each other, and a decision that could not be
/// recorded (an answer to a message that is not owed, a send to a shard that does not exist) fails at
/// its `when`. Messages and sends get their names by themselves: the next sequence of their channel.
///
/// ```swift
/// try ProgramTest(Venue.self, shard: "collateral-0", of: ["trades-0", "collateral-0"])
///     .given(.commanded(VenueCommand.deposit(account: 1, amount: 100).encode()))
///     .when(.message(from: "trades-0", reserve))
///     .then(answers: [.accepted()])
///     .thenField("reserved", "60")
/// ```
///
/// A failure is thrown as ``ConformanceFailure``, a mistake in the test itself as ``TestMisuse``.
public struct ProgramTest<P: Program>: Sendable {
    var fold: ProgramFold<P>
    /// Everything folded so far, the opening of the shard first; what ``ProgramLaws`` takes.
    public private(set) var history: [LogRecord] = []
    private var commands: UInt64 = 0

    /// A shard that was opened and has seen nothing yet.
    ///
    /// - Throws: ``TestMisuse`` when the shard is not among the names.
    public init(_ program: P.Type = P.self, shard: String, of names: [String]) throws(TestMisuse) {
        fold = ProgramFold(try ShardContext(shard, of: names))
        var opened = Event(.opened)
        opened.identity = Bytes16(low: 1, high: 1)
        opened.foldVersion = P.foldVersion
        _ = append([record(opened)])
    }

    /// The shard under test.
    public var shard: ShardContext { fold.context }
    /// The program's state.
    public var state: P.State { fold.application }
    /// The state of the shard's messages.
    public var messaging: MessagingState { fold.messaging }

    private func record(
        _ event: Event, _ payload: [UInt8] = [], result: [UInt8] = []
    ) -> LogRecord {
        var event = event
        event.resultLength = UInt32(result.count)
        return LogRecord(
            event: event, timestamp: fold.nextTime, payload: payload, result: result)
    }

    private mutating func append(_ records: [LogRecord]) -> [Anomaly] {
        history += records
        return fold.fold(records)
    }

    // MARK: Given

    /// Folds facts, each as a commit of its own.
    ///
    /// - Throws: ``TestMisuse`` when a fact cannot follow what was given so far.
    public func given(_ facts: Fact...) throws -> ProgramTest {
        var test = self
        for fact in facts {
            let record = try test.record(of: fact)
            if let anomaly = test.append([record]).first {
                throw TestMisuse(
                    "given \(fact): such an event \(anomaly.code.text); a shard would never"
                        + " record it")
            }
        }
        return test
    }

    private mutating func record(of fact: Fact) throws -> LogRecord {
        switch fact {
        case .commanded(let payload, let result):
            return record(commandEvent(), payload, result: result)
        case .sent(let name, let payload, let deadline):
            let peer = try shard.directory.shard(name)
            return record(sentEvent(to: peer, deadline), payload)
        case .received(let name, let payload, let sequence):
            return record(try receipt(name, sequence).event, payload)
        case .expired(let name, let payload):
            var event = try receipt(name, nil).event
            event.outcome = .expired
            event.deadline = fold.nextTime
            return record(event, payload)
        case .answered(let name, let accepted, let payload, let sequence):
            let peer = try shard.directory.shard(name)
            var owed: SequenceNumber?
            messaging.peer(peer)?.receipts.forEach { sequence, receipt in
                if receipt.isOwed { owed = sequence }
                return owed == nil
            }
            guard let sequence = sequence.map(SequenceNumber.init) ?? owed else {
                throw TestMisuse("given \(fact): no message of \(name) is owed an answer")
            }
            let message = MessageName(from: peer, to: shard.shard, sequence)
            return record(answerEvent(Decision.Answer(message, accepted: accepted)), payload)
        case .acknowledged(let name, let accepted, let payload, let sequence):
            let result: MessageResult = accepted ? .accepted : .rejected
            return record(try settling(name, result, sequence).event, payload)
        case .timedOut(let name, let sequence):
            return record(try settling(name, .timedOut, sequence).event)
        case .noted(let payload):
            return record(Event(.noted), payload)
        case .event(let event, let payload):
            return record(event, payload)
        }
    }

    private mutating func commandEvent() -> Event {
        commands += 1
        var event = Event(.commanded)
        event.identity = Bytes16(low: 0xC11E, high: 1)
        event.sequence = SequenceNumber(commands)
        return event
    }

    private func sentEvent(to peer: ShardID, _ deadlineAfter: UInt64?) -> Event {
        var event = Event(.sent)
        event.peer = peer
        event.sequence = messaging.peer(peer)?.next ?? SequenceNumber(1)
        if let deadlineAfter {
            event.deadline = fold.nextTime.advanced(byNanoseconds: deadlineAfter)
        }
        return event
    }

    private func answerEvent(_ answer: Decision.Answer) -> Event {
        var event = Event(.answered)
        event.peer = answer.message.channel.origin
        event.sequence = answer.message.sequence
        event.outcome = answer.accepted ? .accepted : .rejected
        return event
    }

    private func receipt(
        _ name: String, _ sequence: UInt64?
    ) throws -> (message: MessageName, event: Event) {
        let peer = try shard.directory.shard(name)
        let next = messaging.peer(peer)?.receivedThrough.next ?? SequenceNumber(1)
        let number = sequence.map(SequenceNumber.init) ?? next
        var event = Event(.received)
        event.peer = peer
        event.sequence = number
        event.outcome = .applied
        event.sentAt = fold.time
        event.peerOffset = Offset(number.rawValue &+ 1)
        return (MessageName(from: peer, to: shard.shard, number), event)
    }

    private func settling(
        _ name: String, _ result: MessageResult, _ sequence: UInt64?
    ) throws -> (message: MessageName, event: Event) {
        let peer = try shard.directory.shard(name)
        guard let pending = messaging.peer(peer)?.pending,
            let number = sequence.map(SequenceNumber.init) ?? pending.lowest,
            let send = pending[number]
        else {
            let what = sequence.map { "message \($0)" } ?? "no message"
            throw TestMisuse(
                "an outcome from \(name): \(what) of \(shard.name) is pending there; give a"
                    + " .sent first")
        }
        var event = Event(result == .timedOut ? .timedOut : .acknowledged)
        event.peer = peer
        event.sequence = number
        event.cause = send.offset
        event.peerOffset = Offset(number.rawValue &+ 1)
        switch result {
        case .accepted: event.outcome = .accepted
        case .rejected: event.outcome = .rejected
        case .timedOut: break
        }
        return (MessageName(from: shard.shard, to: peer, number), event)
    }

    // MARK: When

    /// Lets the program decide on a stimulus, and folds what it decided.
    ///
    /// - Throws: ``ConformanceFailure`` when the program decides twice and differently, refuses what
    ///   cannot be refused, or decides what cannot be recorded.
    public func when(_ stimulus: TestStimulus) throws -> Decided<P> {
        var test = self
        var (asked, first) = try test.resolve(stimulus)
        let text = asked.text(P.self, shard)
        let decision: Decision
        do {
            decision = try P.decide(asked, state, shard)
            let again = try P.decide(asked, state, shard)
            guard decision == again else {
                throw ConformanceFailure([
                    "decide is pure: it decided on \(text) twice, and not the same"
                ])
            }
        } catch let refusal as Refusal {
            guard case .command = asked else {
                throw ConformanceFailure([
                    "only a command is refused: the program refused \(text) (\(refusal)); the"
                        + " shard would stop; answer a message with rejected instead"
                ])
            }
            return Decided(test: self, stimulus: asked, text: text, outcome: .failure(refusal))
        }
        if case .command = asked {
            first.result = decision.result
            first.event.resultLength = UInt32(decision.result.count)
        }
        let anomalies = test.append([first] + test.records(of: decision))
        guard anomalies.isEmpty else {
            let lines = decision.lines(P.self, shard.directory).joined(separator: "; ")
            throw ConformanceFailure(
                anomalies.map {
                    "a decision can be recorded: what was decided on \(text) (\(lines)) holds an"
                        + " event that \($0.code.text)"
                })
        }
        return Decided(test: test, stimulus: asked, text: text, outcome: .success(decision))
    }

    private mutating func resolve(_ stimulus: TestStimulus) throws -> (Stimulus, LogRecord) {
        switch stimulus {
        case .command(let payload):
            return (.command(payload: payload), record(commandEvent(), payload))
        case .message(let name, let payload, let sequence):
            let (message, event) = try receipt(name, sequence)
            return (.message(name: message, payload: payload), record(event, payload))
        case .outcome(let name, let result, let payload, let sequence):
            let (message, event) = try settling(name, result, sequence)
            return (
                .outcome(name: message, result: result, payload: payload), record(event, payload)
            )
        }
    }

    /// The events of a decision, behind its stimulus: answers, notes, sends.
    private func records(of decision: Decision) -> [LogRecord] {
        let cause = Offset(messaging.offset.rawValue + 1)
        var records = decision.answers.map { record(answerEvent($0), $0.payload) }
        for note in decision.notes {
            var event = Event(.noted)
            event.cause = cause
            records.append(record(event, note))
        }
        var sent: [ShardID: UInt64] = [:]
        for send in decision.sends {
            var event = sentEvent(to: send.destination, send.deadlineAfter)
            event.sequence.rawValue += sent[send.destination, default: 0]
            sent[send.destination, default: 0] += 1
            event.cause = cause
            event.correlation = send.correlation ?? .none
            records.append(record(event, send.payload))
        }
        return records
    }
}
