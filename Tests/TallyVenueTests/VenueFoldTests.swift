import TallyCore
import TallyVenue
import Testing

@Suite("The venue's fold")
struct VenueFoldTests {
    private func generator(_ seed: UInt64) -> TestRandom { TestRandom(state: seed) }

    @Test(
        "money and trades are conserved after each of 2,000 random steps",
        arguments: [1, 2] as [UInt64])
    func conserved(seed: UInt64) throws {
        var ledger = VenueDriver([
            "trades-0", "trades-1", "collateral-0", "collateral-1", "collateral-2",
        ])
        var workload = VenueWorkload(
            directory: ledger.directory, seed: seed, trades: 600, deadline: 1)
        var random = generator(seed)
        var refused = 0
        for step in 0..<2_000 {
            switch random.below(4) {
            case 0:
                guard let (shard, command) = workload.next() else { break }
                do {
                    try ledger.perform(shard, command)
                } catch let refusal as Refusal {
                    #expect(VenueWorkload.mayBeRefused(command), "\(refusal)")
                    refused += 1
                }
            case 1, 2:
                // A channel delivers in order: the oldest that its destination does not have.
                let waiting = ledger.pending.filter { ledger.receipts[$0.name] == nil }
                guard !waiting.isEmpty else { break }
                let channel = waiting[random.below(waiting.count)].name.channel
                guard let message = waiting.first(where: { $0.name.channel == channel }) else {
                    break
                }
                try ledger.deliver(message, late: message.hasDeadline && random.below(2) == 0)
            default:
                // One acknowledgement in three is lost; a repeated delivery changes nothing.
                guard !ledger.pending.isEmpty else { break }
                let message = ledger.pending[random.below(ledger.pending.count)]
                guard ledger.receipts[message.name] != nil else { break }
                try ledger.deliver(message)
                if random.below(3) > 0 { try ledger.acknowledge(message) }
            }
            let law = ledger.law
            try #require(law.isEmpty, "seed \(seed), step \(step): \(law)")
            try #require(ledger.summary.conserved, "seed \(seed), step \(step)")
        }
        for _ in 0..<3 {
            for shard in ledger.directory.all where ledger.context(shard).name.hasPrefix("c") {
                try ledger.perform(shard, .settle)
            }
            try ledger.carry()
        }
        #expect(ledger.pending.isEmpty)
        #expect(ledger.law.isEmpty)
        let summary = ledger.summary
        #expect(summary.inFlight == 0 && summary.requested == 0 && summary.closing == 0)
        #expect(summary.confirmed > 0 && summary.rejected > 0 && summary.closed > 0)
        #expect(summary.timedOut > 0 && summary.trades > 100)
        try replay(ledger)
    }

    /// The logs alone give the same states, also from a snapshot in the middle.
    private func replay(_ ledger: VenueDriver) throws {
        for (shard, log) in ledger.logs {
            let context = ledger.context(shard)
            var state = Venue.initial(context)
            for (index, entry) in log.enumerated() {
                if index == log.count / 2 {
                    state = try #require(Venue.decode(Venue.encode(state), context))
                }
                // Sound: the array outlives the call.
                unsafe Venue.evolve(&state, entry.event, entry.payload.span.bytes, context)
            }
            #expect(state == ledger.states[shard])
        }
    }

    @Test("the whole workload is conserved when each command is carried to its end")
    func workload() throws {
        var ledger = VenueDriver(["trades-0", "trades-1", "collateral-0", "collateral-1"])
        for seed in [7, 8] as [UInt64] {
            var workload = VenueWorkload(
                directory: ledger.directory, seed: seed, trades: 1_000, deadline: 5)
            while let (shard, command) = workload.next() {
                do {
                    try ledger.perform(shard, command)
                } catch let refusal as Refusal {
                    #expect(VenueWorkload.mayBeRefused(command), "\(refusal)")
                }
                try ledger.carry()
            }
        }
        try ledger.carry()
        let summary = ledger.summary
        #expect(ledger.law.isEmpty && summary.conserved)
        #expect(summary.trades == 2_000)
        #expect(summary.rejected > 0 && summary.closed > 500 && summary.requested == 0)
        #expect(Venue.fields(ledger["collateral-0"]).first { $0.name == "strange" }?.value == "0")
    }

    @Test("events that make no sense change nothing but the count of strange ones")
    func strange() throws {
        var ledger = VenueDriver.small()
        try ledger.command("collateral-0", .deposit(account: 2, amount: 100))
        let credit = VenueMessage.credit(account: 1, amount: 5, from: 9).encode()
        let reserve = VenueMessage.reserve(tradeID: 1, account: 2, margin: 1, deferred: false)
        let deposit = VenueCommand.deposit(account: 2, amount: .max).encode()
        let cases: [(String, EventKind, Outcome, [UInt8])] = [
            ("collateral-0", .commanded, .none, []), ("collateral-0", .commanded, .none, deposit),
            ("trades-0", .commanded, .none, deposit), ("collateral-0", .sent, .none, credit),
            ("collateral-0", .sent, .none, reserve.encode()), ("trades-0", .sent, .none, credit),
            ("collateral-0", .commanded, .none, [UInt8](repeating: 1, count: 1_000)),
            ("trades-0", .sent, .none, [0x81]),
            ("collateral-0", .received, .none, reserve.encode()),
            ("collateral-0", .answered, .accepted, []), ("collateral-0", .answered, .none, []),
            ("collateral-0", .acknowledged, .accepted, []), ("collateral-0", .timedOut, .none, []),
            ("trades-0", .acknowledged, .rejected, []), ("trades-0", .acknowledged, .none, []),
            ("trades-0", .timedOut, .none, []), ("trades-0", .noted, .none, [1]),
        ]
        for (shard, kind, outcome, payload) in cases {
            var expected = ledger[shard]
            expected.strange += 1
            var event = Event(kind)
            event.peer = ledger.id("collateral-1")
            event.sequence = SequenceNumber(1)
            event.outcome = outcome
            ledger.fold(ledger.id(shard), event, payload)
            #expect(ledger[shard] == expected, "\(shard) \(kind.name)")
        }
    }

    @Test("a second reservation of one trade, accepted by a broken log, holds no second margin")
    func reservedTwice() throws {
        var ledger = VenueDriver.small()
        let shard = ledger.id("collateral-0")
        try ledger.command("collateral-0", .deposit(account: 2, amount: 100))
        let reserve = VenueMessage.reserve(tradeID: 1, account: 2, margin: 10, deferred: false)
        for sequence in 1...2 as ClosedRange<UInt64> {
            var event = Event(.received)
            event.peer = ledger.id("trades-0")
            event.sequence = SequenceNumber(sequence)
            event.outcome = .applied
            ledger.fold(shard, event, reserve.encode())
            event.kind = .answered
            event.outcome = .accepted
            ledger.fold(shard, event, [])
        }
        #expect(ledger.field("collateral-0", "account.2.reserved") == "10")
        #expect(ledger.field("collateral-0", "reservations") == "1")
        #expect(ledger.field("collateral-0", "strange") == "1")
    }

    @Test("the fold is total: 20,000 random events neither trap nor move what is not there")
    func total() throws {
        var random = generator(5)
        var ledger = VenueDriver.small()
        let accounts: [UInt32] = [0, 1, 2, 4, 900]
        let amounts: [Int64] = [1, 50, 0, -1, .max, .min, 1 << 62]
        for step in 0..<20_000 {
            let account = accounts[random.below(5)]
            let other = accounts[random.below(5)]
            let amount = amounts[random.below(7)]
            let tradeID = UInt64(random.below(4))
            let payloads = [
                VenueCommand.deposit(account: account, amount: amount).encode(),
                VenueCommand.transfer(from: account, to: other, amount: amount).encode(),
                VenueMessage.credit(account: account, amount: amount, from: other).encode(),
                VenueMessage.release(tradeID: tradeID, account: account).encode(),
                VenueMessage.reserve(
                    tradeID: tradeID, account: account, margin: amount,
                    deferred: random.below(2) == 0
                ).encode(),
                random.bytes(random.below(80)),
            ]
            var event = Event(EventKind.allCases[random.below(EventKind.allCases.count)])
            event.peer = ShardID(UInt32(random.below(5)))
            event.sequence = SequenceNumber(UInt64(random.below(6)))
            event.outcome = Outcome.allCases[random.below(Outcome.allCases.count)]
            event.reason = Reason.allCases[random.below(Reason.allCases.count)]
            let shard = ledger.directory.all[random.below(3)]
            ledger.fold(shard, event, payloads[random.below(6)])
            if step % 100 == 0 {
                let state = try #require(ledger.states[shard])
                #expect(Venue.decode(Venue.encode(state), ledger.context(shard)) == state)
                _ = ledger.law
                _ = ledger.summary
                _ = Venue.fields(state)
            }
        }
        // Double entry survives even nonsense: whatever was folded had two sides.
        for (shard, state) in ledger.cut where state.role == .collateral {
            #expect(!Venue.law([(shard, state)]).contains { $0.contains("deposits") })
        }
    }

    @Test("an accepted lost tail is counted, another intervention is not")
    func intervened() {
        var ledger = VenueDriver.small()
        for reason in [Reason.peer, .mark, .clock, .peer] {
            var event = Event(.intervened)
            event.reason = reason
            ledger.fold(ledger.id("trades-0"), event, [])
        }
        #expect(ledger.field("trades-0", "interventions") == "2")
        #expect(ledger.law.isEmpty)
    }
}

/// xorshift64*; for tests.
struct TestRandom {
    private var state: UInt64

    init(state: UInt64) { self.state = state &* 0x9E37_79B9_7F4A_7C15 | 1 }

    mutating func next() -> UInt64 {
        state ^= state >> 12
        state ^= state << 25
        state ^= state >> 27
        return state &* 0x2545_F491_4F6C_DD1D
    }

    mutating func below(_ bound: Int) -> Int { Int(next() >> 33) % bound }

    mutating func bytes(_ count: Int) -> [UInt8] {
        (0..<count).map { _ in UInt8(truncatingIfNeeded: next() >> 40) }
    }
}
