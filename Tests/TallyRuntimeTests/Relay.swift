import Foundation
import TallyCore

/// A command of the test program.
enum Order {
    /// Sends one message; its payload is what the receiver is to do.
    case send(to: ShardID, Parcel, deadlineAfter: UInt64? = nil)
    /// Sends a message of so many bytes, all 0xEE: it is accepted with the same bytes.
    case sendBytes(to: ShardID, count: Int)
    /// Answers everything that is owed.
    case answerOwed
    /// Notes its bytes; the result is the same bytes.
    case note([UInt8])
    /// Which thread decides: eight bytes that no other living thread has.
    case thread
    case refuse

    var bytes: [UInt8] {
        var writer = ByteWriter()
        switch self {
        case .send(let shard, let parcel, let deadline):
            writer.write(1 as UInt8)
            writer.write(shard.rawValue)
            writer.write(deadline ?? 0)
            writer.write(raw: parcel.bytes)
        case .sendBytes(let shard, let count):
            writer.write(2 as UInt8)
            writer.write(shard.rawValue)
            writer.write(UInt64(count))
        case .answerOwed: writer.write(3 as UInt8)
        case .note(let bytes):
            writer.write(4 as UInt8)
            writer.write(raw: bytes)
        case .thread: writer.write(5 as UInt8)
        case .refuse: writer.write(6 as UInt8)
        }
        return writer.bytes
    }
}

/// A message of the test program.
enum Parcel {
    /// Is accepted with its text.
    case accept(String = "yes")
    case reject(String = "no")
    /// Stays owed until an order answers it.
    case later
    /// Is accepted, and makes its receiver send a message of its own.
    case forward(to: ShardID)

    var bytes: [UInt8] {
        switch self {
        case .accept(let text): [1] + Array(text.utf8)
        case .reject(let text): [2] + Array(text.utf8)
        case .later: [3]
        case .forward(let shard): [4, UInt8(shard.rawValue)]
        }
    }
}

struct RelayState: Equatable, Sendable {
    var commands: UInt64 = 0
    var applied: UInt64 = 0
    var accepted: UInt64 = 0
    var rejected: UInt64 = 0
    var timedOut: UInt64 = 0
    var notes: UInt64 = 0
    /// Depends on every event and on their order.
    var mix: UInt64 = 0
    var owed: [MessageName] = []
}

/// The test program: it does what commands and messages tell it to, and counts.
enum Relay: Program {
    typealias State = RelayState
    static var name: String { "relay" }
    static var foldVersion: UInt32 { 3 }

    static func initial(_ shard: ShardContext) -> RelayState { RelayState() }

    static func decide(
        _ stimulus: Stimulus, _ state: RelayState, _ shard: ShardContext
    ) throws(Refusal) -> Decision {
        switch stimulus {
        case .command(let payload): return try decide(on: payload, state)
        case .message(let name, let payload):
            let text = Array(payload.dropFirst())
            switch payload.first {
            case 2: return Decision(answers: [.init(name, accepted: false, payload: text)])
            case 3: return Decision()
            case 4:
                let next = ShardID(UInt32(payload.dropFirst().first ?? 0))
                return Decision(
                    answers: [.init(name, accepted: true)],
                    sends: [.init(to: next, Parcel.accept("forwarded").bytes)])
            case 1: return Decision(answers: [.init(name, accepted: true, payload: text)])
            default: return Decision(answers: [.init(name, accepted: true, payload: payload)])
            }
        case .outcome: return Decision()
        }
    }

    private static func decide(
        on command: [UInt8], _ state: RelayState
    ) throws(Refusal) -> Decision {
        var reader = ByteReader(command)
        switch reader.read(UInt8.self) {
        case 1:
            guard let shard = reader.read(UInt32.self), let after = reader.read(UInt64.self),
                let payload = reader.read(count: reader.remaining)
            else { throw Refusal("no send") }
            return Decision(
                sends: [
                    .init(
                        to: ShardID(shard), Array(payload), deadlineAfter: after == 0 ? nil : after)
                ], result: Array("sent".utf8))
        case 2:
            guard let shard = reader.read(UInt32.self), let count = reader.read(UInt64.self) else {
                throw Refusal("no send")
            }
            let payload = [UInt8](repeating: 0xEE, count: Int(count))
            return Decision(sends: [.init(to: ShardID(shard), payload)])
        case 3:
            let answers = state.owed.map { Decision.Answer($0, accepted: true, payload: [7]) }
            return Decision(answers: answers, result: Array("\(answers.count)".utf8))
        case 4:
            let bytes = Array(command.dropFirst())
            return Decision(notes: [[1]], result: bytes.count > 4096 ? [] : bytes)
        case 5:
            var writer = ByteWriter()
            writer.write(UInt64(UInt(bitPattern: ObjectIdentifier(Thread.current))))
            return Decision(result: writer.bytes)
        default:
            throw Refusal("refused as ordered")
        }
    }

    static func evolve(
        _ state: inout RelayState, _ event: Event, _ payload: RawSpan, _ shard: ShardContext
    ) {
        state.mix = state.mix &* 31 &+ UInt64(event.kind.rawValue) &+ event.sequence.rawValue &* 131
        state.mix = state.mix &* 31 &+ UInt64(payload.byteCount)
        let name = MessageName(from: event.peer, to: shard.shard, event.sequence)
        switch event.kind {
        case .commanded: state.commands += 1
        case .received where event.outcome == .applied:
            state.applied += 1
            state.owed.append(name)
        case .answered: state.owed.removeAll { $0 == name }
        case .acknowledged where event.outcome == .accepted: state.accepted += 1
        case .acknowledged: state.rejected += 1
        case .timedOut: state.timedOut += 1
        case .noted: state.notes += 1
        default: break
        }
    }

    static func encode(_ state: RelayState) -> [UInt8] {
        var writer = ByteWriter()
        for word in [
            state.commands, state.applied, state.accepted, state.rejected, state.timedOut,
            state.notes, state.mix, UInt64(state.owed.count),
        ] { writer.write(word) }
        for name in state.owed {
            writer.write(name.channel.origin.rawValue)
            writer.write(name.channel.destination.rawValue)
            writer.write(name.sequence.rawValue)
        }
        return writer.bytes
    }

    static func decode(_ bytes: [UInt8], _ shard: ShardContext) -> RelayState? {
        var reader = ByteReader(bytes)
        var words: [UInt64] = []
        for _ in 0..<8 {
            guard let word = reader.read(UInt64.self) else { return nil }
            words.append(word)
        }
        var state = RelayState(
            commands: words[0], applied: words[1], accepted: words[2], rejected: words[3],
            timedOut: words[4], notes: words[5], mix: words[6])
        for _ in 0..<words[7] {
            guard let origin = reader.read(UInt32.self), let to = reader.read(UInt32.self),
                let sequence = reader.readSequence()
            else { return nil }
            state.owed.append(MessageName(from: ShardID(origin), to: ShardID(to), sequence))
        }
        return reader.isAtEnd ? state : nil
    }

    static func fields(_ state: RelayState) -> [(name: String, value: String)] { [] }
    static func law(_ states: [(shard: ShardContext, state: RelayState)]) -> [String] { [] }
    static func describe(_ payload: [UInt8]) -> String { "\(payload.count) bytes" }
}
