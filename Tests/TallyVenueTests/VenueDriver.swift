import TallyCore
import TallyVenue

/// A ledger in memory: it decides, makes the events of the decision, folds them in the log's order,
/// and carries messages and answers when it is told to. It knows nothing of durability.
struct VenueDriver {
    struct Message {
        var name: MessageName
        var payload: [UInt8]
        var hasDeadline: Bool
    }

    let directory: ShardDirectory
    private(set) var states: [ShardID: VenueState] = [:]
    /// Sent and without a terminal event at the origin, in order.
    private(set) var pending: [Message] = []
    /// What the destination has received, and what it said of it since.
    private(set) var receipts: [MessageName: Outcome] = [:]
    private(set) var answers: [MessageName: Decision.Answer] = [:]
    private(set) var logs: [ShardID: [(event: Event, payload: [UInt8])]] = [:]
    private var lastSequence: [Channel: UInt64] = [:]

    init(_ names: [String]) {
        guard let directory = ShardDirectory(names) else { fatalError("no directory: \(names)") }
        self.directory = directory
        for shard in directory.all { states[shard] = Venue.initial(context(shard)) }
    }

    func context(_ shard: ShardID) -> ShardContext {
        ShardContext(shard: shard, directory: directory)
    }

    func id(_ name: String) -> ShardID {
        guard let id = directory.id(of: name) else { fatalError("no shard \(name)") }
        return id
    }

    subscript(_ name: String) -> VenueState {
        get { states[id(name)] ?? Venue.initial(context(id(name))) }
        set { states[id(name)] = newValue }
    }

    func field(_ shard: String, _ name: String) -> String? {
        Venue.fields(self[shard]).first { $0.name == name }?.value
    }

    var cut: [(shard: ShardContext, state: VenueState)] {
        directory.all.compactMap { shard in states[shard].map { (context(shard), $0) } }
    }

    var law: [String] { Venue.law(cut) }
    var summary: VenueSummary { VenueSummary(cut) }

    @discardableResult
    mutating func command(_ shard: String, _ command: VenueCommand) throws -> Decision {
        try perform(id(shard), command)
    }

    @discardableResult
    mutating func perform(_ shard: ShardID, _ command: VenueCommand) throws -> Decision {
        let payload = command.encode()
        return try run(shard, .command(payload: payload), Event(.commanded), payload)
    }

    /// Delivers a pending message; a repeated delivery changes nothing.
    mutating func deliver(_ message: Message, late: Bool = false) throws {
        guard receipts[message.name] == nil else { return }
        let shard = message.name.channel.destination
        var event = Event(.received)
        event.peer = message.name.channel.origin
        event.sequence = message.name.sequence
        event.outcome = late ? .expired : .applied
        receipts[message.name] = event.outcome
        if late {
            fold(shard, event, message.payload)
        } else {
            try run(
                shard, .message(name: message.name, payload: message.payload), event,
                message.payload)
        }
    }

    /// Carries what the destination has said back to the origin.
    ///
    /// - Returns: Whether there was a terminal outcome to carry.
    @discardableResult
    mutating func acknowledge(_ message: Message) throws -> Bool {
        let name = message.name
        let shard = name.channel.origin
        if receipts[name] == .expired { return try timeOut(message) }
        guard let answer = answers[name] else { return false }
        pending.removeAll { $0.name == name }
        var event = Event(.acknowledged)
        event.peer = name.channel.destination
        event.sequence = name.sequence
        event.outcome = answer.accepted ? .accepted : .rejected
        let result: MessageResult = answer.accepted ? .accepted : .rejected
        try run(
            shard, .outcome(name: name, result: result, payload: answer.payload), event,
            answer.payload)
        return true
    }

    @discardableResult
    mutating func timeOut(_ message: Message) throws -> Bool {
        pending.removeAll { $0.name == message.name }
        var event = Event(.timedOut)
        event.peer = message.name.channel.destination
        event.sequence = message.name.sequence
        try run(
            message.name.channel.origin,
            .outcome(name: message.name, result: .timedOut, payload: []), event, [])
        return true
    }

    /// Delivers and acknowledges all there is, once each.
    mutating func carry() throws {
        for message in pending { try deliver(message) }
        for message in pending { try acknowledge(message) }
    }

    mutating func fold(_ shard: ShardID, _ event: Event, _ payload: [UInt8]) {
        let context = context(shard)
        var state = states.removeValue(forKey: shard) ?? Venue.initial(context)
        // Sound: the array outlives the call, and bytes have no padding to be read as values.
        unsafe Venue.evolve(&state, event, payload.span.bytes, context)
        states[shard] = state
        logs[shard, default: []].append((event, payload))
    }

    /// Decides on a stimulus, then folds stimulus, answers, notes, sends.
    @discardableResult
    private mutating func run(
        _ shard: ShardID, _ stimulus: Stimulus, _ event: Event, _ payload: [UInt8]
    ) throws -> Decision {
        let context = context(shard)
        let state = states[shard] ?? Venue.initial(context)
        let decision = try Venue.decide(stimulus, state, context)
        fold(shard, event, payload)
        for answer in decision.answers {
            var event = Event(.answered)
            event.peer = answer.message.channel.origin
            event.sequence = answer.message.sequence
            event.outcome = answer.accepted ? .accepted : .rejected
            precondition(
                answers.updateValue(answer, forKey: answer.message) == nil, "answered twice")
            precondition(receipts[answer.message] == .applied, "answered without a receipt")
            fold(shard, event, answer.payload)
        }
        for note in decision.notes { fold(shard, Event(.noted), note) }
        for send in decision.sends {
            let channel = Channel(origin: shard, destination: send.destination)
            let sequence = (lastSequence[channel] ?? 0) + 1
            lastSequence[channel] = sequence
            var event = Event(.sent)
            event.peer = send.destination
            event.sequence = SequenceNumber(sequence)
            fold(shard, event, send.payload)
            pending.append(
                Message(
                    name: MessageName(channel: channel, sequence: SequenceNumber(sequence)),
                    payload: send.payload, hasDeadline: send.deadlineAfter != nil))
        }
        return decision
    }
}

extension VenueDriver {
    /// One trade shard, two collateral shards: even accounts live on the first, odd ones on the second.
    static func small() -> VenueDriver {
        VenueDriver(["trades-0", "collateral-0", "collateral-1"])
    }
}
