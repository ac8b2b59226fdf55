public import TallyCore
public import TallyStore

/// The life of one message: both halves, step by step, and its place among causes and consequences.
public struct Trace: Sendable {
    /// One event, and how long after the one before it.
    public struct Step: Equatable, Sendable {
        /// The event.
        public var event: RecordedEvent
        /// Nanoseconds since the step before; negative where foreign clocks differ; `nil` for the
        /// first.
        public var sincePrevious: Int64?
    }

    /// What both halves come to.
    public enum Verdict: Equatable, Sendable {
        /// Both halves agree, and nothing is left to do.
        case settled
        /// Pending, for the reason named.
        case orphan(OrphanClass)
        /// The halves contradict each other, or one of them cannot be had.
        case remarkable(HalfClass)
        /// No log that can be read names it.
        case notFound
    }

    /// The message.
    public var message: MessageName
    /// Every event that names the message, in both logs, by time.
    public var steps: [Step]
    /// The stimulus that led to the send.
    public var cause: RecordedEvent?
    /// What the decision on the receipt recorded: its answer, notes and further sends.
    public var consequences: [RecordedEvent]
    /// What both halves come to.
    public var verdict: Verdict
    /// The message as an orphan, when it is one.
    public var orphan: Orphan?
    /// What the halves say that is no plain orphan.
    public var findings: [HalfFinding]
    /// What led to the message, and all that came of it.
    public var tree: CausalTree
    /// Shards that could not be read, of the channel and of every message in the tree.
    public var problems: [(shard: ShardID, problem: StoreError)]

    /// Follows a message.
    ///
    /// - Complexity: Each log is read a fixed number of times, whatever the size of the tree; an
    ///   import's as often as the tree is deep.
    public init(
        _ message: MessageName, _ audit: AuditLedger, at cut: Cut? = nil,
        bounds: CausalTree.Bounds = CausalTree.Bounds()
    ) throws {
        let cut = cut ?? audit.cut
        var query = EventQuery()
        query.message = message
        var events: [RecordedEvent] = []
        var problems = try query.run(audit, at: cut) {
            events.append($0)
            return true
        }
        self.message = message
        var previous: Timestamp?
        steps = events.map { event in
            let time = event.record.timestamp
            let since = previous.map { Int64(bitPattern: time.rawValue &- $0.rawValue) }
            previous = time
            return Step(event: event, sincePrevious: since)
        }
        cause = try events.first { $0.event.kind == .sent }.flatMap { sent in
            try Self.event(at: sent.event.cause, of: sent.shard, audit, cut)
        }
        consequences =
            try events.first { $0.event.kind == .received }.map { received in
                try Self.consequences(of: received, audit, cut)
            } ?? []
        var tree = CausalTree()
        var unreadable: [ShardID: StoreError] = [:]
        if let event = Self.start(of: events) {
            (tree, unreadable) = try CausalTree.grown(from: event, message, audit, cut, bounds)
        }
        for problem in problems { unreadable[problem.shard] = problem.problem }
        let ends = Set(tree.messages + [message]).reduce(into: Set<ShardID>()) { shards, name in
            shards.formUnion([name.channel.origin, name.channel.destination])
        }
        problems = unreadable.filter { ends.contains($0.key) }.sorted { $0.key < $1.key }
            .map { ($0.key, $0.value) }
        let found = try Self.classify(
            tree.unsettled.union([message]), audit, cut, Array(unreadable.keys))
        tree.markOpen(found)
        self.tree = tree
        self.problems = problems
        orphan = found[message]?.orphan
        findings = found[message]?.findings ?? []
        if events.isEmpty {
            verdict = .notFound
        } else if let finding = findings.first {
            verdict = .remarkable(finding.class)
        } else if let orphan {
            verdict = .orphan(orphan.class)
        } else {
            verdict = .settled
        }
    }

    /// Where a message's story begins, as far as the logs go.
    private static func start(of events: [RecordedEvent]) -> RecordedEvent? {
        for kind in [EventKind.sent, .received, .answered] {
            if let event = events.first(where: { $0.event.kind == kind }) { return event }
        }
        return events.first
    }

    private static func event(
        at offset: Offset, of shard: ShardID, _ audit: AuditLedger, _ cut: Cut
    ) throws -> RecordedEvent? {
        guard offset != .none, offset <= cut.through(shard) else { return nil }
        var query = EventQuery()
        query.shard = shard
        query.offsets = offset.rawValue...offset.rawValue
        var found: RecordedEvent?
        try query.run(audit, at: cut) {
            found = $0
            return false
        }
        return found
    }

    /// The events behind a stimulus that stand in its commit and name it, or answer it.
    private static func consequences(
        of received: RecordedEvent, _ audit: AuditLedger, _ cut: Cut
    ) throws -> [RecordedEvent] {
        var query = EventQuery()
        query.shard = received.shard
        query.offsets = (received.offset.rawValue + 1)...UInt64.max
        var found: [RecordedEvent] = []
        try query.run(audit, at: cut) { event in
            guard event.commit == received.commit, !event.event.kind.isStimulus else {
                return false
            }
            switch event.event.kind {
            case .answered, .noted, .sent: found.append(event)
            default: break
            }
            return true
        }
        return found
    }

    /// Classifies messages from all that both logs say of them.
    private static func classify(
        _ messages: Set<MessageName>, _ audit: AuditLedger, _ cut: Cut, _ unreadable: [ShardID]
    ) throws -> [MessageName: Classification] {
        try audit.reading {
            var context = JoinContext(answers: audit.manifest.hasAnswers, cut: cut)
            context.windows = Set(audit.manifest.windows.keys)
            context.unreadable = Set(unreadable)
            let ends = messages.reduce(into: Set<ShardID>()) { shards, name in
                shards.formUnion([name.channel.origin, name.channel.destination])
            }
            var halves: [HalfEvent] = []
            for shard in ends.sorted() where audit.directory.contains(shard) {
                guard let log = audit[shard].log else { continue }
                let reader = HalfReader(
                    shard, log, from: audit.manifest.first(of: shard), through: cut.through(shard),
                    shardCount: audit.shards.count, comparesBytes: true, only: messages)
                while !reader.isDone {
                    reader.refill()
                    while !reader.isEmpty { halves.append(reader.take()) }
                }
                if !reader.losses.isEmpty { context.losses[shard] = reader.losses }
            }
            halves.sort { ($0.time, $0.shard, $0.offset) < ($1.time, $1.shard, $1.offset) }
            var histories: [MessageName: MessageHistory] = [:]
            for half in halves {
                histories[half.name, default: MessageHistory(half.name)].add(half)
            }
            return histories.mapValues { $0.classify(context) }
        }
    }
}
