import TallyCore
import Testing

/// The fold takes whatever is well formed, and counts what breaks a law.
@Suite("Fold")
struct FoldTests {
    let shard = ShardID(1)
    let peer = ShardID(2)

    /// Collects events to commits of their own and folds them.
    private struct Ledger {
        var state: MessagingState
        var builder = CommitBuilder()
        var epoch = Epoch(0)

        init(_ rules: MessagingState.Rules = .init()) {
            state = MessagingState(shard: ShardID(1), shardCount: 3, rules: rules)
        }

        mutating func fold(_ events: Event..., payload: [UInt8] = []) throws {
            if events.first?.kind == .opened { epoch = Epoch(epoch.rawValue + 1) }
            builder.open(
                firstOffset: Offset(state.offset.rawValue + 1),
                timestamp: Timestamp(state.timestamp.rawValue + 10), epoch: epoch)
            for event in events { builder.append(event, payload: payload) }
            builder.seal(previousHead: .none)
            let bytes = builder.bytes
            try unsafe bytes.span.bytes.withCommit { state.fold($0) }
        }
    }

    private func event(
        _ kind: EventKind, _ sequence: UInt64, _ change: (inout Event) -> Void = { _ in }
    )
        -> Event
    {
        var event = Event(kind)
        event.peer = peer
        event.sequence = SequenceNumber(sequence)
        if kind == .received { event.outcome = .applied }
        if kind == .answered || kind == .acknowledged { event.outcome = .accepted }
        if kind == .reemitted { event.reason = .retry; event.through = event.sequence }
        change(&event)
        return event
    }

    private func codes(
        _ events: [Event], opened: Bool = true, rules: MessagingState.Rules = .init()
    )
        throws -> [Anomaly.Code]
    {
        var ledger = Ledger(rules)
        if opened { try ledger.fold(Event(.opened)) }
        for event in events { try ledger.fold(event) }
        #expect(ledger.state.anomalyCount == UInt64(ledger.state.anomalies.count))
        return ledger.state.anomalies.map(\.code)
    }

    @Test("each law that an event breaks is an anomaly of its own code")
    func anomalies() throws {
        let sent = event(.sent, 1)
        let received = event(.received, 1)
        var client = Event(.commanded)
        client.sequence = SequenceNumber(1)
        var itself = Event(.witnessed)
        itself.peer = shard
        #expect(try codes([sent, received, event(.answered, 1), event(.acknowledged, 1)]) == [])
        let broken: [(Anomaly.Code, [Event])] = [
            (.unknownPeer, [event(.sent, 1) { $0.peer = ShardID(9) }]),
            (.sentOutOfSequence, [event(.sent, 2)]),
            (.sentOutOfSequence, [sent, sent]),
            (.receivedTwice, [received, received]),
            (.receivedOutOfOrder, [event(.received, 2)]),
            (
                .receivedBelowFloor,
                [
                    event(.received, 3) { $0.settledThrough.rawValue = 2 },
                    event(.received, 2),
                ]
            ),
            (.settledBeyondItself, [event(.received, 1) { $0.settledThrough.rawValue = 1 }]),
            (.answeredWithoutReceipt, [event(.answered, 1)]),
            (
                .answeredWithoutReceipt,
                [
                    event(.received, 1) { $0.outcome = .expired },
                    event(.answered, 1),
                ]
            ),
            (.answeredTwice, [received, event(.answered, 1), event(.answered, 1)]),
            (.settledWithoutSend, [event(.acknowledged, 1)]),
            (.settledWithoutSend, [sent, event(.timedOut, 1), event(.acknowledged, 1)]),
            (.reemittedWithoutSend, [event(.reemitted, 1)]),
            (.commandedTwice, [client, client]),
            (.witnessedItself, [itself]),
        ]
        for (code, events) in broken { #expect(try codes(events) == [code], "\(code)") }
        #expect(try codes([client], opened: false) == [.noSession])
        #expect(Set(broken.map(\.0)).count == Anomaly.Code.allCases.count - 2)
        var ledger = Ledger()
        ledger.epoch = Epoch(4)
        try ledger.fold(Event(.opened))
        #expect(ledger.state.anomalies.map(\.code) == [.epochJump])
        for code in Anomaly.Code.allCases { #expect(!code.text.isEmpty) }
    }

    @Test("a foreign log may begin anywhere, without sessions, and hold its sends in any order")
    func foreign() throws {
        let rules = MessagingState.Rules(native: false)
        let sends = [7, 9, 6, 3].map { event(.sent, $0) }
        let receipts = [5, 3].map { event(.received, $0) }
        #expect(try codes(sends + receipts, opened: false, rules: rules) == [])
        var ledger = Ledger(rules)
        for event in sends { try ledger.fold(event) }
        let state = ledger.state.peer(peer)!
        #expect(state.next == SequenceNumber(10))
        #expect(state.pending.count == 4)
        #expect(state.settledThrough == SequenceNumber(2))
        // What settles at its receipt is never pending.
        ledger = Ledger(MessagingState.Rules(answers: false, native: false))
        for event in sends { try ledger.fold(event) }
        #expect(ledger.state.pendingCount == 0)
    }

    @Test("an accepted loss raises the floor to what the peer has settled, and never lowers it")
    func acceptedFloor() throws {
        var ledger = Ledger()
        try ledger.fold(Event(.opened))
        for (settled, floor) in [(3, 3), (2, 3), (5, 5)] as [(UInt64, UInt64)] {
            try ledger.fold(
                event(.intervened, 0) {
                    $0.reason = .peer
                    $0.settledThrough.rawValue = settled
                })
            #expect(ledger.state.peer(peer)?.floor == SequenceNumber(floor))
        }
    }

    @Test("a receipt raises the floor, and what is owed below it stays known")
    func floor() throws {
        var ledger = Ledger()
        try ledger.fold(Event(.opened))
        for sequence in 1...3 as ClosedRange<UInt64> {
            try ledger.fold(event(.received, sequence))
        }
        try ledger.fold(event(.answered, 1))
        try ledger.fold(event(.received, 4) { $0.settledThrough.rawValue = 2 })
        let state = ledger.state.peer(peer)!
        #expect(state.floor == SequenceNumber(2))
        #expect(state.receipts[SequenceNumber(1)] == nil)
        #expect(state.receipts[SequenceNumber(2)]?.isOwed == true)
        #expect(state.owed == 3)
        try ledger.fold(event(.answered, 2))
        #expect(ledger.state.peer(peer)?.receipts[SequenceNumber(2)] == nil)
        #expect(ledger.state.owedCount == 2)
        #expect(ledger.state.anomalyCount == 0)
    }

    /// A random event whose shape is valid and whose fields are anything.
    private func random(_ source: inout SplitMix64) -> Event {
        func number() -> UInt64 {
            switch source.next() % 8 {
            case 0: .max - source.next() % 3
            case 1: source.next()
            case 2: 1 << (source.next() % 63)
            default: source.next() % 12
            }
        }
        let kinds = EventKind.allCases
        let kind = kinds[Int(source.next() % UInt64(kinds.count))]
        var event = Samples.event(kind)
        if event.peer != ShardID(0) {
            event.peer = ShardID(UInt32(truncatingIfNeeded: 1 + source.next() % 4))
            if source.next() % 20 == 0 { event.peer = ShardID(.max) }
        }
        if event.sequence != .none { event.sequence = SequenceNumber(max(1, number())) }
        if event.deadline != .none { event.deadline = Timestamp(number() >> 1) }
        if kind == .received { event.sentAt = Timestamp(number() >> 1) }
        if kind == .received, source.next() % 3 == 0 { event.outcome = .expired }
        if kind == .timedOut, source.next() % 2 == 0 { event.reason = .none }
        if kind == .commanded { event.identity = Bytes16(low: source.next() % 3, high: 0) }
        if kind == .opened { event.identity = Bytes16(low: source.next() % 5, high: 0) }
        event.settledThrough = event.settledThrough == .none ? .none : SequenceNumber(number())
        event.peerOffset = event.peerOffset == .none ? .none : Offset(number())
        if kind == .reemitted {
            event.through = max(event.sequence, SequenceNumber(number()))
            event.attempt = UInt32(truncatingIfNeeded: number())
        }
        if kind == .intervened {
            event.receivedThrough = SequenceNumber(number())
            event.floor = SequenceNumber(number())
            event.difference = number()
            event.peerEpoch = Epoch(number())
            event.identity = Bytes16(low: source.next() % 5, high: 0)
            let reasons: [Reason] = [.peer, .peer, .mark, .clock]
            event.reason = reasons[Int(source.next() % 4)]
            if event.reason != .peer { event.peer = ShardID(0) }
        }
        return event
    }

    /// Field by field: a field that is not written at all has equal bytes, too.
    private func expectSame(_ one: MessagingState, _ two: MessagingState) {
        #expect(one.offset == two.offset && one.timestamp == two.timestamp)
        #expect(one.epoch == two.epoch && one.foldVersion == two.foldVersion)
        #expect(one.admittedDifference == two.admittedDifference)
        #expect(one.anomalies == two.anomalies && one.anomalyCount == two.anomalyCount)
        #expect(one.sessions.map(\.session) == two.sessions.map(\.session))
        #expect(one.sessions.map(\.first) == two.sessions.map(\.first))
        for (left, right) in zip(one.peers, two.peers) {
            #expect(left.next == right.next && left.attempt == right.attempt)
            #expect(left.forced == right.forced && left.floor == right.floor)
            #expect(left.receivedThrough == right.receivedThrough && left.owed == right.owed)
            #expect(left.witness == right.witness && left.conflicts == right.conflicts)
            #expect(left.accepted == right.accepted && left.counts == right.counts)
            #expect(left.isOrdered == right.isOrdered)
            left.pending.forEach { sequence, send in
                let other = right.pending[sequence]
                #expect(other?.offset == send.offset && other?.sentAt == send.sentAt)
                #expect(other?.deadline == send.deadline)
                return true
            }
            left.receipts.forEach { sequence, receipt in
                let other = right.receipts[sequence]
                #expect(other?.offset == receipt.offset && other?.answer == receipt.answer)
                #expect(other?.isExpired == receipt.isExpired)
                return true
            }
        }
    }

    @Test(
        "any well-formed events fold without a trap, and the state survives its bytes",
        arguments: 1...40)
    func totality(seed: UInt64) throws {
        var source = SplitMix64(seed: seed)
        var rules = MessagingState.Rules()
        rules.native = seed % 2 == 0
        rules.answers = seed % 5 != 0
        rules.ordered = seed % 3 != 0
        var state = MessagingState(shard: shard, shardCount: 3, rules: rules)
        var builder = CommitBuilder()
        var first: UInt64 = 1
        for commit in 0..<60 {
            builder.open(
                firstOffset: Offset(first), timestamp: Timestamp(1 + source.next() >> 1),
                epoch: Epoch(source.next() % 4))
            for _ in 0...source.next() % 5 {
                let event = random(&source)
                builder.append(
                    event, payload: Samples.hasPayload(event.kind) ? Samples.payload : [],
                    result: event.kind == .commanded ? Samples.result : [])
            }
            builder.seal(previousHead: .none)
            try unsafe builder.bytes.span.bytes.withCommit(key: Offset(first)) { state.fold($0) }
            first += UInt64(builder.eventCount)
            for other in 1...3 as ClosedRange<UInt32> {
                let peer = state.peer(ShardID(other))!
                #expect(peer.settledThrough < peer.next)
                _ = peer.span
                _ = peer.statement
            }
            _ = state.orphans(now: state.timestamp) { _ in state }
            guard commit % 10 == 9 else { continue }
            let bytes = state.encoded()
            let decoded = MessagingState(
                decoding: bytes[...], shard: shard, shardCount: 3, rules: rules)
            #expect(decoded?.encoded() == bytes)
            if let decoded { expectSame(decoded, state) }
        }
        #expect(state.anomalyCount > 0)
        #expect(state.anomalies.count <= MessagingState.anomaliesMax)
        #expect(state.offset == Offset(first - 1))
    }

    @Test("a state's bytes that are cut, longer or another shard's are no state")
    func damagedStates() throws {
        var ledger = Ledger()
        try ledger.fold(Event(.opened))
        try ledger.fold(event(.sent, 1), event(.received, 1), event(.answered, 1))
        let bytes = ledger.state.encoded()
        func decode(_ bytes: [UInt8], shard: UInt32 = 1, count: Int = 3) -> MessagingState? {
            MessagingState(
                decoding: bytes[...], shard: ShardID(shard), shardCount: count, rules: .init())
        }
        #expect(decode(bytes)?.encoded() == bytes)
        for count in 0..<bytes.count {
            if decode(Array(bytes[..<count])) != nil { Issue.record("cut at \(count)") }
        }
        #expect(decode(bytes + [0]) == nil)
        #expect(decode(bytes, shard: 2) == nil)
        #expect(decode(bytes, count: 2) == nil)
        // Hostile bytes are no state, or one that can be written again; they never trap.
        var random = SplitMix64(seed: 8)
        for _ in 0..<3_000 {
            var hostile = bytes
            for _ in 0...random.next() % 3 {
                hostile[Int(random.next() % UInt64(bytes.count))] = UInt8(random.next() % 256)
            }
            _ = decode(hostile)?.encoded()
        }
    }
}
