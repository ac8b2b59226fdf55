import Synchronization
import TallyCore
import TallyRuntime
import TallystickTesting
import Testing

@Suite("The transport within one process", .timeLimit(.minutes(10)))
struct TransportTests {
    /// What arrived at a receiver.
    private final class Inbox: Sendable {
        private let items = Mutex<[UInt8]>([])
        func add(_ bytes: [UInt8]) { items.withLock { $0.append(bytes[0]) } }
        var all: [UInt8] { items.withLock { $0 } }
    }

    private func filled(
        _ transport: InProcessTransport, count: UInt8
    ) -> Inbox {
        let inbox = Inbox()
        transport.attach(Lab.a) { inbox.add($0) }
        for number in 0..<count { transport.send([number], to: Lab.a) }
        return inbox
    }

    @Test("without faults every envelope arrives at once, in order, and at its own shard only")
    func order() {
        let transport = InProcessTransport()
        let other = Inbox()
        transport.attach(Lab.b) { other.add($0) }
        let inbox = filled(transport, count: 200)
        #expect(inbox.all == Array(0..<200) && other.all.isEmpty)
        #expect(transport.counts == (200, 0, 0))
    }

    @Test("it keeps what every transport promises, and delivers everything")
    func promises() async throws {
        try await TransportConformance.check(requiresDelivery: true, quiet: 20_000_000) {
            InProcessTransport()
        }
    }

    @Test(
        "with faults it keeps what every transport promises; without losses it delivers everything",
        arguments: [0, 0.3])
    func faultyPromises(loss: Double) async throws {
        let faults = TransportFaults(
            loss: loss, repetition: 0.3, delayMax: 20_000_000, seed: 3)
        try await TransportConformance.check(requiresDelivery: loss == 0, largestPayload: 10_000) {
            InProcessTransport(faults: faults)
        }
    }

    @Test("with faults and no delay the order stays; what is repeated arrives twice")
    func repetition() async throws {
        let transport = InProcessTransport(faults: TransportFaults(repetition: 1))
        let inbox = filled(transport, count: 100)
        try await Lab.eventually("all have arrived") { inbox.all.count == 200 }
        #expect(inbox.all == (0..<100).flatMap { [$0, $0] })
        #expect(transport.counts == (100, 0, 100))
        transport.close()
    }

    @Test("what is lost never arrives; what is delayed arrives late and out of order, once")
    func lossAndDelay() async throws {
        let lossy = InProcessTransport(faults: TransportFaults(loss: 1))
        let nothing = filled(lossy, count: 50)
        #expect(lossy.counts == (50, 50, 0))
        let slow = InProcessTransport(faults: TransportFaults(delayMax: 20_000_000))
        let inbox = filled(slow, count: 200)
        try await Lab.eventually("all have arrived") { inbox.all.count == 200 }
        #expect(inbox.all != Array(0..<200) && inbox.all.sorted() == Array(0..<200))
        #expect(nothing.all.isEmpty)
        lossy.close()
        slow.close()
    }

    @Test("the same seed loses the same envelopes", arguments: [1, 77] as [UInt64])
    func seeds(seed: UInt64) async throws {
        var arrived: [[UInt8]] = []
        for _ in 0..<2 {
            let transport = InProcessTransport(faults: TransportFaults(loss: 0.5, seed: seed))
            let inbox = filled(transport, count: 200)
            try await Lab.eventually("the rest has arrived") {
                inbox.all.count == 200 - Int(transport.counts.lost)
            }
            arrived.append(inbox.all)
            transport.close()
        }
        #expect(arrived[0] == arrived[1] && (60...140).contains(arrived[0].count))
    }
}
