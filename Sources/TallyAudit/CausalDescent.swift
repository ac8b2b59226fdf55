internal import TallyCore
internal import TallyStore

/// Collects the consequences of a message in one pass over all logs, merged by time.
///
/// A consequence is later than its cause, by the hybrid clock, so in a ledger of ours one pass from
/// the message's send on meets every event behind its cause. A foreign clock promises nothing: there
/// the pass begins at the first event, and is repeated until it adds nothing.
struct CausalDescent {
    private let audit: AuditLedger
    private let cut: Cut
    private let bounds: CausalTree.Bounds
    /// The index of the event that is asked about; what stands before it is its chain of causes.
    private let start: Int
    private let isNative: Bool

    private(set) var places: [CausalPlace] = []
    private(set) var messagesLeftOut: Set<MessageName> = []
    private(set) var stepsLeftOut: Set<Evidence> = []
    private(set) var problems: [ShardID: StoreError] = [:]
    private var index: [Key: Int] = [:]
    private var messages: [MessageName: Halves] = [:]
    private var sequences: [Channel: [SequenceNumber]] = [:]

    /// An event, and of a `reemitted` the message it stands below.
    private struct Key: Hashable {
        var evidence: Evidence
        var below: MessageName?
    }

    /// The places of a message's own events.
    private struct Halves {
        var first: Int
        var sent: Int?
        var received: Int?
        var answered: Int?
        var hop: Int
    }

    init(
        _ chain: [RecordedEvent], of message: MessageName, _ audit: AuditLedger, _ cut: Cut,
        _ bounds: CausalTree.Bounds
    ) {
        self.audit = audit
        self.cut = cut
        self.bounds = bounds
        isNative = audit.manifest.isNative
        start = chain.count - 1
        for (place, event) in chain.enumerated() {
            index[Key(evidence: event.evidence)] = place
            places.append(
                CausalPlace(
                    evidence: event.evidence, kind: event.event.kind,
                    time: event.record.timestamp, message: event.message,
                    parent: place == 0 ? nil : place - 1, hop: 0))
        }
        register(message, places[start].kind, at: start, hop: 0)
    }

    /// Reads all logs.
    ///
    /// - Complexity: O(events) from the message's send on; of a foreign ledger all events, as often
    ///   as the tree still grows: once for each step of its depth at most.
    mutating func run() throws {
        var known = -1
        while known < places.count + stepsLeftOut.count {
            known = places.count + stepsLeftOut.count
            try pass()
            if isNative { return }
        }
    }

    private mutating func pass() throws {
        var readers: [StepReader] = []
        let before = Timestamp(max(places[start].time.rawValue, 1) - 1)
        for shard in audit.shards {
            if let problem = shard.problem { problems[shard.shard] = problem }
            guard let log = shard.log else { continue }
            let through = cut.through(shard.shard)
            var from = Offset(1)
            if isNative, through != Cut.unbounded {
                let end = try log.position(
                    atOrBefore: before, through: through, ledger: audit.manifest,
                    shard: shard.shard)
                from = Offset(end.offset.rawValue + 1)
            }
            readers.append(StepReader(shard.shard, log, from: from, through: through))
        }
        while true {
            var best: (reader: StepReader, time: Timestamp)?
            for reader in readers {
                guard let time = reader.headTime else { continue }
                if let known = best, known.time <= time { continue }
                best = (reader, time)
            }
            guard let reader = best?.reader else { break }
            // The stimulus of the decision under way, when it is a consequence.
            var stimulus: Int?
            reader.take { time, step in visit(step, time, reader.shard, &stimulus) }
        }
        for reader in readers {
            if let problem = reader.problem { problems[reader.shard] = problem }
        }
    }

    private mutating func visit(
        _ step: CausalStep, _ time: Timestamp, _ shard: ShardID, _ stimulus: inout Int?
    ) {
        let evidence = Evidence(shard, step.offset)
        switch step.kind {
        case .sent:
            send(step, time, evidence)
        case .noted:
            guard let cause = consequence(step.cause, of: shard) else { return }
            add(evidence, step.kind, time, nil, below: cause)
        case .received:
            stimulus = nil
            let name = MessageName(from: step.peer, to: shard, step.sequence)
            guard let halves = messages[name] else { return }
            stimulus = add(evidence, step.kind, time, name, below: halves.sent ?? halves.first)
            if let stimulus { register(name, step.kind, at: stimulus, hop: halves.hop) }
        case .answered:
            answer(step, time, evidence, decidedBy: stimulus)
        case .acknowledged, .timedOut:
            stimulus = nil
            let name = MessageName(from: shard, to: step.peer, step.sequence)
            guard let halves = messages[name] else { return }
            let isForced = step.reason == .forced
            let cause = isForced ? halves.sent : halves.answered ?? halves.received ?? halves.sent
            stimulus = add(evidence, step.kind, time, name, below: cause ?? halves.first)
        case .reemitted:
            reemission(step, time, evidence)
        case .conflicted:
            let name =
                step.reason == .delivery
                ? MessageName(from: step.peer, to: shard, step.sequence)
                : MessageName(from: shard, to: step.peer, step.sequence)
            guard let halves = messages[name] else { return }
            let half = step.reason == .delivery ? halves.received : halves.sent
            add(evidence, step.kind, time, name, below: half ?? halves.first)
        case .commanded, .opened, .witnessed, .intervened:
            stimulus = nil
        }
    }

    /// The place of a stimulus that is a consequence itself.
    private func consequence(_ cause: Offset, of shard: ShardID) -> Int? {
        guard cause != .none, let place = index[Key(evidence: Evidence(shard, cause))],
            place >= start, places[place].kind.isStimulus
        else { return nil }
        return place
    }

    private mutating func send(_ step: CausalStep, _ time: Timestamp, _ evidence: Evidence) {
        let name = MessageName(from: evidence.shard, to: step.peer, step.sequence)
        guard let cause = consequence(step.cause, of: evidence.shard) else {
            // A foreign log may hold a message's send behind what came of it, or twice.
            guard let halves = messages[name], halves.sent == nil || !isNative else { return }
            if let place = add(evidence, step.kind, time, name, below: halves.first) {
                register(name, step.kind, at: place, hop: halves.hop)
            }
            return
        }
        let hop = places[cause].hop + 1
        guard hop <= bounds.hopsMax else {
            messagesLeftOut.insert(name)
            return
        }
        if let place = add(evidence, step.kind, time, name, below: cause, hop: hop) {
            register(name, step.kind, at: place, hop: hop)
        }
    }

    private mutating func answer(
        _ step: CausalStep, _ time: Timestamp, _ evidence: Evidence, decidedBy stimulus: Int?
    ) {
        let name = MessageName(from: step.peer, to: evidence.shard, step.sequence)
        let halves = messages[name]
        // In a foreign log what stands together need not have been decided together.
        let decided = isNative ? stimulus : nil
        guard let cause = decided ?? halves?.received ?? halves?.sent ?? halves?.first else {
            return
        }
        if let place = add(evidence, step.kind, time, name, below: cause) {
            register(name, step.kind, at: place, hop: halves?.hop ?? places[cause].hop)
        }
    }

    private mutating func reemission(_ step: CausalStep, _ time: Timestamp, _ evidence: Evidence) {
        let channel = Channel(origin: evidence.shard, destination: step.peer)
        for sequence in sequences[channel] ?? []
        where step.sequence <= sequence && sequence <= step.through {
            let name = MessageName(channel: channel, sequence: sequence)
            guard let sent = messages[name]?.sent else { continue }
            add(evidence, step.kind, time, name, below: sent)
        }
    }

    /// Adds an event below its cause, unless it is there already or does not fit.
    ///
    /// - Returns: Its place.
    @discardableResult
    private mutating func add(
        _ evidence: Evidence, _ kind: EventKind, _ time: Timestamp, _ message: MessageName?,
        below parent: Int, hop: Int? = nil
    ) -> Int? {
        let key = Key(evidence: evidence, below: kind == .reemitted ? message : nil)
        if let known = index[key] { return known }
        guard places.count < bounds.stepsMax else {
            stepsLeftOut.insert(evidence)
            return nil
        }
        index[key] = places.count
        places.append(
            CausalPlace(
                evidence: evidence, kind: kind, time: time, message: message, parent: parent,
                hop: hop ?? places[parent].hop))
        return places.count - 1
    }

    private mutating func register(
        _ name: MessageName, _ kind: EventKind, at place: Int, hop: Int
    ) {
        if messages[name] == nil {
            messages[name] = Halves(first: place, hop: hop)
            sequences[name.channel, default: []].append(name.sequence)
        }
        switch kind {
        case .sent: if messages[name]?.sent == nil { messages[name]?.sent = place }
        case .received: if messages[name]?.received == nil { messages[name]?.received = place }
        case .answered: if messages[name]?.answered == nil { messages[name]?.answered = place }
        default: break
        }
    }
}
