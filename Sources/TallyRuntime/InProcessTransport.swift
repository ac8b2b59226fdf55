internal import Foundation
internal import Synchronization
public import TallyCore

/// Carries envelopes within one process, with faults on demand.
public final class InProcessTransport: Transport {
    private typealias Receiver = @Sendable ([UInt8]) -> Void

    private struct Parcel {
        var due: UInt64
        var order: UInt64
        var shard: ShardID
        var bytes: [UInt8]
    }

    private struct State {
        var receivers: [ShardID: Receiver] = [:]
        var random: SplitMix64
        var heap: [Parcel] = []
        var order: UInt64 = 0
        var isClosed = false
        var lost: UInt64 = 0
        var repeated: UInt64 = 0
        var sent: UInt64 = 0
    }

    private let faults: TransportFaults
    private let state: Mutex<State>
    private let signal = DispatchSemaphore(value: 0)

    /// A transport that does this to envelopes; nothing unless given.
    public init(faults: TransportFaults = TransportFaults()) {
        var faults = faults
        // A day is more than any test waits, and far from where sums of times overflow.
        faults.delayMax = min(faults.delayMax, 86_400_000_000_000)
        self.faults = faults
        state = Mutex(State(random: SplitMix64(seed: faults.seed)))
        if !faults.isNone {
            let thread = Thread { [weak self] in
                while let wait = self?.deliverDue() {
                    _ = self?.signal.wait(timeout: .now() + .nanoseconds(Int(wait)))
                }
            }
            thread.name = "tally-transport"
            thread.start()
        }
    }

    /// Envelopes taken, lost and repeated so far.
    public var counts: (sent: UInt64, lost: UInt64, repeated: UInt64) {
        state.withLock { ($0.sent, $0.lost, $0.repeated) }
    }

    public func attach(_ shard: ShardID, _ receive: @escaping @Sendable ([UInt8]) -> Void) {
        state.withLock { $0.receivers[shard] = receive }
    }

    public func send(_ envelope: [UInt8], to shard: ShardID) {
        if faults.isNone {
            let receiver = state.withLock { state -> Receiver? in
                state.sent += 1
                return state.isClosed ? nil : state.receivers[shard]
            }
            receiver?(envelope)
            return
        }
        let now = SystemClock.now().ticks
        state.withLock { state in
            guard !state.isClosed else { return }
            state.sent += 1
            if chance(faults.loss, &state.random) {
                state.lost += 1
                return
            }
            schedule(envelope, shard, now, &state)
            if chance(faults.repetition, &state.random) {
                state.repeated += 1
                schedule(envelope, shard, now &+ faults.delayMax, &state)
            }
        }
        signal.signal()
    }

    private func chance(_ probability: Double, _ random: inout SplitMix64) -> Bool {
        Double(random.next() >> 11) * 0x1p-53 < probability
    }

    private func schedule(
        _ envelope: [UInt8], _ shard: ShardID, _ now: UInt64, _ state: inout State
    ) {
        let delay = faults.delayMax == 0 ? 0 : state.random.next() % (faults.delayMax + 1)
        state.order += 1
        let parcel = Parcel(due: now &+ delay, order: state.order, shard: shard, bytes: envelope)
        state.heap.append(parcel)
        var child = state.heap.count - 1
        while child > 0, Self.isEarlier(state.heap[child], state.heap[(child - 1) / 2]) {
            state.heap.swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    private static func isEarlier(_ left: Parcel, _ right: Parcel) -> Bool {
        (left.due, left.order) < (right.due, right.order)
    }

    private static func removeFirst(_ heap: inout [Parcel]) -> Parcel? {
        guard !heap.isEmpty else { return nil }
        heap.swapAt(0, heap.count - 1)
        let first = heap.removeLast()
        var parent = 0
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2]
            where child < heap.count && isEarlier(heap[child], heap[least]) {
                least = child
            }
            if least == parent { return first }
            heap.swapAt(parent, least)
            parent = least
        }
    }

    /// Hands over what is due.
    ///
    /// - Returns: Nanoseconds until the next one is; `nil` when the transport is closed.
    private func deliverDue() -> UInt64? {
        while true {
            let now = SystemClock.now().ticks
            let next = state.withLock { state -> (Receiver?, [UInt8], UInt64?) in
                if state.isClosed { return (nil, [], nil) }
                guard let first = state.heap.first else { return (nil, [], 100_000_000) }
                guard first.due <= now else { return (nil, [], first.due - now) }
                guard let parcel = Self.removeFirst(&state.heap) else { return (nil, [], 0) }
                return (state.receivers[parcel.shard], parcel.bytes, 0)
            }
            if let receiver = next.0 {
                receiver(next.1)
            } else {
                return next.2
            }
        }
    }

    public func close() {
        state.withLock { state in
            state.isClosed = true
            state.heap.removeAll()
            state.receivers.removeAll()
        }
        signal.signal()
    }
}
