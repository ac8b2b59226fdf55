internal import Dispatch
internal import Synchronization
internal import TallyCore
internal import TallyRuntime
internal import TallyStore

/// One transport with what was sent through it and what arrived.
final class TransportRun: Sendable {
    static let shards = [ShardID(1), ShardID(2), ShardID(3)]

    private struct Sent {
        var shard: ShardID
        var bytes: [UInt8]
        /// The receivers that may get it: this one, and those attached later.
        var receiver: Int
        var isRequired: Bool
    }

    private struct Arrival {
        var shard: ShardID
        var receiver: Int
        var bytes: [UInt8]
    }

    private struct State {
        var sent: [Sent] = []
        var arrivals: [Arrival] = []
        var arrived: Set<Int> = []
        var isClosed = false
        var broken = Promises()
    }

    let transport: any Transport
    let quiet: UInt64
    let largestPayload: Int
    private let requiresDelivery: Bool
    private let patience: UInt64
    private let state = Mutex(State())

    init(
        _ transport: any Transport, requiresDelivery: Bool, patience: UInt64, quiet: UInt64,
        largestPayload: Int
    ) {
        self.largestPayload = largestPayload
        self.transport = transport
        self.requiresDelivery = requiresDelivery
        self.patience = patience
        self.quiet = quiet
    }

    func attach(_ shard: ShardID, as receiver: Int) {
        transport.attach(shard) { [weak self] bytes in
            self?.state.withLock { state in
                if state.isClosed {
                    state.broken.expect(
                        false, "a closed transport carries nothing",
                        "an envelope of \(bytes.count) bytes arrived behind the close")
                }
                state.arrivals.append(
                    Arrival(shard: shard, receiver: receiver, bytes: bytes))
                if let number = Self.number(of: bytes) { state.arrived.insert(number) }
            }
        }
    }

    /// From here on, nothing may arrive.
    func seal() { state.withLock { $0.isClosed = true } }

    // MARK: Sending

    /// A real envelope with one message; its number is the message's sequence.
    private static func envelope(_ number: Int, to shard: ShardID, payload: Int) -> [UInt8] {
        var random = SplitMix64(seed: UInt64(number))
        var bytes = [UInt8](repeating: UInt8(truncatingIfNeeded: number), count: payload)
        for index in bytes.indices.prefix(256) {
            bytes[index] = UInt8(truncatingIfNeeded: random.next())
        }
        let session = Session(epoch: Epoch(1), nonce: Bytes16(low: 1, high: 1))
        let header = EnvelopeHeader(
            sender: ShardID(3), receiver: shard, senderSession: session,
            receiverSession: session,
            durableEnd: LogPosition(
                offset: Offset(1), head: .none, timestamp: Timestamp(1)))
        let delivery = Delivery(
            sequence: SequenceNumber(UInt64(number)), offset: Offset(1), sentAt: Timestamp(1),
            deadline: .none, settledThrough: .none, correlation: .none, payload: bytes[...])
        return Envelope(header: header, content: .deliver([delivery])).encoded()
    }

    /// The number in the bytes of an envelope; it may be damaged.
    private static func number(of bytes: [UInt8]) -> Int? {
        guard bytes.count >= 152 else { return nil }
        var reader = ByteReader(bytes[144..<152])
        return reader.read(UInt64.self).flatMap { Int(exactly: $0) }
    }

    /// Sends envelopes with payloads of given lengths, each thread all of them, and waits until every
    /// call has returned.
    func send(
        _ parcels: [(shard: ShardID, payload: Int)], threads: Int = 1, receiver: Int = 1,
        isRequired: Bool = true
    ) async {
        let total = parcels.count * threads
        let first = state.withLock { state -> Int in
            let first = state.sent.count + 1
            for index in 0..<total {
                let parcel = parcels[index % parcels.count]
                state.sent.append(
                    Sent(
                        shard: parcel.shard,
                        bytes: Self.envelope(
                            first + index, to: parcel.shard, payload: parcel.payload),
                        receiver: receiver, isRequired: isRequired))
            }
            return first
        }
        let all = state.withLock { Array($0.sent[(first - 1)...]) }
        let done = Done()
        let (transport, count) = (transport, parcels.count)
        // Not the caller's thread: a transport that blocks would keep the suite for ever.
        for thread in 0..<threads {
            DispatchQueue(label: "transport-conformance").async {
                for one in all[(thread * count)..<((thread + 1) * count)] {
                    transport.send(one.bytes, to: one.shard)
                    done.count.withLock { $0 += 1 }
                }
            }
        }
        let isDone = await waited { done.count.withLock { $0 } == total }
        guard !isDone else { return }
        let returned = done.count.withLock { $0 }
        state.withLock {
            $0.broken.expect(
                false, "send never blocks its caller",
                "\(returned) of \(total) calls have returned within"
                    + " \(patience / 1_000_000) ms")
        }
    }

    private final class Done: Sendable {
        let count = Mutex(0)
    }

    // MARK: Waiting

    /// Polls until something is so.
    ///
    /// - Returns: False when the patience is at an end.
    private func waited(for condition: () -> Bool) async -> Bool {
        let end = ContinuousClock.now + .nanoseconds(Int64(patience))
        while !condition() {
            guard ContinuousClock.now < end else { return false }
            try? await Task.sleep(nanoseconds: 1_000_000)
        }
        return true
    }

    /// Waits until everything has arrived; without a claim to deliver, until it is quiet.
    func waitForArrivals() async {
        var last = (count: -1, at: ContinuousClock.now)
        _ = await waited {
            let (isComplete, count) = state.withLock { state in
                let isComplete = state.sent.indices.allSatisfy {
                    !state.sent[$0].isRequired || state.arrived.contains($0 + 1)
                }
                return (isComplete, state.arrivals.count)
            }
            if isComplete { return true }
            if count != last.count { last = (count, ContinuousClock.now) }
            return !requiresDelivery
                && last.at.duration(to: .now) > .nanoseconds(Int64(quiet))
        }
    }

    // MARK: Judging

    /// What was broken, from all that was sent and all that arrived.
    func judged() -> Promises {
        state.withLock { state in
            for arrival in state.arrivals { Self.judge(arrival, state.sent, &state.broken) }
            let required = state.sent.indices.filter { state.sent[$0].isRequired }
            let missing = required.filter { !state.arrived.contains($0 + 1) }
            if requiresDelivery {
                state.broken.expect(
                    missing.isEmpty, "a transport that claims to lose nothing delivers everything",
                    "\(missing.count) of \(required.count) envelopes did not arrive within"
                        + " \(patience / 1_000_000) ms, number \((missing.first ?? 0) + 1) first")
            } else if !required.isEmpty {
                state.broken.expect(
                    missing.count < required.count, "a transport carries something",
                    "none of \(required.count) envelopes arrived, so nothing was checked")
            }
            return state.broken
        }
    }

    private static func judge(_ arrival: Arrival, _ sent: [Sent], _ broken: inout Promises) {
        guard let number = number(of: arrival.bytes), sent.indices.contains(number - 1),
            sent[number - 1].bytes.count == arrival.bytes.count
        else {
            return broken.expect(
                false, "a transport never alters an envelope",
                "\(arrival.bytes.count) bytes arrived at shard \(arrival.shard.rawValue) that"
                    + " nobody has sent")
        }
        let one = sent[number - 1]
        if one.bytes != arrival.bytes {
            let place = one.bytes.indices.first { one.bytes[$0] != arrival.bytes[$0] } ?? 0
            broken.expect(
                false, "a transport never alters an envelope",
                "envelope \(number) of \(one.bytes.count) bytes arrived with another byte at"
                    + " \(place)")
        }
        broken.expect(
            one.shard == arrival.shard, "a transport never delivers to another shard",
            "envelope \(number) for shard \(one.shard.rawValue) arrived at shard"
                + " \(arrival.shard.rawValue)")
        broken.expect(
            arrival.receiver >= one.receiver, "attach replaces the receiver",
            "envelope \(number), sent behind the second attach, arrived at the first receiver")
    }
}
