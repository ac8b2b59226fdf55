import Testing
import TallyAudit
import TallyCore
import TallyStore

@Suite("The receiver's side, and one-way logs")
struct ReceiverSideTests {
    /// Joins two hand-made logs and gives the summary of a/b.
    private func join(
        _ a: [HandCommit]?, _ b: [HandCommit]?
    ) throws -> (ChannelSummary, [HandFinding], [Orphan]) {
        try join(Hand.manifest(), a, b)
    }

    private func join(
        _ manifest: Manifest, _ a: [HandCommit]?, _ b: [HandCommit]?
    ) throws -> (ChannelSummary, [HandFinding], [Orphan]) {
        let joined = try Join.run(try Hand.audit(manifest, [a, b]))
        let channel = Channel(origin: ShardID(1), destination: ShardID(2))
        return (
            joined[channel],
            joined.findings.map { HandFinding(kind: $0.class, detail: $0.detail) }, joined.orphans
        )
    }

    private struct HandFinding: Equatable {
        var kind: HalfClass
        var detail = HalfFinding.Detail.none
    }

    @Test("a receipt with no send is unsent")
    func unsent() throws {
        let (summary, findings, _) = try join([], [HandCommit(5, Hand.received(1, 1))])
        #expect(summary.unsent == 1 && summary.received == 1 && summary.matched == 0)
        #expect(findings == [HandFinding(kind: .unsent)])
    }

    @Test("a receipt of other bytes is conflicting, and the message is still undelivered")
    func conflicting() throws {
        let (summary, findings, orphans) = try join(
            [HandCommit(4, Hand.sent(2, 1, [1]))], [HandCommit(5, Hand.received(1, 1, [2]))])
        #expect(summary.conflicting == 1 && summary.matched == 0 && summary.undelivered == 1)
        #expect(findings == [HandFinding(kind: .conflicting)])
        #expect(orphans.map(\.class) == [.undelivered])
    }

    @Test("other deadlines are other bytes")
    func deadlines() throws {
        let (summary, _, _) = try join(
            [HandCommit(4, Hand.sent(2, 1, deadline: 9))],
            [HandCommit(5, Hand.received(1, 1, deadline: 8))])
        #expect(summary.conflicting == 1)
    }

    @Test("a message timed out by force that was applied is overruled; one that expired is not")
    func overruled() throws {
        let (summary, findings, _) = try join(
            [
                HandCommit(4, Hand.sent(2, 1), Hand.sent(2, 2), Hand.sent(2, 3)),
                HandCommit(
                    9, Hand.timedOut(2, 1, forced: true), Hand.timedOut(2, 2, forced: true),
                    Hand.timedOut(2, 3, forced: true)),
            ],
            [HandCommit(5, Hand.received(1, 1), Hand.received(1, 2, [0], .expired))])
        #expect(summary.overruled == 1 && summary.pending == 0 && summary.timedOut == 3)
        #expect(findings == [HandFinding(kind: .overruled)])
    }

    @Test("settled without what justifies it is unfounded, and the detail says how")
    func unfounded() throws {
        let (summary, findings, _) = try join(
            [
                HandCommit(
                    4, Hand.sent(2, 1), Hand.sent(2, 2), Hand.sent(2, 3), Hand.sent(2, 4),
                    Hand.sent(2, 5)),
                HandCommit(
                    9, Hand.acknowledged(2, 1), Hand.acknowledged(2, 2),
                    Hand.acknowledged(2, 3, .rejected), Hand.timedOut(2, 4),
                    Hand.acknowledged(2, 5), Hand.acknowledged(2, 6)),
            ],
            [
                HandCommit(
                    5, Hand.received(1, 2), Hand.received(1, 3), Hand.answered(1, 3),
                    Hand.received(1, 4), Hand.answered(1, 4), Hand.received(1, 5, [0], .expired))
            ])
        #expect(summary.unfounded == 6 && summary.pending == 0)
        #expect(
            findings.map(\.detail)
                == [.noReceipt, .noAnswer, .otherOutcome, .noExpiry, .otherOutcome, .noSend])
    }

    @Test("a second receipt of the same bytes is repeated, before and behind the settlement")
    func repeated() throws {
        let (summary, findings, orphans) = try join(
            [
                HandCommit(4, Hand.sent(2, 1), Hand.sent(2, 2)),
                HandCommit(6, Hand.acknowledged(2, 1)),
            ],
            [
                HandCommit(5, Hand.received(1, 1), Hand.answered(1, 1)),
                HandCommit(7, Hand.received(1, 1), Hand.received(1, 2), Hand.received(1, 2)),
                HandCommit(8, Hand.received(1, 1, [9])),
            ])
        #expect(summary.repeated == 2 && summary.conflicting == 1 && summary.matched == 2)
        #expect(findings.map(\.kind) == [.repeated, .conflicting, .repeated])
        #expect(orphans.map(\.class) == [.owed])
    }

    private let oneWay = Hand.manifest(native: false, answers: false, ordered: false)

    @Test("one-way: the same bytes settle, in either order of times")
    func oneWayMatched() throws {
        let (summary, findings, orphans) = try join(
            oneWay, [HandCommit(7, Hand.sent(2, 1)), HandCommit(9, Hand.sent(2, 2))],
            [HandCommit(3, Hand.received(1, 1)), HandCommit(12, Hand.received(1, 2))])
        #expect(summary.matched == 2 && summary.pending == 0 && summary.received == 2)
        #expect(findings.isEmpty && orphans.isEmpty)
    }

    @Test("one-way: repeated, conflicting, unsent and undelivered are counted by bytes")
    func oneWayClasses() throws {
        let (summary, _, orphans) = try join(
            oneWay,
            [HandCommit(4, Hand.sent(2, 1, [1]), Hand.sent(2, 2, [2]), Hand.sent(2, 3, [3]))],
            [
                HandCommit(5, Hand.received(1, 1, [9]), Hand.received(1, 1, [1])),
                HandCommit(6, Hand.received(1, 1, [1]), Hand.received(1, 1, [8])),
                HandCommit(7, Hand.received(1, 2, [7])),
                HandCommit(8, Hand.received(1, 50, [7]), Hand.received(1, 50, [6])),
            ])
        #expect(summary.matched == 1 && summary.repeated == 1 && summary.conflicting == 3)
        #expect(summary.unsent == 2 && summary.undelivered == 2 && summary.pending == 2)
        #expect(orphans.map { $0.message.sequence.rawValue } == [2, 3])
    }

    @Test("what a window hides is outside, at either end; a whole log's absence is not")
    func windows() throws {
        var manifest = oneWay
        let a = [HandCommit(4, Hand.sent(2, 1)), HandCommit(5, Hand.sent(2, 2))]
        let b = [HandCommit(6, Hand.received(1, 2)), HandCommit(7, Hand.received(1, 3))]
        var (summary, _, orphans) = try join(manifest, a, b)
        #expect(summary.undelivered == 1 && summary.unsent == 1 && summary.outside == 0)
        manifest.windows = [ShardID(2): 1...2]
        (summary, _, orphans) = try join(manifest, a, b)
        #expect(summary.undelivered == 0 && summary.unsent == 1 && summary.outside == 1)
        #expect(orphans.isEmpty)
        manifest.windows = [ShardID(1): 1...2]
        (summary, _, orphans) = try join(manifest, a, b)
        #expect(summary.undelivered == 1 && summary.unsent == 0 && summary.outside == 1)
    }

    @Test("a shard sends to itself: both halves are in one log")
    func itself() throws {
        let log = [
            HandCommit(4, Hand.sent(1, 1), Hand.sent(1, 2)),
            HandCommit(5, Hand.received(1, 1), Hand.answered(1, 1), Hand.acknowledged(1, 1)),
        ]
        let joined = try Join.run(try Hand.audit(Hand.manifest(1), [log]))
        #expect(joined.channels.map(\.summary.matched) == [1])
        #expect(joined.orphans.map(\.class) == [.undelivered])
    }

    @Test(
        "sequences from all over, up to the greatest, are joined without a place for each between")
    func sparse() throws {
        let sequences: [UInt64] = [
            1, 2, 70, 60_000, 70_000, 1 << 40, 1 << 40 + 1, .max - 70, .max - 1, .max, 3, 71, 500,
        ]
        let a = sequences.enumerated().map {
            HandCommit(10 + UInt64($0.offset), Hand.sent(2, $0.element))
        }
        let b = sequences.reversed().enumerated().map {
            HandCommit(100 + UInt64($0.offset), Hand.received(1, $0.element))
        }
        let (summary, findings, orphans) = try join(oneWay, a, b)
        #expect(summary.matched == 13 && findings.isEmpty && orphans.isEmpty)
        let (half, _, rest) = try join(oneWay, a, Array(b.prefix(6)))
        #expect(half.matched == 6 && half.undelivered == 7)
        #expect(rest.map(\.message.sequence.rawValue) == sequences.prefix(7).sorted())
    }

    @Test("many messages in flight, settled in a scattered order, against a count by hand")
    func scattered() throws {
        var random = SplitMix64(seed: 11)
        let sequences = (1...5000).map { UInt64($0) }
        let received = sequences.filter { _ in random.next() % 10 != 0 }.shuffled(using: &random)
        let settled = received.filter { _ in random.next() % 10 != 0 }.shuffled(using: &random)
        var a = sequences.map { HandCommit($0 * 10, Hand.sent(2, $0)) }
        a += settled.enumerated().map {
            HandCommit(300_000 + UInt64($0.offset), Hand.acknowledged(2, $0.element))
        }
        let b = received.enumerated().map {
            HandCommit(
                100_001 + UInt64($0.offset), Hand.received(1, $0.element),
                Hand.answered(1, $0.element))
        }
        let (summary, findings, orphans) = try join(Hand.manifest(ordered: false), a, b)
        #expect(findings.isEmpty)
        #expect(summary.matched == UInt64(received.count))
        #expect(summary.undelivered == UInt64(5000 - received.count))
        #expect(summary.unacknowledged == UInt64(received.count - settled.count))
        #expect(
            Set(orphans.map(\.message.sequence.rawValue)) == Set(sequences).subtracting(settled))
        #expect(orphans.map(\.message) == orphans.map(\.message).sorted())
    }
}
