import Dispatch
import Synchronization
import TallyCore
import TallyRuntime
import TallystickTesting
import Testing

/// A transport in the caller's thread, with a fault on demand.
private final class FaultyTransport: Transport {
    enum Fault: CaseIterable {
        case none, altersByte, cutsShort, wrongShard, loses, speaksWhenClosed, keepsFirstReceiver,
            blocks
    }
    private typealias Receiver = @Sendable ([UInt8]) -> Void
    private struct State {
        var receivers: [ShardID: Receiver] = [:]
        var isClosed = false
        var count = 0
    }
    private let state = Mutex(State())
    private let fault: Fault
    private let room = DispatchSemaphore(value: 0)

    init(_ fault: Fault) { self.fault = fault }

    func attach(_ shard: ShardID, _ receive: @escaping @Sendable ([UInt8]) -> Void) {
        state.withLock { state in
            if fault == .keepsFirstReceiver, state.receivers[shard] != nil { return }
            state.receivers[shard] = receive
        }
    }

    func send(_ envelope: [UInt8], to shard: ShardID) {
        var bytes = envelope
        let receiver = state.withLock { state -> Receiver? in
            state.count += 1
            guard !state.isClosed || fault == .speaksWhenClosed else { return nil }
            var to = shard
            if state.count % 17 == 0 {
                switch fault {
                case .altersByte: bytes[bytes.count - 1] ^= 4
                case .cutsShort: bytes.removeLast()
                case .wrongShard: to = ShardID(shard.rawValue % 3 + 1)
                case .loses: return nil
                default: break
                }
            }
            return state.receivers[to]
        }
        // Nobody ever makes room.
        if receiver == nil, fault == .blocks { room.wait() }
        receiver?(bytes)
    }

    func close() {
        state.withLock { $0.isClosed = true }
        if fault == .blocks { for _ in 0..<10_000 { room.signal() } }
    }
}

@Suite("The suite for transports", .timeLimit(.minutes(10)))
struct TransportConformanceTests {
    private func broken(
        _ fault: FaultyTransport.Fault, requiresDelivery: Bool = true,
        patience: UInt64 = 10_000_000_000
    ) async -> [String] {
        do {
            try await TransportConformance.check(
                requiresDelivery: requiresDelivery, patience: patience, quiet: 20_000_000,
                largestPayload: 10_000
            ) { FaultyTransport(fault) }
            return []
        } catch {
            return (error as? ConformanceFailure)?.broken ?? ["\(error)"]
        }
    }

    @Test("a transport that breaks a promise is told which, and how")
    func caught() async {
        func says(
            _ fault: FaultyTransport.Fault, _ words: String, patience: UInt64 = 10_000_000_000
        ) async {
            let found = await broken(fault, requiresDelivery: false, patience: patience)
            #expect(found.contains { $0.contains(words) }, "\(fault): \(found)")
        }
        #expect(await broken(.none) == [])
        await says(.altersByte, "never alters an envelope: envelope 17 of")
        await says(.cutsShort, "never alters an envelope: ")
        await says(
            .wrongShard, "never delivers to another shard: envelope 17 for shard 2 arrived at")
        await says(.speaksWhenClosed, "a closed transport carries nothing")
        await says(.keepsFirstReceiver, "attach replaces the receiver: envelope 51")
        await says(.blocks, "send never blocks its caller: ", patience: 300_000_000)
    }

    @Test("a transport that loses passes, unless it claims to lose nothing")
    func losses() async {
        #expect(await broken(.loses, requiresDelivery: false) == [])
        let found = await broken(.loses, patience: 300_000_000)
        #expect(
            found.contains { $0.contains("claims to lose nothing delivers everything: ") })
    }

    @Test("a transport through which nothing comes is no transport")
    func silence() async {
        do {
            try await TransportConformance.check(quiet: 20_000_000, largestPayload: 10_000) {
                InProcessTransport(faults: TransportFaults(loss: 1))
            }
            Issue.record("it passed")
        } catch {
            #expect("\(error)".contains("so nothing was checked"))
        }
    }
}
