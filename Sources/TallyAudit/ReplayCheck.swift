public import TallyCore
public import TallyStore

/// The first place at which a program decides otherwise than the log says it did.
public struct Divergence: Equatable, Sendable {
    /// The shard.
    public var shard: ShardID
    /// The offset of the recorded event that differs, or of the stimulus when an event is missing.
    public var offset: Offset
    /// What differs: `kind`, `peer`, `outcome`, `payload`, `correlation`, `deadline`, `cause`,
    /// `result`, `refusal` or `missing`.
    public var field: String
    /// What the log holds.
    public var recorded: String
    /// What the program decides now.
    public var decided: String
}

/// What deciding every recorded stimulus again came to, for one shard.
public struct CheckedShard: Sendable {
    /// The shard.
    public var shard: ShardID
    /// Its name.
    public var name: String
    /// Stimuli that were decided again.
    public var stimuli: UInt64 = 0
    /// Events compared.
    public var events: UInt64 = 0
    /// The first one; the check of this shard ends there.
    public var divergence: Divergence?
    /// Why it could not be checked to its end.
    public var problem: StoreError?
    /// What a person should know, one line each: sessions of another fold version.
    public var notes: [String] = []
}

/// Decides every recorded stimulus again, from the state before it, and compares kinds, peers,
/// bytes, outcomes and correlations with what the log holds behind it.
///
/// A decision's answers, notes and sends stand behind its stimulus in that order and in its commit;
/// `opened`, `witnessed`, `reemitted`, `conflicted` and `intervened` stand between decisions.
public enum ReplayCheck {
    /// - Throws: ``TallyStore/StoreError/Code/unknown`` without a program.
    public static func run<P: Program>(
        _ program: P.Type, _ audit: AuditLedger, at cut: Cut? = nil,
        progress: ((UInt64) -> Void)? = nil
    ) throws -> [CheckedShard] {
        guard P.self != Opaque.self, audit.manifest.isNative else {
            throw StoreError(
                .unknown,
                audit.manifest.isNative
                    ? "decisions can be checked only by the program that made them"
                        + " (\(audit.manifest.program))"
                    : "an imported foreign log holds no decisions of a program")
        }
        let cut = cut ?? audit.cut
        let counter = ProgressCounter(progress)
        return try audit.reading {
            let shards = audit.shards
            return Parallel.map(shards.count) { index in
                var result = CheckedShard(
                    shard: shards[index].shard, name: shards[index].name)
                result.problem = shards[index].problem
                guard let log = shards[index].log else { return result }
                var check = DecisionCheck<P>(audit.context(result.shard), audit.manifest, log)
                do {
                    try check.run(through: cut.through(result.shard), counter)
                } catch {
                    result.problem = StoreError(wrapping: error, result.name)
                }
                (result.stimuli, result.events) = (check.stimuli, check.events)
                (result.divergence, result.notes) = (check.divergence, check.notes)
                return result
            }
        }
    }
}

/// What a decision has to leave in the log.
private enum Expected {
    case answer(Decision.Answer, correlation: Bytes16, cause: Offset)
    case note([UInt8])
    case send(Decision.Send)

    var kind: EventKind {
        switch self {
        case .answer: .answered
        case .note: .noted
        case .send: .sent
        }
    }
}

private struct DecisionCheck<P: Program> {
    private let context: ShardContext
    private let log: any LogReading
    private var messaging: MessagingState
    private var application: P.State
    private var expected: [Expected] = []
    private var next = 0
    private var stimulus = Offset.none
    private var correlation = Bytes16.none
    private(set) var stimuli: UInt64 = 0
    private(set) var events: UInt64 = 0
    private(set) var divergence: Divergence?
    private(set) var notes: [String] = []

    init(_ context: ShardContext, _ manifest: Manifest, _ log: any LogReading) {
        self.context = context
        self.log = log
        messaging = MessagingState(
            shard: context.shard, shardCount: manifest.shards.count, rules: manifest.rules)
        application = P.initial(context)
    }

    mutating func run(through: Offset, _ counter: ProgressCounter) throws {
        var told: UInt64 = 0
        try log.forEachCommit(from: Offset(1)) { commit in
            guard commit.firstOffset.rawValue == messaging.offset.rawValue + 1 else {
                throw StoreError(
                    .damaged,
                    "the log of \(context.name) has a gap at \(context.name)@"
                        + "\(messaging.offset.rawValue + 1); run: tally verify DIR")
            }
            guard commit.firstOffset <= through else { return false }
            try check(commit, through: through)
            if divergence == nil, commit.lastOffset <= through { finish() }
            if events - told > 100_000 {
                counter.add(events - told)
                told = events
            }
            return divergence == nil
        }
        counter.add(events - told)
    }

    private mutating func check(_ commit: CommitView, through: Offset) throws {
        let (time, epoch) = (commit.timestamp, commit.epoch)
        try commit.forEach { view throws in
            guard divergence == nil, view.offset <= through else { return }
            let kind = view.kind
            switch kind {
            case .answered, .noted, .sent: compare(view, time)
            case .commanded, .received, .acknowledged, .timedOut:
                finish()
                if divergence == nil { try decide(view) }
            case .opened:
                finish()
                let version = view.event.foldVersion
                if version != P.foldVersion {
                    notes.append(
                        "\(context.directory.address(context.shard, view.offset)) was opened by"
                            + " fold version \(version), this program has \(P.foldVersion)")
                }
            case .reemitted, .conflicted, .witnessed, .intervened: finish()
            }
            messaging.fold(view, timestamp: time, epoch: epoch)
            if kind.isForPrograms {
                P.fold(view, into: &application, context)
            }
            events += 1
        }
    }

    private mutating func diverge(
        _ offset: Offset, _ field: String, _ recorded: String, _ decided: String
    ) {
        guard divergence == nil else { return }
        divergence = Divergence(
            shard: context.shard, offset: offset, field: field, recorded: recorded,
            decided: decided)
    }

    /// A decision has to be recorded whole.
    private mutating func finish() {
        if next < expected.count {
            diverge(stimulus, "missing", "nothing more", describe(expected[next]))
        }
        expected.removeAll(keepingCapacity: true)
        next = 0
        stimulus = .none
    }

    private func describe(_ expected: Expected) -> String {
        switch expected {
        case .answer(let answer, _, _):
            "answered \(context.directory.text(answer.message))"
                + " \(answer.accepted ? "accepted" : "rejected"), \(P.describe(answer.payload))"
        case .note(let payload): "noted \(P.describe(payload))"
        case .send(let send):
            "sent to \(context.directory.name(of: send.destination)), \(P.describe(send.payload))"
        }
    }

    private mutating func decide(_ view: EventView) throws {
        let event = view.event
        stimulus = view.offset
        correlation = event.correlation
        let given: Stimulus
        switch event.kind {
        case .commanded: given = .command(payload: P.current(view.payload, of: .commanded))
        case .received:
            guard event.outcome == .applied else { return }
            given = .message(
                name: MessageName(from: event.peer, to: context.shard, event.sequence),
                payload: P.current(view.payload, of: .received))
        default:
            let result: MessageResult =
                event.kind == .timedOut
                ? .timedOut : event.outcome == .accepted ? .accepted : .rejected
            given = .outcome(
                name: MessageName(from: context.shard, to: event.peer, event.sequence),
                result: result, payload: P.current(view.payload, of: event.kind))
        }
        stimuli += 1
        do {
            let decision = try P.decide(given, application, context)
            if event.kind == .commanded, decision.result != view.result {
                diverge(
                    view.offset, "result", P.describe(view.result), P.describe(decision.result))
            }
            try expect(decision, event)
        } catch let refusal as Refusal {
            diverge(view.offset, "refusal", event.kind.name, "refused: \(refusal.text)")
        }
    }

    private mutating func expect(_ decision: Decision, _ event: Event) throws {
        for answer in decision.answers {
            let name = answer.message
            let isCurrent =
                event.kind == .received && name.channel.origin == event.peer
                && name.channel.destination == context.shard && name.sequence == event.sequence
            if isCurrent {
                expected.append(.answer(answer, correlation: correlation, cause: stimulus))
                continue
            }
            // An answer inherits the correlation of the receipt it answers.
            guard let receipt = messaging.peer(name.channel.origin)?.receipts[name.sequence],
                let record = try log.record(at: receipt.offset)
            else {
                diverge(
                    stimulus, "missing", "no receipt",
                    "an answer to \(context.directory.text(name))")
                return
            }
            expected.append(
                .answer(
                    answer, correlation: record.event.correlation, cause: receipt.offset))
        }
        for note in decision.notes { expected.append(.note(note)) }
        for send in decision.sends { expected.append(.send(send)) }
    }

    private mutating func compare(_ view: EventView, _ time: Timestamp) {
        guard next < expected.count else {
            diverge(view.offset, "kind", view.kind.name, "nothing")
            return
        }
        let expected = expected[next]
        next += 1
        let event = view.event
        guard event.kind == expected.kind else {
            diverge(view.offset, "kind", event.kind.name, expected.kind.name)
            return
        }
        // What an older version wrote is compared in today's form.
        let payload = P.current(view.payload, of: event.kind)
        func check(
            _ field: String, _ recorded: some CustomStringConvertible & Equatable,
            _ decided: some CustomStringConvertible, _ isEqual: Bool
        ) {
            if !isEqual { diverge(view.offset, field, "\(recorded)", "\(decided)") }
        }
        var decided = (
            peer: ShardID(0), payload: [UInt8](), correlation: correlation, cause: stimulus
        )
        switch expected {
        case .answer(let answer, let correlation, let cause):
            decided = (answer.message.channel.origin, answer.payload, correlation, cause)
            let outcome = answer.accepted ? Outcome.accepted : .rejected
            check("outcome", event.outcome.name, outcome.name, event.outcome == outcome)
            let sequence = answer.message.sequence
            check(
                "sequence", event.sequence.rawValue, sequence.rawValue, event.sequence == sequence)
        case .note(let note): decided.payload = note
        case .send(let send):
            decided.peer = send.destination
            decided.payload = send.payload
            decided.correlation = send.correlation ?? correlation
            let deadline =
                send.deadlineAfter.map { time.advanced(byNanoseconds: $0) } ?? Timestamp.none
            check("deadline", event.deadline, deadline, event.deadline == deadline)
        }
        let directory = context.directory
        check(
            "peer", directory.name(of: event.peer), directory.name(of: decided.peer),
            event.peer == decided.peer)
        check(
            "payload", P.describe(payload), P.describe(decided.payload), payload == decided.payload)
        check(
            "correlation", event.correlation, decided.correlation,
            event.correlation == decided.correlation)
        check(
            "cause", event.cause.rawValue, decided.cause.rawValue, event.cause == decided.cause)
    }
}
