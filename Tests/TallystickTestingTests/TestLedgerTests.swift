import TallyAudit
import TallyCore
import TallyRuntime
import TallyStore
import TallyVenue
import TallystickTesting
import Testing

@Suite("A ledger in the test's hands")
struct TestLedgerTests {
    private static let names = ["trades-0", "collateral-0", "collateral-1"]

    /// Even accounts live on collateral-0: account 2 has 100 there.
    private func funded(seed: UInt64 = 1, _ names: [String] = names) throws -> TestLedger<Venue> {
        let ledger = try TestLedger(names, program: Venue.self, seed: seed)
        try ledger.perform(
            VenueCommand.deposit(account: 2, amount: 100).encode(), on: "collateral-0")
        return ledger
    }

    @discardableResult
    private func trade(
        _ ledger: TestLedger<Venue>, _ id: UInt64, margin: Int64 = 10, deadline: UInt64? = nil
    ) throws -> MessageName {
        let command = VenueCommand.trade(
            tradeID: id, account: 2, margin: margin, deadline: deadline)
        let performed = try ledger.perform(command.encode(), on: "trades-0")
        return try #require(performed.messages.first)
    }

    private func status(_ ledger: TestLedger<Venue>, _ id: UInt64) throws -> String? {
        try ledger.state(of: "trades-0").trades[id]?.status.name
    }

    private func expectClean(_ ledger: TestLedger<Venue>) throws {
        let report = try Verify.run(Venue.self, ledger.audit())
        #expect(report.findings.map(\.text) == [])
    }

    @Test("nothing moves by itself; what waits is listed; what is delivered is decided on")
    func steps() throws {
        let ledger = try funded()
        let start = ledger.now
        let message = try trade(ledger, 7)
        #expect(
            ledger.network.map(\.description) == [
                "trades-0 -> collateral-0 deliver: trades-0/collateral-0/1"
                    + " \"reserve 10 for account 2, trade 7\""
            ])
        let first = try #require(ledger.network.first)
        #expect(first.from == "trades-0" && first.to == "collateral-0" && first.kind == .deliver)
        #expect(first.messages == [message])
        #expect(try ledger.deliver(first))
        #expect(
            ledger.network.map(\.description) == [
                "collateral-0 -> trades-0 answer: trades-0/collateral-0/1 accepted"
            ])
        #expect(try status(ledger, 7) == "requested" && ledger.result(of: message) == nil)
        #expect(try ledger.deliverAll() == 1)
        #expect(try status(ledger, 7) == "confirmed" && ledger.result(of: message) == .accepted)
        #expect(ledger.isSettled && ledger.now == start)
        try expectClean(ledger)
        #expect(throws: TestMisuse.self) { try ledger.deliver(first) }
    }

    @Test("a lost answer is unacknowledged; the restarted origin asks again and gets it")
    func lostAnswer() throws {
        let ledger = try funded()
        let message = try trade(ledger, 7)
        try ledger.deliverAll { $0.kind == .deliver }
        #expect(ledger.drop { $0.kind == .answer } == 1)
        try ledger.crash("trades-0", losing: .nothing)
        let orphan = try #require(try ledger.orphans().first)
        #expect(orphan.message == message && orphan.class == .unacknowledged)
        #expect(try status(ledger, 7) == "requested")
        try ledger.restart("trades-0")
        #expect(try ledger.settle())
        #expect(try ledger.orphans().isEmpty && status(ledger, 7) == "confirmed")
        let kinds = try ledger.events(of: "trades-0").map(\.event.kind)
        #expect(kinds.filter { $0 == .opened }.count == 2 && kinds.contains(.reemitted))
        #expect(try ledger.counters(of: "collateral-0").repeated == 1)
        #expect(
            try ledger.events(of: "collateral-0").filter { $0.event.kind == .received }.count == 1)
        try expectClean(ledger)
    }

    @Test("a destination that loses an unflushed commit has said nothing of it and is asked again")
    func unflushed() throws {
        let ledger = try funded()
        try trade(ledger, 7)
        try ledger.hold("collateral-0")
        try ledger.deliverAll()
        #expect(try ledger.log(of: "collateral-0").unflushedCount == 1)
        #expect(try ledger.state(of: "collateral-0").accounts[2]?.reserved == 10)
        #expect(ledger.network.isEmpty && !ledger.isSettled)
        try ledger.crash("collateral-0")
        #expect(try ledger.state(of: "collateral-0").accounts[2]?.reserved == 0)
        #expect(try ledger.orphans().map(\.class) == [.undelivered])
        try ledger.restart("collateral-0")
        #expect(try ledger.settle() && status(ledger, 7) == "confirmed")
        #expect(try ledger.state(of: "collateral-0").accounts[2]?.reserved == 10)
        try expectClean(ledger)
    }

    @Test("what hangs is said once it is flushed; a crash that loses nothing keeps it unsaid")
    func held() throws {
        let ledger = try funded()
        try trade(ledger, 7)
        try ledger.hold("collateral-0")
        try ledger.deliverAll()
        try ledger.unhold("collateral-0")
        #expect(ledger.network.map(\.kind) == [.answer])
        try ledger.deliverAll()
        #expect(try status(ledger, 7) == "confirmed")
        try trade(ledger, 8)
        try ledger.hold("collateral-0")
        try ledger.deliverAll()
        try ledger.crash("collateral-0", losing: .nothing)
        #expect(ledger.network.isEmpty)
        #expect(try ledger.orphans().map(\.class) == [.unacknowledged])
        try ledger.restart("collateral-0")
        #expect(try ledger.settle() && status(ledger, 8) == "confirmed")
        try expectClean(ledger)
    }

    @Test("a shard that lost what its peers have seen stops at its first word; nothing is settled")
    func fork() throws {
        let ledger = try funded()
        try trade(ledger, 7)
        #expect(try ledger.settle())
        let received = try #require(
            try ledger.events(of: "collateral-0").firstIndex { $0.event.kind == .received })
        try ledger.crash("collateral-0", losing: .after(Offset(UInt64(received))))
        try ledger.restart("collateral-0")
        try trade(ledger, 8)
        try ledger.settle(within: 5_000_000_000)
        guard case .fork(let peer, _, _, _, _) = try ledger.stop(of: "collateral-0") else {
            Issue.record("it has not stopped")
            return
        }
        #expect(try peer == ledger.id(of: "trades-0") && status(ledger, 8) == "requested")
        #expect(try !Verify.run(Venue.self, ledger.audit()).isClean)
    }

    @Test("over a cut link nothing comes, in that direction; healed, everything settles")
    func partitions() throws {
        let ledger = try funded()
        try ledger.cut(from: "collateral-0", to: "trades-0")
        try trade(ledger, 7)
        #expect(try !ledger.settle(within: 3_000_000_000))
        #expect(try ledger.orphans().map(\.class) == [.unacknowledged])
        #expect(ledger.lostCount > 1 && ledger.now == TestLedger<Venue>.start + 3_000_000_000)
        ledger.heal()
        #expect(try ledger.settle() && status(ledger, 7) == "confirmed")
        try ledger.partition("trades-0", "collateral-0")
        try trade(ledger, 8)
        #expect(try !ledger.settle(within: 3_000_000_000))
        #expect(try ledger.orphans().map(\.class) == [.undelivered])
        // A third shard is not concerned.
        try ledger.perform(
            VenueCommand.deposit(account: 3, amount: 5).encode(), on: "collateral-1")
        let transfer = VenueCommand.transfer(from: 3, to: 2, amount: 5)
        try ledger.perform(transfer.encode(), on: "collateral-1")
        try ledger.deliverAll()
        #expect(try ledger.state(of: "collateral-0").accounts[2]?.free == 95)
        ledger.heal()
        #expect(try ledger.settle() && status(ledger, 8) == "confirmed")
        try expectClean(ledger)
    }

    @Test("a duplicate is answered again and appends nothing; the order does not matter")
    func duplicates() throws {
        let ledger = try funded()
        for id: UInt64 in 1...5 { try trade(ledger, id) }
        for envelope in ledger.network { ledger.duplicate(envelope) }
        let before = ledger.network.map(\.id)
        ledger.reorder()
        #expect(ledger.network.map(\.id) != before && ledger.network.count == 10)
        #expect(try ledger.settle())
        for id: UInt64 in 1...5 { #expect(try status(ledger, id) == "confirmed") }
        #expect(
            try ledger.events(of: "collateral-0").filter { $0.event.kind == .received }.count == 5)
        #expect(try ledger.state(of: "collateral-0").accounts[2]?.reserved == 50)
        try expectClean(ledger)
    }

    @Test("wakes fire in the order of their times; a late message expires")
    func time() throws {
        let ledger = try funded()
        let message = try trade(ledger, 7, deadline: 50_000_000)
        ledger.drop()
        let wake = try #require(ledger.nextWake)
        try ledger.advance(by: wake - ledger.now - 1)
        #expect(ledger.network.isEmpty)
        try ledger.advance(by: 1)
        #expect(ledger.network.map(\.kind) == [.deliver] && ledger.now == wake)
        #expect(try ledger.settle())
        #expect(try ledger.result(of: message) == .timedOut && status(ledger, 7) == "timedOut")
        try expectClean(ledger)
    }

    @Test("a shard closed in good order opens as clean; what is sent to it meanwhile is lost")
    func closing() throws {
        let ledger = try funded()
        try ledger.close("collateral-0")
        try trade(ledger, 7)
        #expect(try ledger.deliverAll() == 0 && ledger.lostCount == 1)
        try ledger.restart("collateral-0")
        #expect(try ledger.settle() && status(ledger, 7) == "confirmed")
        let opened = try ledger.events(of: "collateral-0").filter { $0.event.kind == .opened }
        #expect(opened.map(\.event.clean) == [false, true])
        try ledger.crash("trades-0")
        try ledger.restart("trades-0")
        let crashed = try ledger.events(of: "trades-0").filter { $0.event.kind == .opened }
        #expect(crashed.map(\.event.clean) == [false, false])
    }

    @Test("a command of a name is performed once; a refusal is thrown; a mistake is said")
    func commands() throws {
        let ledger = try funded()
        let name = CommandName(client: Bytes16(low: 9, high: 9), sequence: SequenceNumber(1))
        let deposit = VenueCommand.deposit(account: 2, amount: 5).encode()
        let first = try ledger.perform(deposit, on: "collateral-0", as: name)
        #expect(try ledger.perform(deposit, on: "collateral-0", as: name) == first)
        #expect(try ledger.state(of: "collateral-0").accounts[2]?.free == 105)
        #expect(throws: Refusal("the command cannot be read")) {
            try ledger.perform([0], on: "trades-0")
        }
        try ledger.crash("trades-0")
        #expect(try !ledger.isUp("trades-0"))
        #expect(throws: TestMisuse("trades-0 is down; restart(\"trades-0\") first")) {
            try ledger.perform([0], on: "trades-0")
        }
        #expect(throws: TestMisuse.self) { try ledger.perform([0], on: "x") }
        #expect(
            throws: TestMisuse("\"trades-0\" names no message; write origin/destination/sequence")
        ) { try ledger.message("trades-0") }
        #expect(throws: TestMisuse("a ledger has at least one shard")) {
            _ = try TestLedger([], program: Venue.self)
        }
        #expect(throws: TestMisuse.self) { try ledger.restart("collateral-0") }
    }

    /// A stormy life: trades, losses, duplicates, crashes.
    private func storm(seed: UInt64) throws -> TestLedger<Venue> {
        let ledger = try funded(seed: seed)
        for id: UInt64 in 1...40 {
            try trade(ledger, id, margin: 1, deadline: id % 3 == 0 ? 30_000_000 : nil)
            for envelope in ledger.network {
                switch ledger.random.next() % 4 {
                case 0: try ledger.drop(envelope)
                case 1: ledger.duplicate(envelope)
                default: try ledger.deliver(envelope)
                }
            }
            ledger.reorder()
            if id % 10 == 0 {
                let shard = Self.names[Int(ledger.random.next() % 3)]
                try ledger.hold(shard)
                try ledger.deliverAll()
                try ledger.crash(shard)
                try ledger.advance(by: 40_000_000)
                try ledger.restart(shard)
            }
        }
        #expect(try ledger.settle())
        return ledger
    }

    @Test("the same seed gives the same bytes in every log; another seed gives others")
    func deterministic() throws {
        let first = try storm(seed: 11)
        let second = try storm(seed: 11)
        let other = try storm(seed: 12)
        for name in Self.names {
            var bytes: [[UInt8]] = []
            for ledger in [first, second, other] {
                var all: [UInt8] = []
                try ledger.log(of: name).forEachCommit(from: Offset(1)) { commit in
                    all += commit.withBytes { $0.copied }
                    return true
                }
                bytes.append(all)
            }
            #expect(bytes[0] == bytes[1] && bytes[0] != bytes[2])
        }
        #expect(try first.exported() == second.exported() && first.now == second.now)
        for ledger in [first, other] { try expectClean(ledger) }
    }

    @Test("unconnected, the first questions wait in the network")
    func unconnected() throws {
        let ledger = try TestLedger(["a", "b"], program: Venue.self, isConnected: false)
        #expect(ledger.network.map(\.kind) == [.confirmAsk, .confirmAsk])
        #expect(ledger.network[0].description == "a -> b confirmAsk: has seen nothing")
        try ledger.deliver(ledger.network[0])
        #expect(ledger.network.map(\.kind) == [.confirmAsk, .confirmed])
        #expect(ledger.network[1].description == "b -> a confirmed: it has seen nothing")
        #expect(try !ledger.isSettled && ledger.settle())
    }
}
