internal import TallyCore

extension Exploration {
    /// One message of an exploration, and what it leads to.
    public struct Errand: Hashable, Sendable {
        /// What its receiver says.
        public enum Reply: UInt8, Sendable {
            /// Yes, at once.
            case accept = 1
            /// No, at once.
            case reject = 2
            /// Nothing yet: a command answers it later.
            case later = 3
        }
        /// The shard whose command sends it, from 0.
        public var from: Int
        /// The shard it goes to, from 0.
        public var to: Int
        /// What its receiver says.
        public var reply: Reply
        /// Whether it must be received before the deadline.
        public var hasDeadline: Bool
        /// What its receiver sends back on receipt.
        public var then: Reply?
        /// What its origin sends once it is accepted.
        public var afterwards: Reply?

        /// Makes a message.
        public init(
            _ from: Int, _ to: Int, _ reply: Reply = .accept, hasDeadline: Bool = false,
            then: Reply? = nil, afterwards: Reply? = nil
        ) {
            self.from = from
            self.to = to
            self.reply = reply
            self.hasDeadline = hasDeadline
            self.then = then
            self.afterwards = afterwards
        }

        var bytes: [UInt8] { [reply.rawValue, then?.rawValue ?? 0, afterwards?.rawValue ?? 0] }
    }

    /// Nanoseconds from a send to its deadline: half of what a wall clock jumps past it.
    static var deadlineAfter: UInt64 { 500_000_000 }

    /// What the program's state holds of one message, as its origin and as its destination.
    struct Tally: Hashable, Sendable {
        var name: MessageName
        var applied: UInt8 = 0
        var expired: UInt8 = 0
        var answered: UInt8 = 0
        var accepted: UInt8 = 0
        var rejected: UInt8 = 0
        var timedOut: UInt8 = 0

        var isOwed: Bool { applied > answered }
        var settled: UInt8 { accepted &+ rejected &+ timedOut }
    }

    /// The program that is explored: it does what commands and messages tell it to, and counts.
    ///
    ///     command   0, and often: destination 4, deadline 1, the message 3     sends them
    ///               1, and often: origin 4, sequence 8                         answers them
    ///     message   reply, what to send back, what to send afterwards; 0: nothing
    ///     answer    what to send afterwards
    enum Errands: Program {
        /// In the order of their first events.
        typealias State = [Tally]
        static var name: String { "errands" }
        static var foldVersion: UInt32 { 1 }
        static func initial(_ shard: ShardContext) -> State { [] }

        static func decide(
            _ stimulus: Stimulus, _ state: State, _ shard: ShardContext
        ) throws(Refusal) -> Decision {
            switch stimulus {
            case .command(let payload): return try decide(on: payload, shard)
            case .message(let name, let payload):
                guard payload.count == 3, let reply = Errand.Reply(rawValue: payload[0]) else {
                    throw Refusal("no message of this program")
                }
                var decision = Decision()
                if reply != .later {
                    decision.answers = [
                        .init(name, accepted: reply == .accept, payload: [payload[2]])
                    ]
                }
                if payload[1] != 0 {
                    decision.sends = [.init(to: name.channel.origin, [payload[1], 0, 0])]
                }
                return decision
            case .outcome(let name, let result, let payload):
                guard result == .accepted, let next = payload.first, next != 0 else {
                    return Decision()
                }
                return Decision(sends: [.init(to: name.channel.destination, [next, 0, 0])])
            }
        }

        private static func decide(
            on command: [UInt8], _ shard: ShardContext
        ) throws(Refusal) -> Decision {
            var reader = ByteReader(command)
            guard let kind = reader.read(UInt8.self) else { throw Refusal("an empty command") }
            var decision = Decision()
            while !reader.isAtEnd {
                guard let peer = reader.read(UInt32.self).map({ ShardID($0) }) else {
                    throw Refusal("no command of this program")
                }
                if kind == 1, let sequence = reader.readSequence() {
                    let name = MessageName(from: peer, to: shard.shard, sequence)
                    let isAccepted = sequence.rawValue % 2 == 1
                    decision.answers.append(.init(name, accepted: isAccepted, payload: [0]))
                } else if kind == 0, let hasDeadline = reader.readBool(),
                    let bytes = reader.read(count: 3)
                {
                    let after = hasDeadline ? deadlineAfter : nil
                    decision.sends.append(.init(to: peer, Array(bytes), deadlineAfter: after))
                } else {
                    throw Refusal("no command of this program")
                }
            }
            return decision
        }

        static func evolve(
            _ state: inout State, _ event: Event, _ payload: RawSpan, _ shard: ShardContext
        ) {
            let name: MessageName
            switch event.kind {
            case .received, .answered:
                name = MessageName(from: event.peer, to: shard.shard, event.sequence)
            case .acknowledged, .timedOut:
                name = MessageName(from: shard.shard, to: event.peer, event.sequence)
            default: return
            }
            let index = state.firstIndex { $0.name == name } ?? state.count
            if index == state.count { state.append(Tally(name: name)) }
            switch event.kind {
            case .received where event.outcome == .expired: state[index].expired &+= 1
            case .received: state[index].applied &+= 1
            case .answered: state[index].answered &+= 1
            case .timedOut: state[index].timedOut &+= 1
            case _ where event.outcome == .accepted: state[index].accepted &+= 1
            default: state[index].rejected &+= 1
            }
        }

        static func encode(_ state: State) -> [UInt8] {
            var writer = ByteWriter(capacity: state.count * 24)
            for tally in state {
                writer.write(tally.name.channel.origin.rawValue)
                writer.write(tally.name.channel.destination.rawValue)
                writer.write(tally.name.sequence.rawValue)
                writer.write(raw: [
                    tally.applied, tally.expired, tally.answered, tally.accepted,
                    tally.rejected, tally.timedOut,
                ])
            }
            return writer.bytes
        }

        /// An exploration keeps its states; none is read back.
        static func decode(_ bytes: [UInt8], _ shard: ShardContext) -> State? { nil }
    }

    /// The command that sends some messages.
    static func command(sending errands: [Errand], _ sequence: SequenceNumber) -> Command {
        var writer = ByteWriter(capacity: 32)
        writer.write(0 as UInt8)
        for errand in errands {
            writer.write(UInt32(errand.to + 1))
            writer.write(errand.hasDeadline)
            writer.write(raw: errand.bytes)
        }
        return Command(client: senderClient, sequence: sequence, payload: writer.bytes)
    }

    /// The command that answers what is owed.
    static func command(answering name: MessageName, _ sequence: SequenceNumber) -> Command {
        var writer = ByteWriter(capacity: 16)
        writer.write(1 as UInt8)
        writer.write(name.channel.origin.rawValue)
        writer.write(name.sequence.rawValue)
        return Command(client: answerClient, sequence: sequence, payload: writer.bytes)
    }

    static var senderClient: Bytes16 { Bytes16(low: 1, high: 0) }
    static var answerClient: Bytes16 { Bytes16(low: 2, high: 0) }
}
