import TallyCore

/// The test program: a message's first byte says what its receiver is to do.
///
/// Message: 0 accept, 1 reject, 2 answer later, 3 accept and send the rest on (the destination,
/// then its message). Command: 1 send (destination, seconds to the deadline or 0, the message), 2
/// answer all that is owed (accepted), 3 note (the rest), 4 be refused.
enum Courier: Program {
    struct State: Equatable, Sendable {
        var owed: [MessageName] = []
        var applied: UInt64 = 0
        var outcomes: UInt64 = 0
        var notes: UInt64 = 0
        /// A note that begins with 13 breaks the law.
        var broken: UInt64 = 0
    }
    static var name: String { "courier" }
    static var foldVersion: UInt32 { 3 }
    static func initial(_ shard: ShardContext) -> State { State() }

    static func decide(
        _ stimulus: Stimulus, _ state: State, _ shard: ShardContext
    ) throws(Refusal) -> Decision {
        switch stimulus {
        case .command(let payload):
            switch payload.first {
            case 1:
                let seconds = UInt64(payload[2])
                return Decision(
                    sends: [
                        .init(
                            to: ShardID(UInt32(payload[1])), Array(payload.dropFirst(3)),
                            deadlineAfter: seconds == 0 ? nil : seconds * 1_000_000_000)
                    ], result: Array("sent".utf8))
            case 2:
                return Decision(
                    answers: state.owed.map {
                        .init($0, accepted: payload[1] == 1, payload: Array("later".utf8))
                    }, result: [2])
            case 3: return Decision(notes: [Array(payload.dropFirst())])
            default: throw Refusal("refused as told")
            }
        case .message(let name, let payload):
            switch payload.first {
            case 1: return Decision(answers: [.init(name, accepted: false)])
            case 2: return Decision()
            case 3:
                return Decision(
                    answers: [.init(name, accepted: true)], notes: [[7]],
                    sends: [.init(to: ShardID(UInt32(payload[1])), Array(payload.dropFirst(2)))])
            default: return Decision(answers: [.init(name, accepted: true, payload: payload)])
            }
        case .outcome: return Decision()
        }
    }

    static func evolve(
        _ state: inout State, _ event: Event, _ payload: RawSpan, _ shard: ShardContext
    ) {
        let name = MessageName(from: event.peer, to: shard.shard, event.sequence)
        switch event.kind {
        case .received where event.outcome == .applied:
            state.applied += 1
            state.owed.append(name)
        case .answered: state.owed.removeAll { $0 == name }
        case .acknowledged, .timedOut: state.outcomes += 1
        case .noted:
            state.notes += 1
            if payload.copied.first == 13 { state.broken += 1 }
        default: break
        }
    }

    static func encode(_ state: State) -> [UInt8] {
        var writer = ByteWriter()
        for value in [state.applied, state.outcomes, state.notes, state.broken] {
            writer.write(value)
        }
        writer.write(UInt32(state.owed.count))
        for name in state.owed {
            writer.write(name.channel.origin.rawValue)
            writer.write(name.channel.destination.rawValue)
            writer.write(name.sequence.rawValue)
        }
        return writer.bytes
    }

    static func decode(_ bytes: [UInt8], _ shard: ShardContext) -> State? {
        var reader = ByteReader(bytes)
        var state = State()
        guard let applied = reader.read(UInt64.self), let outcomes = reader.read(UInt64.self),
            let notes = reader.read(UInt64.self), let broken = reader.read(UInt64.self),
            let count = reader.read(UInt32.self)
        else { return nil }
        (state.applied, state.outcomes, state.notes, state.broken) = (
            applied, outcomes, notes, broken
        )
        for _ in 0..<count {
            guard let origin = reader.read(UInt32.self), let destination = reader.read(UInt32.self),
                let sequence = reader.readSequence()
            else { return nil }
            state.owed.append(
                MessageName(from: ShardID(origin), to: ShardID(destination), sequence))
        }
        return reader.isAtEnd ? state : nil
    }

    static func fields(_ state: State) -> [(name: String, value: String)] { [] }
    static func law(_ states: [(shard: ShardContext, state: State)]) -> [String] {
        states.filter { $0.state.broken > 0 }.map { "the law is broken at \($0.shard.name)" }
    }
    static func describe(_ payload: [UInt8]) -> String { Opaque.describe(payload) }
}

/// The same program by its name, but it accepts what the courier rejects, and counts notes twice.
enum Impostor: Program {
    typealias State = Courier.State
    static var name: String { Courier.name }
    static var foldVersion: UInt32 { Courier.foldVersion }
    static func initial(_ shard: ShardContext) -> State { State() }
    static func decide(
        _ stimulus: Stimulus, _ state: State, _ shard: ShardContext
    ) throws(Refusal) -> Decision {
        if case .message(let name, [1]) = stimulus {
            return Decision(answers: [.init(name, accepted: true)])
        }
        return try Courier.decide(stimulus, state, shard)
    }
    static func evolve(
        _ state: inout State, _ event: Event, _ payload: RawSpan, _ shard: ShardContext
    ) {
        Courier.evolve(&state, event, payload, shard)
        if event.kind == .noted { state.notes += 1 }
    }
    static func encode(_ state: State) -> [UInt8] { Courier.encode(state) }
    static func decode(_ bytes: [UInt8], _ shard: ShardContext) -> State? {
        Courier.decode(bytes, shard)
    }
    static func fields(_ state: State) -> [(name: String, value: String)] { [] }
    static func law(_ states: [(shard: ShardContext, state: State)]) -> [String] { [] }
    static func describe(_ payload: [UInt8]) -> String { Opaque.describe(payload) }
}
