import Testing

@testable import TallySimulator

@Suite("Exhaustive exploration")
struct ExhaustiveTests {
    /// One message with a crash anywhere; two, in time or too late, without one.
    private static var small: [Exploration.Options] {
        var crash = Exploration.Options("crash", [.init(0, 1, hasDeadline: true)])
        crash.deadlinesPassMax = 0
        crash.settlesEach = 16
        var calm = Exploration.Options(
            "calm", [.init(0, 1, hasDeadline: true), .init(0, 1, .reject, hasDeadline: true)])
        calm.crashesMax = 0
        return [crash, calm]
    }

    @Test("every state keeps every law, and settles once nothing fails", arguments: small)
    func complete(_ options: Exploration.Options) throws {
        let report = try #require(Exploration.run(options))
        #expect(report.violation == nil, "\(String(describing: report.violation))")
        #expect(report.isComplete)
        #expect(report.continuations >= report.states / 16 - 1)
    }

    @Test("the same exploration meets the same states")
    func repeatable() throws {
        let options = Self.small[1]
        let first = try #require(Exploration.run(options))
        let second = try #require(Exploration.run(options))
        #expect(first.states == second.states && first.transitions == second.transitions)
        #expect(first.goals.map(\.count) == second.goals.map(\.count))
    }

    @Test("depth first meets the states that breadth first meets")
    func depthFirst() throws {
        var options = Self.small[1]
        let broad = try #require(Exploration.run(options))
        options.isDepthFirst = true
        let deep = try #require(Exploration.run(options))
        #expect(deep.isComplete && deep.violation == nil)
        #expect(deep.states == broad.states && deep.depth >= broad.depth)
    }

    @Test("goals that nothing reached are named")
    func goals() throws {
        let report = try #require(Exploration.run(Self.small[1]))
        let missing = Exploration.missing(in: [report])
        #expect(missing.contains(.bothDown) && missing.contains(.windowWithGap))
        #expect(!missing.contains(.timedOut) && !missing.contains(.appliedBehindExpired))
    }

    @Test("an exploration ends at the number of states it was given")
    func bounded() throws {
        var options = Self.small[0]
        options.statesMax = 100
        let report = try #require(Exploration.run(options))
        #expect(!report.isComplete && report.states >= 100)
    }

    @Test("a shard that there is not is no exploration")
    func unknownShard() {
        #expect(Exploration.run(Exploration.Options("nowhere", [.init(0, 2)])) == nil)
    }

    @Test("a planted fault is found, with the steps that lead to it", arguments: planted)
    func found(_ planted: Exploration.Planted, _ law: Exploration.Law) throws {
        var options = Exploration.Options(
            "planted", [.init(0, 1, hasDeadline: true), .init(0, 1, .reject)])
        options.planted = planted
        options.settlesEach = .max
        let report = try #require(Exploration.run(options))
        #expect(report.violation?.law == law, "\(String(describing: report.violation))")
        #expect(report.violation?.history.isEmpty == false)
        #expect(!report.isComplete)
    }

    private static var planted: [(Exploration.Planted, Exploration.Law)] {
        [
            (.speaksFirst, .durableFirst), (.losesDurable, .receiptRestsOnSend),
            (.timesOutAlone, .timeoutRestsOnExpired), (.startsEarlier, .receiptRestsOnSend),
            (.forgesSession, .witnessedFirst),
        ]
    }
}
