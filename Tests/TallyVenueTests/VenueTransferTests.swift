import TallyCore
import TallyVenue
import Testing

@Suite("Transfers and refusals")
struct VenueTransferTests {
    private func funded() throws -> VenueDriver {
        var ledger = VenueDriver.small()
        try ledger.command("collateral-0", .deposit(account: 2, amount: 100))
        try ledger.command("collateral-0", .deposit(account: 4, amount: 10))
        try ledger.command("collateral-1", .deposit(account: 1, amount: 10))
        return ledger
    }

    @Test("a transfer within a shard is immediate")
    func within() throws {
        var ledger = try funded()
        let decision = try ledger.command(
            "collateral-0", .transfer(from: 2, to: 4, amount: 30))
        #expect(decision == Decision())
        #expect(ledger.field("collateral-0", "account.2.free") == "70")
        #expect(ledger.field("collateral-0", "account.4.free") == "40")
        #expect(ledger.law.isEmpty)
    }

    @Test("a transfer to another shard is in flight until its outcome is known")
    func across() throws {
        var ledger = try funded()
        try ledger.command("collateral-0", .transfer(from: 2, to: 1, amount: 30))
        #expect(ledger.field("collateral-0", "account.2.free") == "70")
        #expect(ledger.field("collateral-0", "inFlight") == "30")
        #expect(ledger.summary.inFlight == 30)
        #expect(ledger.law.isEmpty)
        try ledger.deliver(ledger.pending[0])
        #expect(ledger.field("collateral-1", "account.1.free") == "40")
        // Applied, and not yet known at the origin: the money is counted once.
        #expect(ledger.field("collateral-0", "inFlight") == "30")
        #expect(ledger.summary.inFlight == 0)
        #expect(ledger.summary.conserved)
        #expect(ledger.law.isEmpty)
        try ledger.carry()
        #expect(ledger.field("collateral-0", "inFlight") == "0")
        #expect(ledger.law.isEmpty)
    }

    @Test("a transfer that is rejected goes back")
    func returnedOnReject() throws {
        var ledger = try funded()
        try ledger.command("collateral-0", .transfer(from: 2, to: 77, amount: 30))
        try ledger.deliver(ledger.pending[0])
        #expect(ledger.summary.inFlight == 30)
        try ledger.carry()
        #expect(ledger.field("collateral-0", "account.2.free") == "100")
        #expect(ledger.summary.inFlight == 0)
        #expect(ledger.law.isEmpty)
    }

    @Test("a transfer that came too late goes back")
    func returnedOnTimeout() throws {
        var ledger = try funded()
        let decision = try ledger.command(
            "collateral-0", .transfer(from: 2, to: 1, amount: 30, deadline: 9))
        #expect(decision.sends.map(\.deadlineAfter) == [9])
        try ledger.deliver(ledger.pending[0], late: true)
        try ledger.carry()
        #expect(ledger.field("collateral-0", "account.2.free") == "100")
        #expect(ledger.field("collateral-1", "account.1.free") == "10")
        #expect(ledger.law.isEmpty)
    }

    @Test("a timeout by force after the credit was applied is a finding of the law")
    func overruled() throws {
        var ledger = try funded()
        try ledger.command("collateral-0", .transfer(from: 2, to: 1, amount: 30))
        let message = ledger.pending[0]
        try ledger.deliver(message)
        try ledger.timeOut(message)
        #expect(ledger.law == ["collateral-0/collateral-1: 0 left, but 30 was applied"])
        #expect(!ledger.summary.conserved)
    }

    @Test("money that does not fit is refused or rejected, never wrapped")
    func overflow() throws {
        var ledger = try funded()
        #expect(throws: Refusal.self) {
            try ledger.command("collateral-0", .deposit(account: 6, amount: .max))
        }
        try ledger.command("collateral-1", .deposit(account: 1, amount: .max - 10))
        #expect(throws: Refusal.self) {
            try ledger.command("collateral-1", .deposit(account: 3, amount: 1))
        }
        try ledger.command("collateral-0", .transfer(from: 2, to: 1, amount: 1))
        let name = ledger.pending[0].name
        try ledger.carry()
        #expect(ledger.answers[name]?.payload == Array("1 overflows".utf8))
        // Out and back leaves no room for more than came in.
        try ledger.command("collateral-1", .transfer(from: 1, to: 90, amount: .max))
        #expect(throws: Refusal.self) {
            try ledger.command("collateral-1", .deposit(account: 1, amount: 1))
        }
        try ledger.carry()
        #expect(ledger.field("collateral-1", "account.1.free") == "\(Int64.max)")
        #expect(throws: Refusal("a transfer of 1 overflows the total of its channel")) {
            try ledger.command("collateral-1", .transfer(from: 1, to: 90, amount: 1))
        }
        #expect(ledger.law.isEmpty)
    }

    @Test(
        "a command that makes no sense is refused with its reason",
        arguments: [
            ("collateral-0", .deposit(account: 2, amount: 0), "the amount 0 is not positive"),
            ("collateral-0", .deposit(account: 2, amount: -1), "the amount -1 is not positive"),
            ("collateral-0", .deposit(account: 1, amount: 1), "account 1 lives on collateral-1"),
            ("trades-0", .deposit(account: 2, amount: 1), "trades-0 is no collateral shard"),
            ("trades-0", .settle, "trades-0 is no collateral shard"),
            (
                "trades-0", .transfer(from: 2, to: 4, amount: 1),
                "trades-0 is no collateral shard"
            ),
            (
                "collateral-0", .transfer(from: 2, to: 4, amount: 0),
                "the amount 0 is not positive"
            ),
            (
                "collateral-0", .transfer(from: 2, to: 2, amount: 1),
                "account 2 cannot pay itself"
            ),
            (
                "collateral-0", .transfer(from: 1, to: 2, amount: 1),
                "account 1 lives on collateral-1"
            ),
            (
                "collateral-0", .transfer(from: 2, to: 4, amount: 101),
                "account 2 has 100 free, 101 is asked"
            ),
            ("collateral-0", .transfer(from: 8, to: 4, amount: 1), "account 8 is unknown"),
            ("collateral-0", .transfer(from: 2, to: 8, amount: 1), "account 8 is unknown"),
            ("collateral-0", .close(tradeID: 1), "collateral-0 is no trade shard"),
            (
                "collateral-0", .trade(tradeID: 1, account: 2, margin: 1),
                "collateral-0 is no trade shard"
            ),
            (
                "trades-0", .trade(tradeID: 1, account: 2, margin: 0),
                "the margin 0 is not positive"
            ),
            ("trades-0", .trade(tradeID: 7, account: 2, margin: 1), "trade 7 exists already"),
            ("trades-0", .close(tradeID: 1), "trade 1 is unknown"),
            ("trades-0", .close(tradeID: 7), "trade 7 is requested, not confirmed"),
        ] as [(String, VenueCommand, String)])
    func refusals(shard: String, command: VenueCommand, text: String) throws {
        var ledger = try funded()
        try ledger.command("trades-0", .trade(tradeID: 7, account: 2, margin: 1))
        let before = ledger.states
        #expect(throws: Refusal(text)) { try ledger.command(shard, command) }
        #expect(ledger.states == before)
    }

    @Test("unreadable commands, a ledger without collateral and other shards refuse")
    func refusedElsewhere() throws {
        var ledger = VenueDriver(["trades-0", "archive"])
        #expect(throws: Refusal("the ledger has no collateral shard")) {
            try ledger.command("trades-0", .trade(tradeID: 1, account: 2, margin: 1))
        }
        #expect(throws: Refusal("archive is no trade shard")) {
            try ledger.command("archive", .close(tradeID: 1))
        }
        #expect(throws: Refusal("archive is no collateral shard")) {
            try ledger.command("archive", .settle)
        }
        let context = ledger.context(ledger.id("trades-0"))
        #expect(throws: Refusal("the command cannot be read")) {
            try Venue.decide(.command(payload: [1, 2]), Venue.initial(context), context)
        }
    }
}
