public import TallyCore
internal import TallyStore

/// The laws that every ``TallyCore/Program`` keeps, checked on any history and on random events.
///
/// Four of them are what replay and recovery rest on; a program that breaks one works until the day it
/// is folded again:
///
/// - *decide is pure*: the same stimulus on the same state gives the same decision, also when the state
///   comes out of a snapshot.
/// - *evolve is total and a function*: any well-formed event folds without trapping, twice to the same.
/// - *equal states, equal bytes*: `encode` gives one form, and what `decode` gives has it again.
/// - *a fold goes on from a decoded state* as it would have gone on from the state itself.
///
/// ```swift
/// try ProgramLaws.check(
///     Venue.self, shard: "collateral-0", of: ["trades-0", "collateral-0"],
///     history: ledger.events(of: "collateral-0"), seed: 7)
/// ```
///
/// A trap cannot be caught: it ends the process. `trace` is told of each step before it is taken, so
/// that its last line is the step that trapped; the same seed takes the same steps.
public enum ProgramLaws {
    /// Checks a program.
    ///
    /// - Parameters:
    ///   - program: The program to check.
    ///   - shard: The name of the shard it runs on.
    ///   - names: The names of all shards of the ledger, in order.
    ///   - history: Events of the shard in log order: recorded ones, those of a ``TestLedger``, or those
    ///     of a ``ProgramTest``. Each stimulus among them is decided on again.
    ///   - payloads: More commands and messages to build random events from; those of the history are
    ///     taken anyway.
    ///   - randomEvents: How many random events are folded behind the history.
    ///   - seed: Of the random events.
    ///   - trace: Told of each step before it is taken.
    /// - Throws: ``ConformanceFailure`` with a sentence for each law that was broken, at the first place
    ///   where it was; ``TestMisuse``.
    /// - Complexity: O(events), and some hundred encodings of the state.
    public static func check<P: Program>(
        _ program: P.Type = P.self, shard: String, of names: [String], history: [LogRecord] = [],
        payloads: [[UInt8]] = [], randomEvents: Int = 2_000, seed: UInt64 = 1,
        trace: ((String) -> Void)? = nil
    ) throws {
        let context = try ShardContext(shard, of: names)
        let pool = Set(history.map(\.payload) + payloads)
            .sorted { $0.lexicographicallyPrecedes($1) }
        let check = LawCheck<P>(
            context: context, pool: pool, random: SplitMix64(seed: seed), trace: trace)
        try check.walk(history, asksAtRandom: false)
        let events = check.randomEvents(randomEvents)
        try check.walk(events, asksAtRandom: true)
        // Behind a history, a random event meets a state that means something.
        try check.walk(history + events.prefix(200), asksAtRandom: true)
        check.describe()
        try check.promises.finish()
    }
}

private final class LawCheck<P: Program> {
    let context: ShardContext
    let pool: [[UInt8]]
    var random: SplitMix64
    let trace: ((String) -> Void)?
    var promises = Promises()
    private var found: Set<String> = []

    init(
        context: ShardContext, pool: [[UInt8]], random: SplitMix64, trace: ((String) -> Void)?
    ) {
        self.context = context
        self.pool = pool
        self.random = random
        self.trace = trace
    }

    /// Notes the first place at which a law is broken.
    private func law(_ holds: Bool, _ law: String, _ seen: @autoclosure () -> String) {
        guard !holds, found.insert(law).inserted else { return }
        promises.expect(false, law, seen())
    }

    // MARK: Folding

    /// Folds events three times: plainly, a second time, and from a state that is encoded and decoded
    /// again and again.
    func walk(_ events: [LogRecord], asksAtRandom: Bool) throws {
        let log = try Self.log(events, context)
        var state = P.initial(context)
        var second = P.initial(context)
        var decoded = P.initial(context)
        let stride = max(1, events.count / 64)
        checkState(state, "the empty state")
        try log.forEachCommit(from: Offset(1)) { commit in
            commit.forEach { view in
                let place = context.directory.address(context.shard, view.offset)
                let text = "\(place) \(view.kind.name)"
                if asksAtRandom {
                    decideAtRandom(state, decoded, text)
                } else if let stimulus = stimulus(of: view) {
                    decide(stimulus, state, decoded, text)
                }
                guard view.kind.isForPrograms else { return }
                trace?("evolve on \(text), \(hexadecimal(view.payload))")
                view.withPayload {
                    P.evolve(&state, view.event, $0, context)
                    P.evolve(&second, view.event, $0, context)
                    P.evolve(&decoded, view.event, $0, context)
                }
                guard view.offset.rawValue % UInt64(stride) == 0 else { return }
                let bytes = P.encode(state)
                law(
                    P.encode(second) == bytes, "evolve is a function of state and event",
                    "the same events up to \(text) give two states")
                law(
                    P.encode(decoded) == bytes, "a fold goes on from a decoded state",
                    "up to \(text) it comes to another state than the fold from the beginning")
                checkState(state, "the state at \(text)")
                if let again = P.decode(bytes, context) { decoded = again }
            }
            return true
        }
    }

    /// The events as commits of a log, so that they are validated.
    private static func log(_ events: [LogRecord], _ context: ShardContext) throws -> MemoryLog {
        let log = MemoryLog(
            name: context.name, ledger: Bytes16(low: 1, high: 1), shard: context.shard)
        var commit = CommitBuilder()
        var end = log.end()
        for event in events {
            commit.open(
                firstOffset: Offset(end.offset.rawValue + 1),
                timestamp: end.timestamp.advanced(byNanoseconds: 1), epoch: Epoch(1))
            commit.append(event.event, payload: event.payload, result: event.result)
            commit.seal(previousHead: end.head)
            end = try log.append(commit, expecting: end.head)
        }
        return log
    }

    private func stimulus(of view: EventView) -> Stimulus? {
        let out = MessageName(from: context.shard, to: view.peer, view.sequence)
        switch view.kind {
        case .commanded: return .command(payload: view.payload)
        case .received where view.outcome == .applied:
            let name = MessageName(from: view.peer, to: context.shard, view.sequence)
            return .message(name: name, payload: view.payload)
        case .acknowledged:
            let result: MessageResult = view.outcome == .accepted ? .accepted : .rejected
            return .outcome(name: out, result: result, payload: view.payload)
        case .timedOut: return .outcome(name: out, result: .timedOut, payload: [])
        default: return nil
        }
    }

    // MARK: The laws

    private func decision(_ stimulus: Stimulus, _ state: P.State) -> Result<Decision, Refusal> {
        do {
            return .success(try P.decide(stimulus, state, context))
        } catch {
            return .failure(error)
        }
    }

    private func decide(
        _ stimulus: Stimulus, _ state: P.State, _ decoded: P.State, _ place: String
    ) {
        trace?("decide before \(place) on \(stimulus.text(P.self, context))")
        let first = decision(stimulus, state)
        law(
            decision(stimulus, state) == first, "decide is pure",
            "on \(stimulus.text(P.self, context)), before \(place), it decides twice, and not the"
                + " same")
        law(
            decision(stimulus, decoded) == first, "decide sees nothing but the state",
            "on \(stimulus.text(P.self, context)), before \(place), it decides otherwise on the"
                + " state that was encoded and decoded")
        if case .failure(let refusal) = first, case .message = stimulus {
            law(
                false, "only a command is refused",
                "\(stimulus.text(P.self, context)) was refused (\(refusal)); the shard would stop")
        }
    }

    /// What a client or a peer may send at any time: any bytes.
    private func decideAtRandom(
        _ state: P.State, _ decoded: P.State, _ place: String
    ) {
        let payload = randomPayload()
        let index = Int(random.next() % UInt64(context.directory.count))
        let name = MessageName(
            from: context.directory.all[index], to: context.shard,
            SequenceNumber(1 << 40 | random.next() >> 32))
        decide(.command(payload: payload), state, decoded, place)
        decide(.message(name: name, payload: payload), state, decoded, place)
    }

    private func checkState(_ state: P.State, _ place: String) {
        let bytes = P.encode(state)
        law(
            P.encode(state) == bytes, "equal states, equal bytes",
            "\(place) is encoded twice, and not the same")
        for hostile in damaged(bytes) {
            trace?("decode of \(hexadecimal(hostile))")
            _ = P.decode(hostile, context)
        }
        guard let decoded = P.decode(bytes, context) else {
            law(false, "decode reads what encode wrote", "\(place) is not read back")
            return
        }
        law(
            P.encode(decoded) == bytes, "equal states, equal bytes",
            "\(place) has other bytes once it was decoded from its own")
        if let isEqual = Self.areEqual(state, decoded) {
            law(
                isEqual, "decode reads what encode wrote",
                "\(place) is another state once it was decoded")
        }
        let fields = P.fields(state).map { "\($0.name) \($0.value)" }
        law(
            P.fields(decoded).map { "\($0.name) \($0.value)" } == fields,
            "fields are a function of the state", "\(place) has other fields once it was decoded")
        law(
            P.law([(context, decoded)]) == P.law([(context, state)]),
            "the law is a function of the states", "\(place) keeps another once it was decoded")
    }

    /// `nil` when the state cannot be compared.
    private static func areEqual(_ left: P.State, _ right: P.State) -> Bool? {
        func compare<T: Equatable>(_ left: T) -> Bool? { (right as? T).map { left == $0 } }
        return (left as? any Equatable).flatMap { compare($0) }
    }

    func describe() {
        for payload in pool.prefix(500) + (0..<500).map({ _ in randomPayload() }) {
            trace?("describe of \(hexadecimal(payload))")
            let text = P.describe(payload)
            law(
                !text.contains { $0.isNewline }, "describe gives one line",
                "for \(hexadecimal(payload)) it gives more")
        }
    }

    // MARK: Random bytes

    private func below(_ count: Int) -> Int { Int(random.next() % UInt64(count)) }

    private func bytes(_ count: Int) -> [UInt8] {
        (0..<count).map { _ in UInt8(truncatingIfNeeded: random.next()) }
    }

    private func randomPayload() -> [UInt8] {
        let choice = below(8)
        if choice == 0 { return [] }
        if choice == 1 { return bytes(below(20) == 0 ? 5_000 : 64) }
        if choice == 2 || pool.isEmpty { return bytes(1 + below(40)) }
        var payload = pool[below(pool.count)]
        switch below(6) {
        case 0: payload = Array(payload.prefix(below(payload.count + 1)))
        case 1: payload.append(UInt8(truncatingIfNeeded: random.next()))
        case 2 where !payload.isEmpty:
            payload[below(payload.count)] = UInt8(truncatingIfNeeded: random.next())
        default: break
        }
        return payload
    }

    /// A state's bytes, cut short, longer, and with one byte changed.
    private func damaged(_ bytes: [UInt8]) -> [[UInt8]] {
        var all = [Array(bytes.prefix(below(bytes.count + 1))), bytes + [0]]
        if !bytes.isEmpty {
            var changed = bytes
            changed[below(bytes.count)] ^= UInt8(1 << below(8))
            all.append(changed)
        }
        return all
    }

    /// Well-formed events of every kind that a program sees, in no order that a protocol would give.
    func randomEvents(_ count: Int) -> [LogRecord] {
        let kinds = EventKind.allCases.filter(\.isForPrograms)
        return (0..<count).map { _ in
            var event = Event(kinds[below(kinds.count)])
            let peers = context.directory.all + [ShardID(UInt32.max), ShardID(77_777)]
            let peer = peers[below(peers.count)]
            let sequence = SequenceNumber(
                below(10) == 0 ? random.next() | 1 : UInt64(1 + below(6)))
            let answers = [Outcome.accepted, .rejected]
            switch event.kind {
            case .commanded:
                event.identity = Bytes16(low: random.next(), high: 1)
                event.sequence = sequence
            case .sent:
                (event.peer, event.sequence) = (peer, sequence)
                event.deadline = Timestamp(UInt64(below(3)))
            case .received:
                (event.peer, event.sequence) = (peer, sequence)
                event.outcome = [.applied, .applied, .expired][below(3)]
            case .answered, .acknowledged:
                (event.peer, event.sequence) = (peer, sequence)
                event.outcome = answers[below(2)]
            case .timedOut:
                (event.peer, event.sequence) = (peer, sequence)
                event.reason = below(2) == 0 ? .none : .forced
            case .intervened:
                event.reason = [.peer, .mark, .clock][below(3)]
                if event.reason == .peer { event.peer = context.directory.all[0] }
            default: break
            }
            return LogRecord(
                event: event, timestamp: Timestamp(1), payload: randomPayload(), result: [])
        }
    }
}
