import TallyCore
import TallyVenue
import Testing

@Suite("The venue's bytes")
struct VenueCodecTests {
    static let commands: [VenueCommand] = [
        .deposit(account: 7, amount: 100), .deposit(account: .max, amount: .min),
        .transfer(from: 1, to: 2, amount: 3), .transfer(from: 1, to: 2, amount: 3, deadline: 0),
        .settle, .close(tradeID: .max),
        .trade(tradeID: 12, account: 7, margin: 100),
        .trade(tradeID: 12, account: 7, margin: 100, deferAnswer: true, deadline: 5),
        .trade(tradeID: 12, account: 7, margin: -1, deferAnswer: false, deadline: .max),
    ]
    static let messages: [VenueMessage] = [
        .reserve(tradeID: 12, account: 7, margin: 100, deferred: false),
        .reserve(tradeID: .max, account: .max, margin: .max, deferred: true),
        .release(tradeID: 12, account: 7), .credit(account: 7, amount: 50, from: 8),
    ]

    private func state() throws -> (ledger: VenueDriver, shards: [ShardID]) {
        var ledger = VenueDriver(["trades-0", "collateral-0", "collateral-1"])
        var workload = VenueWorkload(
            directory: ledger.directory, seed: 3, trades: 120, deadline: 1)
        var count = 0
        while let (shard, command) = workload.next() {
            guard (try? ledger.perform(shard, command)) != nil else { continue }
            count += 1
            if count < 90 { try ledger.carry() }
            if count % 3 == 0, let message = ledger.pending.first { try ledger.deliver(message) }
        }
        for tradeID in 1...3 as ClosedRange<UInt64> {
            try ledger.command(
                "trades-0", .trade(tradeID: tradeID, account: 2, margin: 1, deferAnswer: true))
        }
        for message in ledger.pending { try ledger.deliver(message) }
        return (ledger, ledger.directory.all)
    }

    @Test("a command and a message have one form, and no prefix or extension of it is another")
    func payloads() {
        for command in Self.commands {
            let bytes = command.encode()
            #expect(VenueCommand.decode(bytes) == command)
            #expect(VenueMessage.decode(bytes) == nil)
            #expect(VenueCommand.decode(bytes + [0]) == nil)
            for count in 0..<bytes.count {
                #expect(VenueCommand.decode(Array(bytes[..<count])) == nil)
            }
        }
        for message in Self.messages {
            let bytes = message.encode()
            #expect(VenueMessage.decode(bytes) == message)
            #expect(VenueCommand.decode(bytes) == nil)
            #expect(VenueMessage.decode(bytes + [0]) == nil)
            for count in 0..<bytes.count {
                #expect(VenueMessage.decode(Array(bytes[..<count])) == nil)
            }
        }
    }

    @Test("undefined flags, and amounts in a message that are not positive, are unreadable")
    func nonCanonical() {
        var trade = VenueCommand.trade(tradeID: 1, account: 2, margin: 3).encode()
        trade[trade.count - 1] = 4
        #expect(VenueCommand.decode(trade) == nil)
        var transfer = VenueCommand.transfer(from: 1, to: 2, amount: 3).encode()
        transfer[transfer.count - 1] = 1
        #expect(VenueCommand.decode(transfer) == nil)
        var reserve = VenueMessage.reserve(tradeID: 1, account: 2, margin: 3, deferred: true)
            .encode()
        reserve[reserve.count - 1] = 2
        #expect(VenueMessage.decode(reserve) == nil)
        for amount in [0, -1, .min] as [Int64] {
            let credit = VenueMessage.credit(account: 1, amount: amount, from: 2)
            #expect(VenueMessage.decode(credit.encode()) == nil)
            let reserve = VenueMessage.reserve(
                tradeID: 1, account: 2, margin: amount, deferred: false)
            #expect(VenueMessage.decode(reserve.encode()) == nil)
        }
    }

    @Test("10,000 hostile payloads are read as what they say or not at all")
    func hostilePayloads() {
        var random = TestRandom(state: 11)
        let seeds = Self.commands.map { $0.encode() } + Self.messages.map { $0.encode() }
        for _ in 0..<10_000 {
            var bytes = seeds[random.below(seeds.count)]
            if random.below(3) == 0 { bytes = random.bytes(random.below(40)) }
            if !bytes.isEmpty {
                bytes[random.below(bytes.count)] = UInt8(random.below(256))
            }
            if let command = VenueCommand.decode(bytes) { #expect(command.encode() == bytes) }
            if let message = VenueMessage.decode(bytes) { #expect(message.encode() == bytes) }
            _ = Venue.describe(bytes)
        }
    }

    @Test("a state is read back as it was, and written again as it was")
    func roundTrip() throws {
        let (ledger, shards) = try state()
        for shard in shards {
            let context = ledger.context(shard)
            let state = try #require(ledger.states[shard])
            let bytes = Venue.encode(state)
            let copy = try #require(Venue.decode(bytes, context))
            #expect(copy == state)
            #expect(Venue.encode(copy) == bytes)
        }
        #expect(ledger.field("collateral-0", "deferred") != "0")
        #expect(ledger.field("collateral-0", "inFlight") != "0")
        #expect(ledger.field("trades-0", "trades.requested") != "0")
    }

    @Test("a state is that of its role, and of version 1")
    func otherRole() throws {
        let (ledger, _) = try state()
        var bytes = Venue.encode(ledger["collateral-0"])
        #expect(Venue.decode(bytes, ledger.context(ledger.id("trades-0"))) == nil)
        bytes[0] = 2
        #expect(Venue.decode(bytes, ledger.context(ledger.id("collateral-0"))) == nil)
    }

    @Test("a table whose keys do not ascend strictly is no state")
    func tableOrder() throws {
        var ledger = VenueDriver.small()
        try ledger.command("collateral-0", .deposit(account: 2, amount: 5))
        try ledger.command("collateral-0", .deposit(account: 4, amount: 6))
        let context = ledger.context(ledger.id("collateral-0"))
        let bytes = Venue.encode(ledger["collateral-0"])
        // The accounts begin behind 26 bytes of head and 4 of count, at 20 bytes each.
        let (head, first, second) = (bytes[..<30], bytes[30..<50], bytes[50..<70])
        let rest = bytes[70...]
        #expect(Venue.decode(Array(head + first + second + rest), context) != nil)
        #expect(Venue.decode(Array(head + second + first + rest), context) == nil)
        #expect(Venue.decode(Array(head + first + first + rest), context) == nil)
    }

    @Test("10,000 hostile states are read as what they say or not at all")
    func hostileStates() throws {
        let (ledger, shards) = try state()
        var random = TestRandom(state: 13)
        let encoded = ledger.cut.map { Venue.encode($0.state) }
        var read = 0
        for round in 0..<10_000 {
            let index = random.below(shards.count)
            var bytes = encoded[index]
            switch random.below(4) {
            case 0: bytes = Array(bytes.prefix(random.below(bytes.count)))
            case 1: bytes += random.bytes(1 + random.below(9))
            case 2:
                // The head, with the first counts, is hit more often than chance would.
                bytes[random.below(40)] = UInt8(random.below(256))
            default:
                for _ in 0...random.below(3) {
                    bytes[random.below(bytes.count)] = UInt8(random.below(256))
                }
            }
            let context = ledger.context(shards[index])
            guard let state = Venue.decode(bytes, context) else { continue }
            read += 1
            #expect(Venue.encode(state) == bytes)
            if round % 50 == 0 {
                _ = Venue.law([(context, state)])
                _ = Venue.fields(state)
            }
        }
        #expect(read > 100)
    }

    @Test("deferred places must be those of the deferred messages, each once")
    func deferredPlaces() throws {
        let (ledger, _) = try state()
        let context = ledger.context(ledger.id("collateral-0"))
        let good = ledger["collateral-0"]
        var state = good
        state.deferred.append(good.deferred[0])
        #expect(Venue.decode(Venue.encode(state), context) == nil)
        state.deferred.removeLast()
        state.deferred[good.deferred.count - 1] = good.deferred[0]
        #expect(good.deferred.count > 1)
        #expect(Venue.decode(Venue.encode(state), context) == nil)
        state.deferred = Array(good.deferred.dropLast())
        #expect(Venue.decode(Venue.encode(state), context) == nil)
        state.deferred = good.deferred.dropLast() + [.init(ShardID(1), .none)]
        #expect(Venue.decode(Venue.encode(state), context) == nil)
        state.deferred = good.deferred
        #expect(Venue.decode(Venue.encode(state), context) == good)
    }

    @Test(
        "a payload is described in one line",
        arguments: [
            ([], ""), (Array("59 free, 60 asked".utf8), "59 free, 60 asked"),
            (Array("a\nb".utf8), "610a62"), ([0xFF, 0x00], "ff00"),
            (
                [UInt8](repeating: 0xFE, count: 40),
                String(repeating: "fe", count: 32) + "... (40 bytes)"
            ),
            (
                VenueMessage.reserve(tradeID: 12, account: 7, margin: 100, deferred: false)
                    .encode(), "reserve 100 for account 7, trade 12"
            ),
            (
                VenueMessage.reserve(tradeID: 12, account: 7, margin: 100, deferred: true)
                    .encode(), "reserve 100 for account 7, trade 12, answer deferred"
            ),
            (
                VenueMessage.release(tradeID: 12, account: 7).encode(),
                "release trade 12 of account 7"
            ),
            (
                VenueMessage.credit(account: 7, amount: 5, from: 8).encode(),
                "credit 5 to account 7 from account 8"
            ),
            (VenueCommand.settle.encode(), "settle deferred answers"),
            (VenueCommand.close(tradeID: 3).encode(), "close trade 3"),
            (
                VenueCommand.deposit(account: 7, amount: 100).encode(),
                "deposit 100 into account 7"
            ),
            (
                VenueCommand.transfer(from: 1, to: 2, amount: 3, deadline: 9).encode(),
                "transfer 3 from account 1 to account 2, deadline 9 ns"
            ),
            (
                VenueCommand.trade(
                    tradeID: 12, account: 7, margin: 100, deferAnswer: true, deadline: 9
                ).encode(), "trade 12, margin 100, account 7, answer deferred, deadline 9 ns"
            ),
        ] as [([UInt8], String)])
    func describe(payload: [UInt8], text: String) {
        #expect(Venue.describe(payload) == text)
    }

    @Test("the fields of a state have a fixed order, accounts by number")
    func fields() throws {
        var ledger = VenueDriver.small()
        for account in [10, 2, 4] as [UInt32] {
            try ledger.command("collateral-0", .deposit(account: account, amount: 5))
        }
        #expect(
            Venue.fields(ledger["collateral-0"]).map(\.name) == [
                "role", "accounts", "deposits", "free", "reserved", "inFlight", "reservations",
                "owed", "deferred", "trades.requested", "trades.confirmed", "trades.rejected",
                "trades.timedOut", "trades.closing", "trades.closed", "strange", "interventions",
                "account.2.free", "account.2.reserved", "account.4.free", "account.4.reserved",
                "account.10.free", "account.10.reserved",
            ])
        #expect(ledger.field("collateral-0", "role") == "collateral")
        #expect(ledger.field("collateral-0", "deposits") == "15")
    }
}
