import Synchronization
import TallyCore

/// A way in which a program can be broken; what is not overridden is sound.
protocol Fault: Sendable {
    static func decide(
        _ stimulus: Stimulus, _ state: UInt64, _ shard: ShardContext
    ) throws(Refusal) -> Decision
    static func evolve(_ state: inout UInt64, _ event: Event)
    static func encode(_ state: UInt64) -> [UInt8]
    static func decode(_ bytes: [UInt8]) -> UInt64?
}

extension Fault {
    static func decide(
        _ stimulus: Stimulus, _ state: UInt64, _ shard: ShardContext
    ) throws(Refusal) -> Decision {
        guard case .message(let name, let payload) = stimulus else { return Decision() }
        return Decision(answers: [.init(name, accepted: true, payload: payload)])
    }
    static func evolve(_ state: inout UInt64, _ event: Event) {
        state = state &* 31 &+ UInt64(event.kind.rawValue)
    }
    static func encode(_ state: UInt64) -> [UInt8] {
        var writer = ByteWriter()
        writer.write(state)
        return writer.bytes
    }
    static func decode(_ bytes: [UInt8]) -> UInt64? {
        var reader = ByteReader(bytes)
        guard let value = reader.read(UInt64.self), reader.isAtEnd else { return nil }
        return value
    }
}

/// A program of one number, with a fault.
enum Broken<F: Fault>: Program {
    typealias State = UInt64
    static var name: String { "broken" }
    static var foldVersion: UInt32 { 1 }
    static func initial(_ shard: ShardContext) -> UInt64 { 0 }
    static func decide(
        _ stimulus: Stimulus, _ state: UInt64, _ shard: ShardContext
    ) throws(Refusal) -> Decision { try F.decide(stimulus, state, shard) }
    static func evolve(
        _ state: inout UInt64, _ event: Event, _ payload: RawSpan, _ shard: ShardContext
    ) { F.evolve(&state, event) }
    static func encode(_ state: UInt64) -> [UInt8] { F.encode(state) }
    static func decode(_ bytes: [UInt8], _ shard: ShardContext) -> UInt64? { F.decode(bytes) }
    static func fields(_ state: UInt64) -> [(name: String, value: String)] {
        [("state", "\(state)")]
    }
    static func law(_ states: [(shard: ShardContext, state: UInt64)]) -> [String] { [] }
    static func describe(_ payload: [UInt8]) -> String { Opaque.describe(payload) }
}

/// A number that no program may look at.
enum Hidden {
    private static let counter = Mutex<UInt64>(0)
    static func next() -> UInt64 {
        counter.withLock { count in
            count += 1
            return count
        }
    }
}

enum NoFault: Fault {}

enum AnswersTwice: Fault {
    static func decide(
        _ stimulus: Stimulus, _ state: UInt64, _ shard: ShardContext
    ) throws(Refusal) -> Decision {
        guard case .message(let name, _) = stimulus else { return Decision() }
        return Decision(answers: [.init(name, accepted: true), .init(name, accepted: true)])
    }
}

enum RefusesMessages: Fault {
    static func decide(
        _ stimulus: Stimulus, _ state: UInt64, _ shard: ShardContext
    ) throws(Refusal) -> Decision { throw Refusal("not today") }
}

enum ImpureDecide: Fault {
    static func decide(
        _ stimulus: Stimulus, _ state: UInt64, _ shard: ShardContext
    ) throws(Refusal) -> Decision { Decision(notes: [[UInt8(truncatingIfNeeded: Hidden.next())]]) }
}

enum ImpureEvolve: Fault {
    static func evolve(_ state: inout UInt64, _ event: Event) { state = Hidden.next() }
}

/// The same state, other bytes each time.
enum UnequalEncode: Fault {
    static func encode(_ state: UInt64) -> [UInt8] {
        var writer = ByteWriter()
        writer.write(state)
        writer.write(Hidden.next())
        return writer.bytes
    }
    static func decode(_ bytes: [UInt8]) -> UInt64? {
        var reader = ByteReader(bytes)
        return reader.read(UInt64.self)
    }
}

/// Half of the state is not written.
enum ForgetfulEncode: Fault {
    static func decode(_ bytes: [UInt8]) -> UInt64? {
        var reader = ByteReader(bytes)
        return reader.read(UInt64.self).map { $0 & 0xFF }
    }
}
