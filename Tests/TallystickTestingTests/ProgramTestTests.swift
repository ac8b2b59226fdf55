import TallyCore
import TallyVenue
import TallystickTesting
import Testing

/// The text of the failure that a closure ends with.
func failure(
    sourceLocation: SourceLocation = #_sourceLocation, _ body: () throws -> Void
) -> String {
    do {
        try body()
        Issue.record("nothing failed", sourceLocation: sourceLocation)
        return ""
    } catch {
        return "\(error)"
    }
}

@Suite("A program under test")
struct ProgramTestTests {
    private static let names = ["trades-0", "collateral-0"]
    private static let deposit = VenueCommand.deposit(account: 1, amount: 100).encode()
    private static func trade(_ id: UInt64, _ margin: Int64) -> [UInt8] {
        VenueCommand.trade(tradeID: id, account: 1, margin: margin).encode()
    }
    private static func reserve(_ id: UInt64, _ margin: Int64, later: Bool = false) -> [UInt8] {
        VenueMessage.reserve(tradeID: id, account: 1, margin: margin, deferred: later).encode()
    }

    private func trades() throws -> ProgramTest<Venue> {
        try ProgramTest(shard: "trades-0", of: Self.names)
    }

    private func collateral() throws -> ProgramTest<Venue> {
        try ProgramTest(Venue.self, shard: "collateral-0", of: Self.names)
            .given(.commanded(Self.deposit))
    }

    @Test("decides on a command, sends, and folds the outcome when it comes")
    func wholeTrade() throws {
        let test = try trades()
            .when(.command(Self.trade(7, 60)))
            .then(sends: [.to("collateral-0", Self.reserve(7, 60))])
            .thenField("trades.requested", "1")
            .when(.outcome(from: "collateral-0", .accepted))
            .then()
            .thenField("trades.confirmed", "1")
        #expect(test.history.map(\.event.kind) == [.opened, .commanded, .sent, .acknowledged])
        #expect(test.messaging.pendingCount == 0)
        try test.thenState { #expect($0.trades[7]?.status == .confirmed) }
    }

    @Test("answers a message under the name it gets by itself; what was given is folded")
    func answers() throws {
        try collateral()
            .when(.message(from: "trades-0", Self.reserve(7, 60)))
            .then(answers: [.accepted()])
            .thenField("account.1.reserved", "60")
            .when(.message(from: "trades-0", Self.reserve(8, 60)))
            .then(answers: [.rejected("40 free, 60 asked")])
            .when(.message(from: "trades-0", Self.reserve(9, 40, later: true)))
            .then()
            .when(.command(VenueCommand.settle.encode()))
            .then(
                answers: [.accepted(of: "trades-0/collateral-0/3")],
                result: Array("1 answered".utf8)
            )
            .thenField("account.1.reserved", "100")
    }

    @Test("refuses a command, and nothing has changed")
    func refusals() throws {
        let test = try trades()
            .when(.command(Self.trade(7, 60))).then(
                sends: [.to("collateral-0", Self.reserve(7, 60))]
            )
            .when(.command(Self.trade(7, 60))).thenRefused("trade 7 exists already")
        #expect(test.history.count == 3)
    }

    @Test("takes any history: sent, timed out, expired, owed, answered by hand")
    func facts() throws {
        let message = Self.reserve(7, 60)
        try trades()
            .given(
                .commanded(Self.trade(7, 60), result: []), .sent(to: "collateral-0", message),
                .timedOut(by: "collateral-0")
            )
            .thenField("trades.timedOut", "1")
        try collateral()
            .given(
                .expired(from: "trades-0", message), .received(from: "trades-0", message),
                .answered(from: "trades-0", accepted: true)
            )
            .thenField("account.1.free", "40")
            .given(
                .event(Event(.noted), [1]), .noted([2]),
                .received(from: "trades-0", message, sequence: 3)
            )
            .thenField("owed", "1")
            .thenField("strange", "2")
    }

    @Test("a failure prints what was expected and what was decided, as the program describes it")
    func texts() throws {
        let other = failure {
            try trades().when(.command(Self.trade(7, 60)))
                .then(sends: [.to("collateral-0", Self.reserve(7, 61))])
        }
        #expect(other.contains("the command \"trade 7, margin 60, account 1\" at trades-0"))
        #expect(other.contains("expected: sends to collateral-0: reserve 61 for account 1"))
        #expect(other.contains("decided:  sends to collateral-0: reserve 60 for account 1"))
        let nothing = failure { try trades().when(.command(Self.trade(7, 60))).then() }
        #expect(nothing.contains("expected: nothing\n  decided:  sends to collateral-0"))
        let refused = failure { try trades().when(.command([9])).then() }
        #expect(refused.contains("decided:  refused: the command cannot be read"))
        let text = failure { try trades().when(.command([9])).thenRefused("no") }
        #expect(text.contains("expected: refused: no\n  decided:  refused: the command"))
        let goesOn = failure { try trades().when(.command([9])).when(.command([9])).then() }
        #expect(goesOn.contains("was refused: the command cannot be read"))
        let field = failure { try collateral().thenField("free", "1") }
        #expect(field == "free of collateral-0 is 100, expected 1")
    }

    @Test("a mistake in the test is said: no such shard, nothing pending, no such history")
    func mistakes() throws {
        func said(_ body: () throws -> Void) -> String { failure(body) }
        #expect(
            said { _ = try ProgramTest(Venue.self, shard: "x", of: Self.names) }
                == "there is no shard \"x\"; there are trades-0, collateral-0")
        #expect(
            said { _ = try ProgramTest(Venue.self, shard: "x", of: ["a/b"]) }.contains("no names"))
        #expect(
            said { _ = try trades().given(.acknowledged(by: "collateral-0", accepted: true)) }
                .contains("no message of trades-0 is pending there"))
        #expect(
            said { _ = try trades().given(.answered(from: "collateral-0", accepted: true)) }
                .contains("no message of collateral-0 is owed"))
        #expect(
            said { _ = try trades().given(.received(from: "collateral-0", [1], sequence: 5)) }
                .contains("is not the next message of an ordered channel"))
        #expect(
            said { try trades().thenField("x", "1") }.contains("has no field x; it has role"))
        #expect(
            said {
                try trades().when(.command(Self.trade(7, 60))).then(answers: [.accepted()])
            }.contains("say which message is answered"))
    }

    @Test("a program that decides what cannot be recorded is caught at its when")
    func unrecordable() throws {
        let twice = failure {
            _ = try ProgramTest(Broken<AnswersTwice>.self, shard: "a", of: ["a", "b"])
                .when(.message(from: "b", [1]))
        }
        #expect(twice.contains("answers a message that was answered already"))
        let refused = failure {
            _ = try ProgramTest(Broken<RefusesMessages>.self, shard: "a", of: ["a", "b"])
                .when(.message(from: "b", [1]))
        }
        #expect(refused.contains("only a command is refused"))
        let impure = failure {
            _ = try ProgramTest(Broken<ImpureDecide>.self, shard: "a", of: ["a", "b"])
                .when(.message(from: "b", [1]))
        }
        #expect(impure.contains("decide is pure"))
    }
}
