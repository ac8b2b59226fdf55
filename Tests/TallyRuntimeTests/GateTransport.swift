import Synchronization
import TallyCore
import TallyRuntime

/// A transport in the test's hands: it sees every envelope, and a rule says what becomes of it.
final class GateTransport: Transport {
    enum Verdict: Sendable {
        case deliver, drop, hold, twice
    }
    typealias Rule = @Sendable (Envelope) -> Verdict
    private typealias Receiver = @Sendable ([UInt8]) -> Void

    private struct State {
        var receivers: [ShardID: Receiver] = [:]
        var rule: Rule
        var seen: [Envelope] = []
        var held: [(shard: ShardID, bytes: [UInt8])] = []
        var isClosed = false
    }

    private let state: Mutex<State>

    init(_ rule: @escaping Rule = { _ in .deliver }) { state = Mutex(State(rule: rule)) }

    func attach(_ shard: ShardID, _ receive: @escaping @Sendable ([UInt8]) -> Void) {
        state.withLock { $0.receivers[shard] = receive }
    }

    func send(_ envelope: [UInt8], to shard: ShardID) {
        let (receiver, times) = state.withLock { state -> (Receiver?, Int) in
            guard !state.isClosed, let decoded = Envelope(decoding: envelope) else {
                return (nil, 0)
            }
            state.seen.append(decoded)
            switch state.rule(decoded) {
            case .deliver: return (state.receivers[shard], 1)
            case .twice: return (state.receivers[shard], 2)
            case .drop: return (nil, 0)
            case .hold:
                state.held.append((shard, envelope))
                return (nil, 0)
            }
        }
        for _ in 0..<times { receiver?(envelope) }
    }

    func close() { state.withLock { $0.isClosed = true } }

    var isClosed: Bool { state.withLock { $0.isClosed } }
    var seen: [Envelope] { state.withLock { $0.seen } }
    var heldCount: Int { state.withLock { $0.held.count } }

    func follow(_ rule: @escaping Rule) { state.withLock { $0.rule = rule } }

    /// Delivers what was held; what comes from now on follows the new rule.
    func release(andThen rule: @escaping Rule = { _ in .deliver }) {
        let parcels = state.withLock { state in
            state.rule = rule
            let held = state.held
            state.held = []
            return held.map { (state.receivers[$0.shard], $0.bytes) }
        }
        for (receiver, bytes) in parcels { receiver?(bytes) }
    }

    /// Hands an envelope to its receiver, whatever the rule says.
    func inject(_ envelope: Envelope) {
        inject(envelope.encoded(), to: envelope.header.receiver)
    }

    func inject(_ bytes: [UInt8], to shard: ShardID) {
        let receiver = state.withLock { $0.receivers[shard] }
        receiver?(bytes)
    }
}

extension Envelope {
    var deliveries: [Delivery] {
        if case .deliver(let items) = content { return items }
        return []
    }
    var answers: [AnswerItem] {
        if case .answer(let items) = content { return items }
        return []
    }
    var isDelivery: Bool { !deliveries.isEmpty }
    var isAnswer: Bool { !answers.isEmpty }
}

/// Counts from any thread.
final class Tally: Sendable {
    private let number = Mutex(0)
    /// The number before it went up.
    @discardableResult
    func next() -> Int {
        number.withLock { number in
            defer { number += 1 }
            return number
        }
    }
    var count: Int { number.withLock { $0 } }
}
