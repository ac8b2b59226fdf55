import TallyCore
import TallyVenue
import Testing

@Suite("The venue's law")
struct VenueLawTests {
    /// Trades 1 confirmed, 2 rejected, 3 requested and reserved, 4 timed out, 5 closed, 6 closing; 30 in
    /// flight from account 2 to account 1.
    private func ledger() throws -> VenueDriver {
        var ledger = VenueDriver.small()
        try ledger.command("collateral-0", .deposit(account: 2, amount: 100))
        try ledger.command("collateral-1", .deposit(account: 1, amount: 10))
        try ledger.command("trades-0", .trade(tradeID: 1, account: 2, margin: 20))
        try ledger.command("trades-0", .trade(tradeID: 2, account: 2, margin: 999))
        try ledger.command("trades-0", .trade(tradeID: 5, account: 2, margin: 1))
        try ledger.command("trades-0", .trade(tradeID: 6, account: 2, margin: 2))
        try ledger.carry()
        try ledger.command("trades-0", .close(tradeID: 5))
        try ledger.carry()
        try ledger.command("trades-0", .trade(tradeID: 4, account: 2, margin: 1, deadline: 1))
        try ledger.deliver(ledger.pending[0], late: true)
        try ledger.carry()
        try ledger.command("trades-0", .close(tradeID: 6))
        try ledger.command("trades-0", .trade(tradeID: 3, account: 2, margin: 5))
        try ledger.deliver(ledger.pending[1])
        try ledger.command("collateral-0", .transfer(from: 2, to: 1, amount: 30))
        return ledger
    }

    private func key(_ ledger: VenueDriver, _ tradeID: UInt64) -> VenueState.ReservationKey {
        .init(origin: ledger.id("trades-0"), tradeID: tradeID)
    }

    @Test("it holds with a trade in every status and money in flight")
    func holds() throws {
        let ledger = try ledger()
        #expect(ledger.law.isEmpty)
        let summary = ledger.summary
        #expect(summary.confirmed == 1 && summary.rejected == 1 && summary.requested == 1)
        #expect(summary.timedOut == 1 && summary.closed == 1 && summary.closing == 1)
        #expect(summary.trades == 6)
        #expect(summary.deposits == 110 && summary.free == 53 && summary.reserved == 27)
        #expect(summary.inFlight == 30 && summary.conserved)
    }

    @Test("an event that made no sense is a finding")
    func strange() throws {
        var ledger = try ledger()
        ledger["trades-0"].strange = 3
        #expect(ledger.law == ["trades-0: 3 events made no sense, not 0"])
        #expect(ledger.summary.conserved)
    }

    @Test("money lost on a shard is a finding of the shard and of the sum")
    func lostMoney() throws {
        var ledger = try ledger()
        ledger["collateral-0"].accounts[2]?.free -= 1
        #expect(
            ledger.law == [
                "collateral-0: deposits 100 + applied 0 - sent 30 + returned 0 = 70,"
                    + " but free 42 + reserved 27 = 69",
                "all collateral shards: deposits 110, but free 52 + reserved 27 + in flight 30"
                    + " = 109",
            ])
        #expect(!ledger.summary.conserved)
    }

    @Test("a negative balance is a finding, even where the sums are right")
    func negative() throws {
        var ledger = try ledger()
        ledger["collateral-0"].accounts[2]?.free += 1
        ledger["collateral-0"].accounts[4] = .init(free: -1, reserved: 0)
        #expect(ledger.law == ["collateral-0, account 4: free is -1, below 0"])
        ledger["collateral-0"].accounts[4] = .init(free: 0, reserved: -1)
        #expect(
            ledger.law == [
                "collateral-0, account 4: reserved is -1, below 0",
                "collateral-0, account 4: reserved is -1, its reservations hold 0",
            ])
    }

    @Test("reserved money that is not that of the reservations is a finding")
    func reservedSum() throws {
        var ledger = try ledger()
        ledger["collateral-0"].accounts[2]?.reserved += 1
        ledger["collateral-0"].accounts[2]?.free -= 1
        #expect(
            ledger.law == ["collateral-0, account 2: reserved is 28, its reservations hold 27"])
    }

    @Test("a reservation of an account that is not there is a finding")
    func orphanAccount() throws {
        var ledger = try ledger()
        ledger["collateral-0"].reservations[key(ledger, 1)]?.account = 8
        #expect(
            ledger.law == [
                "collateral-0, account 2: reserved is 27, its reservations hold 7",
                "collateral-0, account 8: reservations hold 20, the account has 0",
                "trades-0, trade 1: margin 20 for account 2, but collateral-0 holds 20 for account 8",
            ])
    }

    @Test("an account on another shard than its own is a finding")
    func wrongHome() throws {
        var ledger = try ledger()
        ledger["collateral-0"].accounts[3] = .init()
        #expect(ledger.law == ["collateral-0, account 3: it lives on collateral-1"])
    }

    @Test("a credit applied without being sent, and one that vanished, are findings of the channel")
    func channels() throws {
        var ledger = try ledger()
        ledger["collateral-1"].channels[ledger.id("collateral-0")] = .init(applied: 31)
        ledger["collateral-1"].accounts[1]?.free += 31
        #expect(ledger.law == ["collateral-0/collateral-1: 30 left, but 31 was applied"])
        #expect(!ledger.summary.conserved)
        ledger = try self.ledger()
        ledger["collateral-0"].inFlight = [:]
        #expect(
            ledger.law == [
                "collateral-0/collateral-1: 30 is missing at the destination, but the origin"
                    + " holds only 0 as in flight"
            ])
        ledger = try self.ledger()
        ledger["collateral-1"].channels[ledger.id("trades-0")] = .init(applied: 5)
        ledger["collateral-1"].accounts[1]?.free += 5
        #expect(
            ledger.law == [
                "collateral-1: 5 applied from and 0 sent to trades-0, no collateral shard"
            ])
    }

    @Test("a confirmed trade without its reservation is a finding")
    func confirmedWithout() throws {
        var ledger = try ledger()
        ledger["trades-0"].trades[7] = .init(account: 2, margin: 1, status: .confirmed)
        #expect(ledger.law == ["trades-0, trade 7: confirmed with 0 reservations, not 1"])
    }

    @Test(
        "a rejected, timed out or closed trade with a reservation is a finding",
        arguments: [
            VenueState.TradeStatus.rejected, VenueState.TradeStatus.timedOut,
            VenueState.TradeStatus.closed,
        ])
    func endedWith(status: VenueState.TradeStatus) throws {
        var ledger = try ledger()
        ledger["trades-0"].trades[1]?.status = status
        #expect(ledger.law == ["trades-0, trade 1: \(status.name) with 1 reservations, not 0"])
    }

    @Test("two reservations for one trade are a finding")
    func twice() throws {
        var ledger = try ledger()
        for tradeID in [1, 3] as [UInt64] {
            ledger["collateral-1"].reservations[key(ledger, tradeID)] =
                ledger["collateral-0"].reservations[key(ledger, tradeID)]
        }
        #expect(ledger.law.contains("trades-0, trade 1: confirmed with 2 reservations, not 1"))
        #expect(
            ledger.law.contains("trades-0, trade 3: requested with 2 reservations, at most 1"))
    }

    @Test("a reservation with another margin than its trade is a finding")
    func otherMargin() throws {
        var ledger = try ledger()
        ledger["trades-0"].trades[1]?.margin = 21
        #expect(
            ledger.law == [
                "trades-0, trade 1: margin 21 for account 2, but collateral-0 holds 20 for account 2"
            ])
    }

    @Test("a reservation without a trade, or of no trade shard, is a finding")
    func withoutTrade() throws {
        var ledger = try ledger()
        ledger["trades-0"].trades[1] = nil
        #expect(
            ledger.law == [
                "collateral-0: a reservation of 20 for account 2, but trades-0 has no trade 1"
            ])
        ledger = try self.ledger()
        ledger["collateral-1"].accounts[1] = .init(free: 9, reserved: 1)
        ledger["collateral-1"].reservations[
            .init(origin: ledger.id("collateral-0"), tradeID: 9)] = .init(account: 1, margin: 1)
        #expect(
            ledger.law == [
                "collateral-1: a reservation of 1 for account 1, trade 9 of collateral-0,"
                    + " no trade shard"
            ])
    }

    @Test("with some of the shards only, what would need the others is left out")
    func partial() throws {
        let cut = try ledger().cut
        for mask in 0..<(1 << cut.count) {
            let part = cut.indices.filter { mask >> $0 & 1 == 1 }.map { cut[$0] }
            #expect(Venue.law(part).isEmpty)
        }
        // And what does not need them is still found.
        var doctored = try ledger()
        doctored["collateral-0"].deposits += 1
        #expect(Venue.law([doctored.cut[1]]).count == 1)
    }
}
