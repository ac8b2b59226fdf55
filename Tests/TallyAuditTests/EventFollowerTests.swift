import TallyAudit
import TallyCore
import TallyStore
import Testing

@Suite("Following logs")
struct EventFollowerTests {
    private let a = ShardID(1)
    private let b = ShardID(2)
    private let bound = EventFollower.holdNanoseconds

    private struct Logs {
        var a: MemoryLog
        var b: MemoryLog
        var audit: AuditLedger
    }

    private func logs(live: Set<ShardID>, _ first: [HandCommit] = []) throws -> Logs {
        let manifest = Hand.manifest()
        let a = try Hand.log(manifest, 1, first)
        let b = try Hand.log(manifest, 2, [])
        let audit = AuditLedger(
            manifest: manifest, logs: [ShardID(1): a, ShardID(2): b], live: live)
        return Logs(a: a, b: b, audit: audit)
    }

    private func note(_ time: UInt64, _ payload: UInt8) -> HandCommit {
        HandCommit(time, (Event(.noted), [payload]))
    }

    private func payloads(_ events: [RecordedEvent]) -> [UInt8] { events.flatMap(\.record.payload) }

    @Test("only what comes behind the cut is shown, once")
    func new() throws {
        let logs = try logs(live: [], [note(10, 1)])
        let follower = EventFollower(EventQuery(), logs.audit)
        #expect(follower.poll(now: 0).isEmpty)
        try Hand.append([note(20, 2), note(30, 3)], to: logs.a)
        #expect(payloads(follower.poll(now: 1)) == [2, 3])
        #expect(follower.poll(now: 2).isEmpty)
        #expect(!follower.isBehind && follower.problems.isEmpty)
    }

    @Test("an event waits until the other writers' logs have passed its time")
    func held() throws {
        let logs = try logs(live: [a, b])
        let follower = EventFollower(EventQuery(), logs.audit)
        try Hand.append([note(100, 1)], to: logs.a)
        #expect(follower.poll(now: 0).isEmpty)
        // Earlier than what waits, and visible later.
        try Hand.append([note(50, 2)], to: logs.b)
        #expect(payloads(follower.poll(now: 1)) == [2])
        try Hand.append([note(150, 3)], to: logs.b)
        #expect(payloads(follower.poll(now: 2)) == [1])
        // Nothing passes 150: the bound ends the wait.
        #expect(follower.poll(now: bound + 1).isEmpty)
        #expect(payloads(follower.poll(now: bound + 2)) == [3])
    }

    @Test("a log that nobody writes holds nothing back")
    func still() throws {
        let logs = try logs(live: [a])
        let follower = EventFollower(EventQuery(), logs.audit)
        try Hand.append([note(100, 1)], to: logs.a)
        #expect(payloads(follower.poll(now: 0)) == [1])
    }

    @Test("the query's filters hold for what comes, and a filtered event passes time all the same")
    func filters() throws {
        let logs = try logs(live: [a, b])
        var query = EventQuery()
        query.kinds = [.noted]
        let follower = EventFollower(query, logs.audit)
        try Hand.append([note(100, 1)], to: logs.a)
        try Hand.append([HandCommit(200, Hand.opened())], to: logs.b)
        #expect(payloads(follower.poll(now: 0)) == [1])
        var only = EventQuery()
        only.shard = b
        let other = EventFollower(only, logs.audit)
        try Hand.append([note(300, 2)], to: logs.a)
        try Hand.append([note(400, 3)], to: logs.b)
        // The other shard is not read, so it holds nothing back.
        #expect(payloads(other.poll(now: 0)) == [3])
    }

    @Test("a log that is far ahead is read in pages, in order and without a gap")
    func pages() throws {
        let logs = try logs(live: [a, b])
        let follower = EventFollower(EventQuery(), logs.audit)
        let count = 10_000
        try Hand.append((1...count).map { note(UInt64($0 * 2), 1) }, to: logs.a)
        try Hand.append((1...count).map { note(UInt64($0 * 2 + 1), 2) }, to: logs.b)
        var shown = follower.poll(now: 0)
        #expect(follower.isBehind && shown.count < 2 * count)
        while follower.isBehind { shown += follower.poll(now: 0) }
        shown += follower.poll(now: bound)
        #expect(shown.count == 2 * count)
        let times = shown.map(\.record.timestamp.rawValue)
        #expect(times == times.sorted())
        #expect(Set(shown.map(\.evidence)).count == 2 * count)
    }

    @Test("what still waits comes out in order when the following ends")
    func drained() throws {
        let logs = try logs(live: [a, b])
        let follower = EventFollower(EventQuery(), logs.audit)
        try Hand.append([note(100, 1)], to: logs.a)
        try Hand.append([note(90, 2)], to: logs.b)
        #expect(payloads(follower.poll(now: 0)) == [2])
        #expect(payloads(follower.drain()) == [1])
    }
}
