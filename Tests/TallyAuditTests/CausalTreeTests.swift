import TallyCore
import TallyStore
import Testing

@testable import TallyAudit

@Suite("Causal trees")
struct CausalTreeTests {
    private let a = LedgerDuel.a
    private let b = LedgerDuel.b
    private let c = ShardID(3)

    /// Every path from the root, as shards, offsets left out: `a.commanded/a.sent/b.received`.
    private func paths(_ tree: CausalTree) -> [String] {
        tree.nodes.indices.map { index in
            var names: [String] = []
            var next: Int? = index
            while let place = next {
                let node = tree.nodes[place]
                names.append(
                    "\(Hand.directory(4).name(of: node.event.shard)).\(node.event.event.kind.name)")
                next = node.parent
            }
            return names.reversed().joined(separator: "/")
        }
    }

    /// Each node below its parent, once, and no node without one but the root.
    private func expectTree(_ tree: CausalTree) {
        for (index, node) in tree.nodes.enumerated() {
            #expect((node.parent == nil) == (index == 0))
            #expect(node.parent ?? -1 < index)
            if let parent = node.parent {
                #expect(tree.nodes[parent].children.filter { $0 == index }.count == 1)
            }
        }
        #expect(tree.nodes.reduce(0) { $0 + $1.children.count } == max(0, tree.nodes.count - 1))
    }

    /// A command makes a send to b, which sends on to c, which sends on to a.
    private func relay() throws -> LedgerDuel {
        let duel = try LedgerDuel(shards: 3)
        try duel.send(a, b, [0])
        try duel.send(a, b, [3, 3, 3, 1, 0])
        try duel.send(a, b, [0])
        try duel.deliver()
        return duel
    }

    @Test("a message's tree goes from the command over every hop, whichever of them is asked for")
    func relayed() throws {
        let duel = try relay()
        try duel.close()
        let audit = try duel.audit()
        let first = try Trace(MessageName(from: a, to: b, SequenceNumber(2)), audit)
        expectTree(first.tree)
        let sent = "a.commanded/a.sent/b.received"
        let onward = "\(sent)/b.sent/c.received"
        #expect(
            Set(paths(first.tree)) == [
                "a.commanded", "a.commanded/a.sent", sent, "\(sent)/b.answered",
                "\(sent)/b.answered/a.acknowledged", "\(sent)/b.noted", "\(sent)/b.sent", onward,
                "\(onward)/c.answered", "\(onward)/c.answered/b.acknowledged", "\(onward)/c.noted",
                "\(onward)/c.sent", "\(onward)/c.sent/a.received",
                "\(onward)/c.sent/a.received/a.answered",
                "\(onward)/c.sent/a.received/a.answered/c.acknowledged",
            ])
        #expect(first.tree.nodes.count == 15)
        #expect(first.tree.nodes.allSatisfy { $0.open == nil })
        #expect(first.tree.nodes.dropFirst().allSatisfy { ($0.sinceParent ?? -1) >= 0 })
        #expect(first.tree.nodes[0].sinceParent == nil)
        #expect(!first.tree.hasCausesLeftOut)
        #expect(first.tree.messagesLeftOut == 0 && first.tree.stepsLeftOut == 0)

        // From the last hop: the chain of causes alone, then what came of the message.
        let last = try Trace(MessageName(from: c, to: a, SequenceNumber(1)), audit)
        expectTree(last.tree)
        let chain = last.tree.nodes.prefix(6).map { $0.event.evidence }
        #expect(
            chain.allSatisfy { place in first.tree.nodes.contains { $0.event.evidence == place } })
        #expect(
            paths(last.tree).last
                == "\(onward)/c.sent/a.received/a.answered/c.acknowledged")
        #expect(last.tree.nodes.count == 9)
    }

    @Test("what is beyond the depth is left out and counted, upwards and downwards")
    func depth() throws {
        let duel = try relay()
        try duel.close()
        let audit = try duel.audit()
        var bounds = CausalTree.Bounds()
        bounds.hopsMax = 1
        let down = try Trace(
            MessageName(from: a, to: b, SequenceNumber(2)), audit, bounds: bounds)
        expectTree(down.tree)
        #expect(
            !down.tree.nodes.contains {
                $0.message == MessageName(from: c, to: a, SequenceNumber(1))
            })
        #expect(
            down.tree.nodes.contains {
                $0.message == MessageName(from: b, to: c, SequenceNumber(1))
            })
        #expect(down.tree.messagesLeftOut == 1)
        let last = MessageName(from: c, to: a, SequenceNumber(1))
        let up = try Trace(last, audit, bounds: bounds)
        expectTree(up.tree)
        #expect(up.tree.hasCausesLeftOut)
        #expect(up.tree.nodes[0].event.event.kind == .sent && up.tree.nodes[0].event.shard == b)
        bounds.hopsMax = 2
        #expect(!(try Trace(last, audit, bounds: bounds).tree.hasCausesLeftOut))
        bounds.hopsMax = 8
        bounds.stepsMax = 5
        let few = try Trace(
            MessageName(from: a, to: b, SequenceNumber(2)), audit, bounds: bounds)
        expectTree(few.tree)
        #expect(few.tree.nodes.count == 5)
        #expect(few.tree.stepsLeftOut > 0)
    }

    @Test("an answer given later stands below what decided it, or below its receipt")
    func later() throws {
        let duel = try LedgerDuel()
        let name = try duel.send(a, b, [2])
        try duel.deliver()
        let owed = try Trace(name, duel.reading())
        #expect(owed.verdict == .orphan(.owed))
        #expect(owed.tree.nodes.compactMap(\.open) == [.pending, .owed])
        #expect(owed.tree.nodes[1].orphan?.class == .owed)
        try duel.command(b, [2, 1])
        try duel.deliver()
        let settled = try Trace(name, duel.reading())
        #expect(settled.verdict == .settled)
        #expect(
            paths(settled.tree).last
                == "a.commanded/a.sent/b.received/b.answered/a.acknowledged")
        // At the earlier position it is owed as it was.
        let cut = try settledCut(duel)
        let before = try Trace(name, duel.reading(), at: cut)
        #expect(before.tree.nodes.compactMap(\.open) == [.pending, .owed])
        try duel.close()
    }

    private func settledCut(_ duel: LedgerDuel) throws -> Cut {
        let audit = try duel.reading()
        var query = EventQuery()
        query.kinds = [.received]
        var found: RecordedEvent?
        try query.run(audit) {
            found = $0
            return false
        }
        let received = try #require(found)
        return try audit.cut(at: .time(received.record.timestamp))
    }

    @Test("pending messages further down are marked, with their class")
    func pendingBelow() throws {
        let duel = try LedgerDuel(shards: 3)
        let name = try duel.send(a, b, [3, 3, 0])
        try duel.deliver { $0.header.receiver == ShardID(3) && $0.isDelivery }
        let trace = try Trace(name, duel.reading())
        #expect(trace.verdict == .settled)
        let open = trace.tree.nodes.filter { $0.open != nil }
        #expect(open.map(\.message) == [MessageName(from: b, to: c, SequenceNumber(1))])
        #expect(open.map { $0.orphan?.class } == [.undelivered])
        try duel.close()
    }

    @Test("foreign logs that name each other as causes end the tree, not the program")
    func cyclic() throws {
        let manifest = Hand.manifest(native: false)
        func because(_ cause: UInt64, _ event: (Event, [UInt8])) -> (Event, [UInt8]) {
            var event = event
            event.0.cause = Offset(cause)
            return event
        }
        let audit = try Hand.audit(
            manifest,
            [
                [
                    HandCommit(10, because(2, Hand.sent(2, 1))),
                    HandCommit(20, Hand.received(2, 1)),
                    HandCommit(30, because(4, Hand.sent(2, 2)), because(2, Hand.sent(2, 1))),
                ],
                [
                    HandCommit(5, Hand.received(1, 1)),
                    HandCommit(6, because(1, Hand.sent(1, 1))),
                    HandCommit(7, because(1, Hand.answered(1, 1))),
                ],
            ])
        for name in [
            MessageName(from: a, to: b, SequenceNumber(1)),
            MessageName(from: b, to: a, SequenceNumber(1)),
            MessageName(from: a, to: b, SequenceNumber(2)),
        ] {
            let trace = try Trace(name, audit)
            expectTree(trace.tree)
            #expect(trace.tree.nodes.contains { $0.message == name })
            let places = trace.tree.nodes.map(\.event.evidence)
            #expect(Set(places).count == places.count)
        }
        // The receipt is earlier than its send by the foreign clock, and found all the same.
        let trace = try Trace(MessageName(from: b, to: a, SequenceNumber(1)), audit)
        #expect(trace.tree.nodes.contains { $0.sinceParent ?? 0 < 0 })
    }

    @Test("a chain without end fills the tree's bounds, causes and consequences alike")
    func endless() throws {
        var logs: [[HandCommit]] = [[], []]
        var offsets: [UInt64] = [0, 0]
        var sequences: [UInt64] = [0, 0]
        for hop in 0..<1200 {
            let (from, to) = (hop % 2, 1 - hop % 2)
            sequences[from] += 1
            var sent = Hand.sent(UInt32(to + 1), sequences[from])
            sent.0.cause = Offset(offsets[from])
            logs[from].append(HandCommit(UInt64(hop * 20 + 10), sent))
            offsets[from] += 1
            logs[to].append(
                HandCommit(
                    UInt64(hop * 20 + 20),
                    Hand.received(UInt32(from + 1), sequences[from], at: offsets[from])))
            offsets[to] += 1
        }
        let audit = try Hand.audit(Hand.manifest(native: false), logs)
        let name = MessageName(from: a, to: b, SequenceNumber(300))
        var bounds = CausalTree.Bounds()
        bounds.hopsMax = 10_000
        let long = try Trace(name, audit, bounds: bounds).tree
        expectTree(long)
        #expect(long.nodes.count == bounds.stepsMax)
        #expect(long.hasCausesLeftOut && long.stepsLeftOut == 1)
        let asked = try #require(long.nodes.firstIndex { $0.message == name })
        #expect(asked == bounds.stepsMax / 2 - 1)
        let short = try Trace(name, audit).tree
        #expect(short.nodes.count == 2 * (1 + 8 + 8))
        #expect(short.hasCausesLeftOut && short.messagesLeftOut == 1)
    }

    @Test("a receipt without its send is the root of its tree")
    func unsent() throws {
        let audit = try Hand.audit(
            Hand.manifest(native: false),
            [[], [HandCommit(10, Hand.received(1, 7)), HandCommit(20, Hand.answered(1, 7))]])
        let trace = try Trace(MessageName(from: a, to: b, SequenceNumber(7)), audit)
        #expect(trace.verdict == .remarkable(.unsent))
        #expect(paths(trace.tree) == ["b.received", "b.received/b.answered"])
        let nobody = try Trace(MessageName(from: a, to: b, SequenceNumber(8)), audit)
        #expect(nobody.tree.nodes.isEmpty)
    }
}

extension LedgerDuel {
    /// The ledger as it is now, read beside the machines by their own logs.
    func reading() throws -> AuditLedger {
        AuditLedger(
            manifest: ledger.manifest,
            logs: nodes.mapValues { $0.store.log as any LogReading })
    }
}
