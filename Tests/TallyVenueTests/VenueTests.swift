import TallyCore
import TallyVenue
import Testing

@Suite("The venue")
struct VenueTests {
    @Test("a trade is confirmed when its margin is free, and the margin is reserved")
    func accepted() throws {
        var ledger = VenueDriver.small()
        try ledger.command("collateral-0", .deposit(account: 2, amount: 100))
        let decision = try ledger.command(
            "trades-0", .trade(tradeID: 12, account: 2, margin: 60, deadline: 5))
        #expect(decision.sends.map(\.destination) == [ledger.id("collateral-0")])
        #expect(decision.sends.map(\.deadlineAfter) == [5])
        #expect(ledger.field("trades-0", "trades.requested") == "1")
        try ledger.deliver(ledger.pending[0])
        #expect(ledger.field("collateral-0", "account.2.free") == "40")
        #expect(ledger.field("collateral-0", "account.2.reserved") == "60")
        #expect(ledger.law.isEmpty)
        try ledger.carry()
        #expect(ledger.field("trades-0", "trades.confirmed") == "1")
        #expect(ledger.law.isEmpty)
    }

    @Test("a trade is rejected when its margin is not free, and nothing is reserved")
    func rejected() throws {
        var ledger = VenueDriver.small()
        try ledger.command("collateral-0", .deposit(account: 2, amount: 59))
        try ledger.command("trades-0", .trade(tradeID: 12, account: 2, margin: 60))
        try ledger.command("trades-0", .trade(tradeID: 13, account: 4, margin: 60))
        let names = ledger.pending.map(\.name)
        try ledger.carry()
        #expect(ledger.answers[names[0]]?.payload == Array("59 free, 60 asked".utf8))
        #expect(ledger.answers[names[1]]?.payload == Array("account 4 is unknown".utf8))
        #expect(ledger.field("trades-0", "trades.rejected") == "2")
        #expect(ledger.field("collateral-0", "reserved") == "0")
        #expect(ledger.law.isEmpty)
    }

    @Test("a reservation that came too late reserves nothing, and the trade is timed out")
    func timedOut() throws {
        var ledger = VenueDriver.small()
        try ledger.command("collateral-0", .deposit(account: 2, amount: 100))
        try ledger.command("trades-0", .trade(tradeID: 12, account: 2, margin: 60, deadline: 1))
        let before = ledger["collateral-0"]
        try ledger.deliver(ledger.pending[0], late: true)
        #expect(ledger["collateral-0"] == before)
        try ledger.carry()
        #expect(ledger.field("trades-0", "trades.timedOut") == "1")
        #expect(ledger.law.isEmpty)
    }

    @Test("a close releases the margin; a second close is refused")
    func close() throws {
        var ledger = VenueDriver.small()
        try ledger.command("collateral-0", .deposit(account: 2, amount: 100))
        try ledger.command("trades-0", .trade(tradeID: 12, account: 2, margin: 60))
        try ledger.carry()
        let decision = try ledger.command("trades-0", .close(tradeID: 12))
        #expect(decision.sends.map(\.deadlineAfter) == [nil])
        #expect(ledger.field("trades-0", "trades.closing") == "1")
        #expect(throws: Refusal("trade 12 is closing, not confirmed")) {
            try ledger.command("trades-0", .close(tradeID: 12))
        }
        try ledger.deliver(ledger.pending[0])
        #expect(ledger.law.isEmpty)
        try ledger.carry()
        #expect(ledger.field("trades-0", "trades.closed") == "1")
        #expect(ledger.field("collateral-0", "account.2.free") == "100")
        #expect(ledger.field("collateral-0", "reservations") == "0")
        #expect(ledger.law.isEmpty)
    }

    @Test("a release of what is not reserved is rejected, and the trade is confirmed again")
    func releaseUnknown() throws {
        var ledger = VenueDriver.small()
        try ledger.command("collateral-0", .deposit(account: 2, amount: 100))
        let empty = ledger["collateral-0"]
        try ledger.command("trades-0", .trade(tradeID: 12, account: 2, margin: 60))
        try ledger.carry()
        ledger["collateral-0"] = empty
        try ledger.command("trades-0", .close(tradeID: 12))
        let name = ledger.pending[0].name
        try ledger.carry()
        #expect(ledger.answers[name]?.payload == Array("trade 12 is not reserved".utf8))
        #expect(ledger.field("trades-0", "trades.confirmed") == "1")
        #expect(ledger.law == ["trades-0, trade 12: confirmed with 0 reservations, not 1"])
    }

    @Test("a deferred reservation holds no money until it is answered")
    func deferred() throws {
        var ledger = VenueDriver.small()
        try ledger.command("collateral-0", .deposit(account: 2, amount: 100))
        try ledger.command(
            "trades-0", .trade(tradeID: 1, account: 2, margin: 60, deferAnswer: true))
        try ledger.command("trades-0", .trade(tradeID: 2, account: 2, margin: 50))
        try ledger.carry()
        #expect(ledger.field("collateral-0", "deferred") == "1")
        #expect(ledger.field("collateral-0", "account.2.free") == "50")
        #expect(ledger.field("trades-0", "trades.requested") == "1")
        let decision = try ledger.command("collateral-0", .settle)
        #expect(decision.answers.map(\.accepted) == [false])
        #expect(decision.result == Array("1 answered".utf8))
        try ledger.carry()
        #expect(ledger.field("collateral-0", "deferred") == "0")
        #expect(ledger.field("collateral-0", "owed") == "0")
        #expect(ledger.field("trades-0", "trades.rejected") == "1")
        #expect(ledger.law.isEmpty)
    }

    @Test("the oldest deferred answers beyond three are given at the next message")
    func deferredOverflow() throws {
        var ledger = VenueDriver.small()
        try ledger.command("collateral-0", .deposit(account: 2, amount: 100))
        for tradeID in 1...4 as ClosedRange<UInt64> {
            try ledger.command(
                "trades-0", .trade(tradeID: tradeID, account: 2, margin: 60, deferAnswer: true))
        }
        try ledger.carry()
        #expect(ledger.field("collateral-0", "deferred") == "4")
        try ledger.command("trades-0", .trade(tradeID: 5, account: 2, margin: 50))
        let names = ledger.pending.map(\.name)
        try ledger.carry()
        // The oldest took 60 of 100, so the message that made it due finds 40.
        #expect(ledger.answers[names[0]]?.accepted == true)
        #expect(ledger.answers[names[4]]?.payload == Array("40 free, 50 asked".utf8))
        #expect(ledger.field("collateral-0", "deferred") == "3")
        #expect(ledger.law.isEmpty)
    }

    @Test("answers decided together do not spend the same money, and a command's money comes first")
    func sharedMoney() throws {
        var ledger = VenueDriver.small()
        try ledger.command("collateral-0", .deposit(account: 2, amount: 100))
        try ledger.command("collateral-1", .deposit(account: 1, amount: 1))
        for tradeID in 1...5 as ClosedRange<UInt64> {
            try ledger.command(
                "trades-0", .trade(tradeID: tradeID, account: 2, margin: 40, deferAnswer: true))
        }
        // The fifth makes the first due: 60 stay free.
        try ledger.carry()
        #expect(ledger.field("collateral-0", "account.2.free") == "60")
        let transfer = try ledger.command(
            "collateral-0", .transfer(from: 2, to: 1, amount: 25))
        // Beyond three again: the transfer leaves 35, and 40 are asked.
        #expect(transfer.answers.map(\.accepted) == [false])
        #expect(ledger.field("collateral-0", "account.2.free") == "35")
        let settled = try ledger.command("collateral-0", .settle)
        #expect(settled.answers.map(\.accepted) == [false, false, false])
        try ledger.carry()
        #expect(ledger.summary.confirmed == 1)
        #expect(ledger.summary.rejected == 4)
        #expect(ledger.law.isEmpty)
    }

    @Test("several reservations settled by one command share what is free")
    func settleShares() throws {
        var ledger = VenueDriver.small()
        try ledger.command("collateral-0", .deposit(account: 2, amount: 100))
        for (tradeID, margin) in [(1, 70), (2, 50), (3, 30)] as [(UInt64, Int64)] {
            try ledger.command(
                "trades-0", .trade(tradeID: tradeID, account: 2, margin: margin, deferAnswer: true))
        }
        try ledger.carry()
        let decision = try ledger.command("collateral-0", .settle)
        #expect(decision.answers.map(\.accepted) == [true, false, true])
        #expect(decision.answers.map(\.message.sequence.rawValue) == [1, 2, 3])
        #expect(ledger.field("collateral-0", "account.2.free") == "0")
        #expect(ledger.law.isEmpty)
    }

    @Test("a message that cannot be read, or at the wrong shard, is rejected and leaves no trace")
    func rejectedMessages() throws {
        var ledger = VenueDriver.small()
        try ledger.command("collateral-0", .deposit(account: 2, amount: 100))
        let reserve = VenueMessage.reserve(tradeID: 1, account: 2, margin: 1, deferred: false)
        let credit = VenueMessage.credit(account: 2, amount: 1, from: 1)
        let release = VenueMessage.release(tradeID: 1, account: 2)
        let cases: [(String, String, [UInt8])] = [
            ("trades-0", "collateral-0", [0xFF]), ("trades-0", "collateral-1", reserve.encode()),
            ("collateral-0", "trades-0", reserve.encode()),
            ("trades-0", "collateral-0", credit.encode()),
            ("collateral-1", "collateral-0", reserve.encode()),
            ("collateral-1", "collateral-0", release.encode()),
        ]
        for (index, (origin, destination, payload)) in cases.enumerated() {
            let before = ledger[destination]
            let name = MessageName(
                from: ledger.id(origin), to: ledger.id(destination),
                SequenceNumber(UInt64(index + 1)))
            try ledger.deliver(.init(name: name, payload: payload, hasDeadline: false))
            #expect(ledger.answers[name]?.accepted == false)
            #expect(ledger.answers[name]?.payload.isEmpty == false)
            #expect(ledger[destination] == before)
        }
    }

    @Test("a reservation is made once per trade, and released for its own account only")
    func reservationIdentity() throws {
        var ledger = VenueDriver.small()
        try ledger.command("collateral-0", .deposit(account: 2, amount: 100))
        try ledger.command("collateral-0", .deposit(account: 4, amount: 100))
        try ledger.command("trades-0", .trade(tradeID: 1, account: 2, margin: 10))
        try ledger.carry()
        let again = VenueMessage.reserve(tradeID: 1, account: 2, margin: 10, deferred: false)
        let other = VenueMessage.release(tradeID: 1, account: 4)
        let texts = ["trade 1 is reserved already", "trade 1 is of account 2"]
        for (index, message) in [again, other].enumerated() {
            let name = MessageName(
                from: ledger.id("trades-0"), to: ledger.id("collateral-0"),
                SequenceNumber(UInt64(50 + index)))
            try ledger.deliver(.init(name: name, payload: message.encode(), hasDeadline: false))
            #expect(ledger.answers[name]?.payload == Array(texts[index].utf8))
        }
        #expect(ledger.law.isEmpty)
    }
}
