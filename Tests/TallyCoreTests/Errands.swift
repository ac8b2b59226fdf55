import TallyCore

/// A message of the test program: its bytes say what its receiver is to do.
struct Errand: Equatable, Sendable {
    enum Reply: UInt8, Sendable {
        case accept = 1
        case reject = 2
        /// Stays owed until an order answers it.
        case later = 3
        /// Throws, which a program must not do for a message.
        case fault = 4
    }
    var to: ShardID
    var reply = Reply.accept
    var deadlineAfter: UInt64?
    /// Makes the bytes differ.
    var mark: UInt32 = 0
    /// What the receiver sends when it receives this.
    var then: [Errand] = []
    /// What the origin sends when the answer arrives (it travels in the answer).
    var afterwards: [Errand] = []

    init(
        _ to: ShardID, _ reply: Reply = .accept, deadlineAfter: UInt64? = nil, mark: UInt32 = 0,
        then: [Errand] = [], afterwards: [Errand] = []
    ) {
        self.to = to
        self.reply = reply
        self.deadlineAfter = deadlineAfter
        self.mark = mark
        self.then = then
        self.afterwards = afterwards
    }

    var bytes: [UInt8] {
        var writer = ByteWriter()
        encode(into: &writer)
        return writer.bytes
    }

    func encode(into writer: inout ByteWriter) {
        writer.write(to.rawValue)
        writer.write(reply.rawValue)
        writer.write(deadlineAfter ?? 0)
        writer.write(mark)
        Errand.encode(then, into: &writer)
        Errand.encode(afterwards, into: &writer)
    }

    static func encode(_ errands: [Errand], into writer: inout ByteWriter) {
        writer.write(UInt8(errands.count))
        for errand in errands { errand.encode(into: &writer) }
    }

    static func list(from reader: inout ByteReader) -> [Errand]? {
        guard let count = reader.read(UInt8.self) else { return nil }
        var errands: [Errand] = []
        for _ in 0..<count {
            guard let errand = Errand(from: &reader) else { return nil }
            errands.append(errand)
        }
        return errands
    }

    init?(from reader: inout ByteReader) {
        guard let to = reader.read(UInt32.self), let raw = reader.read(UInt8.self),
            let reply = Reply(rawValue: raw), let deadline = reader.read(UInt64.self),
            let mark = reader.read(UInt32.self), let then = Errand.list(from: &reader),
            let afterwards = Errand.list(from: &reader)
        else { return nil }
        self.init(
            ShardID(to), reply, deadlineAfter: deadline == 0 ? nil : deadline, mark: mark,
            then: then, afterwards: afterwards)
    }
}

/// A command of the test program.
enum Order: Equatable, Sendable {
    case refuse
    case refuseAsFull
    case send([Errand])
    /// Answers everything that is owed.
    case answerOwed(accepted: Bool)
    case note(UInt32)
    /// Answers a message that is not owed: a decision that cannot be recorded.
    case answerNothing

    var bytes: [UInt8] {
        var writer = ByteWriter()
        switch self {
        case .refuse: writer.write(0 as UInt8)
        case .send(let errands):
            writer.write(1 as UInt8)
            Errand.encode(errands, into: &writer)
        case .answerOwed(let accepted):
            writer.write(2 as UInt8)
            writer.write(accepted)
        case .note(let value):
            writer.write(3 as UInt8)
            writer.write(value)
        case .answerNothing: writer.write(4 as UInt8)
        case .refuseAsFull: writer.write(5 as UInt8)
        }
        return writer.bytes
    }
}

/// The state of the test program: what was done how often.
struct ErrandState: Equatable, Sendable {
    var applied: [MessageName: UInt32] = [:]
    var outcomes: [MessageName: UInt32] = [:]
    var owed: [MessageName] = []
    var commands: UInt32 = 0
    var notes: UInt32 = 0
    var sent: UInt32 = 0
    var interventions: UInt32 = 0
}

/// The test program: it does what commands and messages tell it to, and counts.
enum Errands: Program {
    typealias State = ErrandState
    static var name: String { "errands" }
    static var foldVersion: UInt32 { 7 }

    static func initial(_ shard: ShardContext) -> ErrandState { ErrandState() }

    static func decide(
        _ stimulus: Stimulus, _ state: ErrandState, _ shard: ShardContext
    ) throws(Refusal) -> Decision {
        switch stimulus {
        case .command(let payload): return try decide(on: payload, state, shard)
        case .message(let name, let payload):
            var reader = ByteReader(payload)
            guard let errand = Errand(from: &reader) else {
                return Decision(answers: [.init(name, accepted: false)])
            }
            if errand.reply == .fault { throw Refusal("a message cannot be refused") }
            var decision = Decision(sends: errand.then.map(send))
            var answer = ByteWriter()
            Errand.encode(errand.afterwards, into: &answer)
            if errand.reply != .later {
                decision.answers = [
                    .init(name, accepted: errand.reply == .accept, payload: answer.bytes)
                ]
            }
            return decision
        case .outcome(_, let result, let payload):
            var reader = ByteReader(payload)
            guard result != .timedOut, let errands = Errand.list(from: &reader) else {
                return Decision()
            }
            return Decision(sends: errands.map(send))
        }
    }

    private static func send(_ errand: Errand) -> Decision.Send {
        Decision.Send(to: errand.to, errand.bytes, deadlineAfter: errand.deadlineAfter)
    }

    private static func decide(
        on command: [UInt8], _ state: ErrandState, _ shard: ShardContext
    ) throws(Refusal) -> Decision {
        var reader = ByteReader(command)
        switch reader.read(UInt8.self) {
        case 1:
            guard let errands = Errand.list(from: &reader) else { throw Refusal("no list") }
            return Decision(
                sends: errands.map(send), result: Array("sent \(errands.count)".utf8))
        case 2:
            let accepted = reader.readBool() ?? true
            return Decision(
                answers: state.owed.map { .init($0, accepted: accepted, payload: [0]) },
                result: Array("answered \(state.owed.count)".utf8))
        case 3:
            return Decision(notes: [command], result: [9])
        case 4:
            return Decision(answers: [
                .init(
                    MessageName(from: shard.shard, to: shard.shard, SequenceNumber(99)),
                    accepted: true)
            ])
        case 5:
            throw Refusal(.full, "the program says that it is full")
        default:
            throw Refusal("refused as ordered")
        }
    }

    static func evolve(
        _ state: inout ErrandState, _ event: Event, _ payload: RawSpan, _ shard: ShardContext
    ) {
        switch event.kind {
        case .commanded: state.commands += 1
        case .sent: state.sent += 1
        case .received:
            guard event.outcome == .applied else { return }
            let name = MessageName(from: event.peer, to: shard.shard, event.sequence)
            state.applied[name, default: 0] += 1
            state.owed.append(name)
        case .answered:
            let name = MessageName(from: event.peer, to: shard.shard, event.sequence)
            state.owed.removeAll { $0 == name }
        case .acknowledged, .timedOut:
            let name = MessageName(from: shard.shard, to: event.peer, event.sequence)
            state.outcomes[name, default: 0] += 1
        case .noted: state.notes += 1
        case .intervened: state.interventions += 1
        case .opened, .reemitted, .conflicted, .witnessed: break
        }
    }

    static func encode(_ state: ErrandState) -> [UInt8] {
        var writer = ByteWriter()
        func write(_ name: MessageName) {
            writer.write(name.channel.origin.rawValue)
            writer.write(name.channel.destination.rawValue)
            writer.write(name.sequence.rawValue)
        }
        for counts in [state.applied, state.outcomes] {
            writer.write(UInt32(counts.count))
            for (name, count) in counts.sorted(by: { $0.key < $1.key }) {
                write(name)
                writer.write(count)
            }
        }
        writer.write(UInt32(state.owed.count))
        state.owed.forEach(write)
        for count in [state.commands, state.notes, state.sent, state.interventions] {
            writer.write(count)
        }
        return writer.bytes
    }

    static func decode(_ bytes: [UInt8], _ shard: ShardContext) -> ErrandState? { nil }
    static func fields(_ state: ErrandState) -> [(name: String, value: String)] { [] }
    static func law(_ states: [(shard: ShardContext, state: ErrandState)]) -> [String] { [] }
    static func describe(_ payload: [UInt8]) -> String { "\(payload.count) bytes" }
}
