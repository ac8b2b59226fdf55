import TallyCore
import TallyStore
import Testing

@Suite("the fold of a shard")
struct ShardStateTests {
    private func memoryLog() throws -> MemoryLog {
        let log = MemoryLog(name: "a", ledger: StoreFixture.id, shard: StoreFixture.shard)
        try StoreFixture.appendSample(to: log)
        return log
    }

    private func state() throws -> ShardState<Counter> {
        let manifest = try StoreFixture.manifest()
        return ShardState(
            context: ShardContext(shard: StoreFixture.shard, directory: manifest.shards),
            manifest: manifest)
    }

    /// The commits of a log as they are, whatever they say.
    private final class Commits: LogReading {
        let name = "a"
        var bytes: [[UInt8]] = []

        init(_ log: MemoryLog) throws {
            try log.forEachCommit(from: Offset(1)) { commit in
                bytes.append(commit.withBytes { (bytes: RawSpan) -> [UInt8] in bytes.copied })
                return true
            }
        }

        func end() throws -> LogPosition {
            LogPosition(offset: .none, head: .none, timestamp: .none)
        }

        func forEachCommit(from offset: Offset, _ body: (CommitView) throws -> Bool) throws {
            for commit in bytes {
                let goesOn = try unsafe commit.span.bytes.withCommit { view in
                    view.lastOffset < offset ? true : try body(view)
                }
                if !goesOn { return }
            }
        }
    }

    @Test("reaches the end, its head, and counts", arguments: [false, true])
    func end(_ checksChain: Bool) throws {
        let log = try memoryLog()
        var state = try state()
        #expect(
            state.position
                == LogPosition(
                    offset: .none,
                    head: Hashing.seed(ledger: StoreFixture.id, shard: StoreFixture.shard),
                    timestamp: .none))
        try state.fold(log, checksChain: checksChain)
        #expect(state.position == log.end())
        #expect(state.eventCount == 15 && state.commitCount == 5)
        #expect(state.application[0] == 15)
        #expect(state.messaging.offset == Offset(15))
        // Nothing new: nothing changes.
        let digests = (state.messagingDigest, state.applicationDigest)
        try state.fold(log, checksChain: checksChain)
        #expect(state.position == log.end() && state.eventCount == 15)
        #expect(state.messagingDigest == digests.0 && state.applicationDigest == digests.1)
        // Something new: from here on.
        try StoreFixture.append([[1], [2]], to: log)
        try state.fold(log, checksChain: checksChain)
        #expect(state.position == log.end() && state.eventCount == 17 && state.commitCount == 6)
    }

    @Test("of an empty log stays where it began")
    func empty() throws {
        let log = MemoryLog(name: "a", ledger: StoreFixture.id, shard: StoreFixture.shard)
        var state = try state()
        try state.fold(log, checksChain: true)
        #expect(state.position == log.end() && state.eventCount == 0)
    }

    @Test("goes through an offset, inside a commit too", arguments: 0...17 as ClosedRange<UInt64>)
    func offsets(_ offset: UInt64) throws {
        let log = try memoryLog()
        var state = try state()
        try state.fold(log, to: .offset(Offset(offset)), checksChain: true)
        let through = min(offset, 15)
        #expect(state.eventCount == through)
        #expect(state.application[0] == through)
        #expect(state.messaging.offset == Offset(through))
        // The position is a commit boundary.
        let boundaries: [UInt64] = [0, 1, 3, 6, 10, 15]
        let boundary = boundaries.last { $0 <= through } ?? 0
        #expect(state.position.offset == Offset(boundary))
        var whole = try self.state()
        try whole.fold(log, to: .offset(Offset(boundary)))
        #expect(state.position == whole.position)
        if boundary == through {
            #expect(state.messagingDigest == whole.messagingDigest)
            #expect(state.applicationDigest == whole.applicationDigest)
        }
    }

    @Test(
        "goes through a time: every commit at or before it",
        arguments: [(0, 0), (9, 0), (10, 1), (11, 1), (29, 3), (30, 6), (50, 15), (.max, 15)]
            as [(UInt64, UInt64)])
    func times(_ time: UInt64, _ events: UInt64) throws {
        let log = try memoryLog()
        var state = try state()
        try state.fold(log, to: .time(Timestamp(time)))
        #expect(state.eventCount == events)
        #expect(state.position.offset == Offset(events))
        #expect(state.position.timestamp <= Timestamp(time))
        try state.fold(log, checksChain: true)
        #expect(state.position == log.end())
    }

    @Test("tells how far it is")
    func progress() throws {
        let log = MemoryLog(name: "a", ledger: StoreFixture.id, shard: StoreFixture.shard)
        let payloads = [[UInt8]](repeating: [1], count: 100_000)
        for _ in 0..<5 { try StoreFixture.append(payloads, to: log) }
        var state = try state()
        var seen: [UInt64] = []
        try state.fold(log) { seen.append($0) }
        #expect(seen == [300_000])
    }

    // MARK: What breaks a log

    private func failure(
        _ commits: Commits, checksChain: Bool, reached: UInt64
    ) throws -> StoreError? {
        var state = try state()
        let error = #expect(throws: StoreError.self) {
            try state.fold(commits, checksChain: checksChain)
        }
        #expect(error?.code == .damaged)
        #expect(error?.text.contains { $0.isNewline } == false)
        // The state is that of the log up to there, its head included.
        var whole = try self.state()
        try whole.fold(try memoryLog(), to: .offset(Offset(reached)))
        #expect(state.position == whole.position)
        #expect(state.messagingDigest == whole.messagingDigest)
        return error
    }

    @Test("a gap is found", arguments: [false, true])
    func gap(_ checksChain: Bool) throws {
        let commits = try Commits(try memoryLog())
        commits.bytes.remove(at: 2)
        let error = try failure(commits, checksChain: checksChain, reached: 3)
        #expect(error?.text.contains("offset 4 is expected, 7 is there") == true)
    }

    @Test("a log that does not begin at its beginning is found")
    func beginning() throws {
        let commits = try Commits(try memoryLog())
        commits.bytes.remove(at: 0)
        let error = try failure(commits, checksChain: false, reached: 0)
        #expect(error?.text.contains("offset 1 is expected, 2 is there") == true)
    }

    @Test("a commit twice is found")
    func twice() throws {
        let commits = try Commits(try memoryLog())
        commits.bytes.insert(commits.bytes[1], at: 2)
        let error = try failure(commits, checksChain: false, reached: 3)
        #expect(error?.text.contains("offset 4 is expected, 2 is there") == true)
    }

    /// Puts another commit of three notes in the third place.
    private func replaced(time: UInt64, previousHead: Digest? = nil) throws -> Commits {
        let log = try memoryLog()
        let commits = try Commits(log)
        var state = try state()
        try state.fold(log, to: .offset(Offset(3)))
        var builder = CommitBuilder()
        builder.open(firstOffset: Offset(4), timestamp: Timestamp(time), epoch: Epoch(1))
        for _ in 0..<3 { builder.append(Event(.noted)) }
        builder.seal(previousHead: previousHead ?? state.position.head)
        commits.bytes[2] = builder.bytes
        return commits
    }

    @Test("time that stands still or goes back is found", arguments: [20, 19, 1])
    func time(_ time: UInt64) throws {
        let error = try failure(try replaced(time: time), checksChain: false, reached: 3)
        #expect(error?.text.contains("time goes back") == true)
        #expect(error?.text.contains("a@4") == true)
    }

    @Test("a commit that does not follow the one before is found by the chain")
    func chain() throws {
        let wrong = try replaced(time: 30, previousHead: Digest.none)
        let error = try failure(wrong, checksChain: true, reached: 3)
        #expect(error?.text.contains("a@4") == true)
        // A commit that was changed and sealed again is found at the next one.
        let changed = try replaced(time: 30)
        var state = try state()
        let next = #expect(throws: StoreError.self) { try state.fold(changed, checksChain: true) }
        #expect(next?.text.contains("a@7") == true)
        #expect(state.position.offset == Offset(6))
        // Without the chain only the heads tell.
        var unchecked = try self.state()
        try unchecked.fold(changed)
        #expect(unchecked.eventCount == 15)
    }

    @Test("the log of another shard or ledger is found at its first commit")
    func seed() throws {
        let other = MemoryLog(name: "a", ledger: StoreFixture.id, shard: ShardID(2))
        try StoreFixture.appendSample(to: other)
        var state = try state()
        let error = #expect(throws: StoreError.self) { try state.fold(other, checksChain: true) }
        #expect(error?.text.contains("a@1") == true)
        #expect(state.eventCount == 0)
    }

    @Test("a window's log begins at its lower end, and only there")
    func window() throws {
        var manifest = try StoreFixture.manifest()
        let commits = try Commits(try memoryLog())
        commits.bytes.removeFirst(3)
        let context = ShardContext(shard: StoreFixture.shard, directory: manifest.shards)
        manifest.windows = [StoreFixture.shard: 7...15]
        var state = ShardState<Counter>(context: context, manifest: manifest)
        try state.fold(commits)
        #expect(state.eventCount == 9 && state.position.offset == Offset(15))
        try state.fold(commits)
        #expect(state.eventCount == 9)
        manifest.windows = [StoreFixture.shard: 6...15]
        state = ShardState(context: context, manifest: manifest)
        #expect(throws: StoreError(.damaged, "")) { try state.fold(commits) }
    }
}
