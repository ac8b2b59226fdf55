import TallyCore
import TallyStore
import TallyVenue
import TallystickTesting
import Testing

@Suite("The laws of programs")
struct ProgramLawsTests {
    private static let names = ["trades-0", "collateral-0", "collateral-1"]

    @Test("the venue keeps them on its own history and on random events", arguments: names)
    func venue(shard: String) throws {
        let ledger = try TestLedger(Self.names, program: Venue.self)
        var workload = VenueWorkload(
            directory: ledger.manifest.shards, seed: 3, trades: 60, deadline: 1_000_000_000)
        while let (shard, command) = workload.next() {
            do {
                try ledger.perform(
                    command.encode(), on: ledger.manifest.shards.name(of: shard))
            } catch let refusal as Refusal {
                #expect(refusal.code == .program)
            }
            try ledger.deliverAll()
        }
        let history = try ledger.events(of: shard)
        #expect(history.count > 50)
        try ProgramLaws.check(
            Venue.self, shard: shard, of: Self.names, history: history, randomEvents: 1_000)
    }

    @Test("a sound program keeps them, and each step is told before it is taken")
    func sound() throws {
        var steps: [String] = []
        let test = try ProgramTest(Broken<NoFault>.self, shard: "a", of: ["a", "b"])
            .when(.message(from: "b", [1, 2])).then(answers: [.accepted([1, 2])])
        try ProgramLaws.check(
            Broken<NoFault>.self, shard: "a", of: ["a", "b"], history: test.history,
            randomEvents: 100, seed: 9, trace: { steps.append($0) })
        #expect(steps.contains { $0.hasPrefix("decide before a@2 received on the message b/a/1") })
        #expect(steps.contains { $0.hasPrefix("evolve on a@2 received, 0102") })
        var again: [String] = []
        try ProgramLaws.check(
            Broken<NoFault>.self, shard: "a", of: ["a", "b"], history: test.history,
            randomEvents: 100, seed: 9, trace: { again.append($0) })
        #expect(again == steps)
    }

    private func broken<F: Fault>(_ fault: F.Type) -> [String] {
        do {
            try ProgramLaws.check(
                Broken<F>.self, shard: "a", of: ["a", "b"], randomEvents: 200)
            return []
        } catch {
            return (error as? ConformanceFailure)?.broken ?? []
        }
    }

    @Test("a broken program is told the law it breaks")
    func caught() {
        func names(_ law: String, _ broken: [String]) -> Bool {
            broken.contains { $0.hasPrefix(law + ": ") }
        }
        #expect(names("decide is pure", broken(ImpureDecide.self)))
        #expect(names("only a command is refused", broken(RefusesMessages.self)))
        #expect(names("evolve is a function of state and event", broken(ImpureEvolve.self)))
        #expect(names("equal states, equal bytes", broken(UnequalEncode.self)))
        let forgetful = broken(ForgetfulEncode.self)
        #expect(names("decode reads what encode wrote", forgetful))
        #expect(names("a fold goes on from a decoded state", forgetful))
        #expect(names("fields are a function of the state", forgetful))
        #expect(broken(NoFault.self).isEmpty)
    }
}
