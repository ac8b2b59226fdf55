internal import TallyCore

/// A program made to be hard on the protocol: messages that cause messages, at the receiver and again
/// when the answer arrives; answers that come late; shards that send to themselves; payloads of every
/// size; deadlines.
///
/// A message's payload says what becomes of it, so the load alone decides; the state counts.
///
///     command  1, count 1, then the count's messages: destination 4 and the message's payload, counted
///              2: answer everything that is owed
///              3: note what follows
///     message  reply 1, then-count 1, afterwards-count 1, depth 1, seed 8, filling
enum Storm: Program {
    /// What was done how often, and a sum over what was applied.
    struct State: Sendable {
        var counts: [UInt64] = Array(repeating: 0, count: 8)
        /// Order matters to it: two folds in other orders differ.
        var sum: UInt64 = 0
        /// Messages applied and not answered, in the order in which they came.
        var owed: [MessageName] = []
        var shards: UInt32
    }

    enum Reply: UInt8 {
        case accept, reject, later
    }

    /// A message's payload.
    struct Message {
        var reply: Reply
        var thenCount: UInt8
        var afterwardsCount: UInt8
        var depth: UInt8
        var seed: UInt64
        var filling: Int

        var bytes: [UInt8] {
            var writer = ByteWriter(capacity: 12 + filling)
            writer.write(reply.rawValue)
            writer.write(thenCount)
            writer.write(afterwardsCount)
            writer.write(depth)
            writer.write(seed)
            for index in 0..<filling { writer.write(UInt8(truncatingIfNeeded: index)) }
            return writer.bytes
        }

        init(
            reply: Reply, thenCount: UInt8, afterwardsCount: UInt8, depth: UInt8, seed: UInt64,
            filling: Int
        ) {
            self.reply = reply
            self.thenCount = thenCount
            self.afterwardsCount = afterwardsCount
            self.depth = depth
            self.seed = seed
            self.filling = filling
        }

        init?(_ payload: [UInt8]) {
            var reader = ByteReader(payload)
            guard let raw = reader.read(UInt8.self), let reply = Reply(rawValue: raw),
                let then = reader.read(UInt8.self), let afterwards = reader.read(UInt8.self),
                let depth = reader.read(UInt8.self), let seed = reader.read(UInt64.self)
            else { return nil }
            self.init(
                reply: reply, thenCount: then, afterwardsCount: afterwards, depth: depth,
                seed: seed, filling: 0)
        }

        /// A message drawn from a seed; the deeper, the fewer follow.
        init(drawnFrom random: inout SplitMix64, depth: UInt8) {
            let draw = random.next()
            let replies: [Reply] = [.accept, .accept, .accept, .accept, .accept, .reject, .later]
            reply = replies[Int(draw % 7)]
            self.depth = depth
            thenCount = depth > 0 && draw >> 8 & 7 == 0 ? UInt8(1 + (draw >> 16 & 1)) : 0
            afterwardsCount = depth > 0 && draw >> 24 & 15 == 0 ? 1 : 0
            seed = random.next()
            filling = draw >> 32 & 63 == 0 ? Int(draw >> 40 & 4095) : Int(draw >> 40 & 31)
        }
    }

    static var name: String { "storm" }
    static var foldVersion: UInt32 { 1 }

    static func initial(_ shard: ShardContext) -> State {
        State(shards: UInt32(shard.directory.count))
    }

    static func decide(
        _ stimulus: Stimulus, _ state: State, _ shard: ShardContext
    ) throws(Refusal) -> Decision {
        switch stimulus {
        case .command(let payload):
            return try decide(on: payload, state)
        case .message(let name, let payload):
            guard let message = Message(payload) else {
                return Decision(answers: [.init(name, accepted: false)])
            }
            var decision = Decision()
            decision.sends = sends(message, count: message.thenCount, salt: 1, state)
            if message.reply != .later {
                decision.answers = [
                    .init(
                        name, accepted: message.reply == .accept,
                        payload: message.afterwardsCount > 0 ? payload : [message.depth])
                ]
            }
            return decision
        case .outcome(_, let result, let payload):
            guard result != .timedOut, let message = Message(payload) else { return Decision() }
            return Decision(
                sends: sends(message, count: message.afterwardsCount, salt: 2, state))
        }
    }

    private static func sends(
        _ message: Message, count: UInt8, salt: UInt64, _ state: State
    ) -> [Decision.Send] {
        guard count > 0, message.depth > 0 else { return [] }
        var random = SplitMix64(seed: message.seed ^ salt)
        return (0..<count).map { _ in
            let destination = ShardID(UInt32(random.next() % UInt64(state.shards)) + 1)
            return Decision.Send(
                to: destination, Message(drawnFrom: &random, depth: message.depth - 1).bytes)
        }
    }

    private static func decide(
        on command: [UInt8], _ state: State
    ) throws(Refusal) -> Decision {
        var reader = ByteReader(command)
        switch reader.read(UInt8.self) {
        case 1:
            var decision = Decision(result: [1])
            guard let count = reader.read(UInt8.self) else { throw Refusal("no list") }
            for _ in 0..<count {
                guard let destination = reader.read(UInt32.self),
                    let deadline = reader.read(UInt64.self),
                    let payload = reader.readCounted(max: 1 << 20)
                else { throw Refusal("no list") }
                decision.sends.append(
                    Decision.Send(
                        to: ShardID(destination), Array(payload),
                        deadlineAfter: deadline == 0 ? nil : deadline))
            }
            return decision
        case 2:
            return Decision(
                answers: state.owed.map { .init($0, accepted: true, payload: [7]) },
                result: [UInt8(truncatingIfNeeded: state.owed.count)])
        case 3:
            return Decision(notes: [command], result: [3])
        default:
            throw Refusal("this is no order of the storm")
        }
    }

    static func evolve(
        _ state: inout State, _ event: Event, _ payload: RawSpan, _ shard: ShardContext
    ) {
        switch event.kind {
        case .commanded: state.counts[0] &+= 1
        case .sent: state.counts[1] &+= 1
        case .received:
            guard event.outcome == .applied else {
                state.counts[2] &+= 1
                return
            }
            state.counts[3] &+= 1
            state.sum = (state.sum ^ Fact.hash(payload)) &* 0x0000_0100_0000_01B3
            state.owed.append(MessageName(from: event.peer, to: shard.shard, event.sequence))
        case .answered:
            state.counts[4] &+= 1
            let name = MessageName(from: event.peer, to: shard.shard, event.sequence)
            if let index = state.owed.lastIndex(of: name) { state.owed.remove(at: index) }
        case .acknowledged, .timedOut:
            state.counts[event.kind == .timedOut ? 5 : 6] &+= 1
            state.sum = state.sum &* 31 &+ event.sequence.rawValue
        case .noted: state.counts[7] &+= 1
        default: break
        }
    }

    static func encode(_ state: State) -> [UInt8] {
        var writer = ByteWriter(capacity: 96 + state.owed.count * 16)
        for count in state.counts { writer.write(count) }
        writer.write(state.sum)
        writer.write(state.shards)
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
        var state = initial(shard)
        for index in state.counts.indices {
            guard let count = reader.read(UInt64.self) else { return nil }
            state.counts[index] = count
        }
        guard let sum = reader.read(UInt64.self), let shards = reader.read(UInt32.self),
            let owed = reader.read(UInt32.self)
        else { return nil }
        state.sum = sum
        state.shards = shards
        for _ in 0..<owed {
            guard let origin = reader.read(UInt32.self), let to = reader.read(UInt32.self),
                let sequence = reader.read(UInt64.self)
            else { return nil }
            state.owed.append(
                MessageName(from: ShardID(origin), to: ShardID(to), SequenceNumber(sequence)))
        }
        return reader.isAtEnd ? state : nil
    }
}
