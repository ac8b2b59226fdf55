public import TallyCore
public import TallyStore

/// The life of one message: both halves, step by step.
public struct Trace: Sendable {
    /// One event, and how long after the one before it.
    public struct Step: Equatable, Sendable {
        /// The event.
        public var event: AuditEvent
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
    public var cause: AuditEvent?
    /// What the decision on the receipt recorded: its answer, notes and further sends.
    public var consequences: [AuditEvent]
    /// What both halves come to.
    public var verdict: Verdict
    /// The message as an orphan, when it is one.
    public var orphan: Orphan?
    /// What the halves say that is no plain orphan.
    public var findings: [HalfFinding]
    /// Shards of the channel that could not be read.
    public var problems: [(shard: ShardID, problem: StoreError)]

    /// Follows a message.
    ///
    /// - Complexity: O(events) of its two shards.
    public init(
        _ message: MessageName, _ audit: AuditLedger, at cut: Cut? = nil
    ) throws {
        let cut = cut ?? audit.cut
        var query = EventQuery()
        query.message = message
        var events: [AuditEvent] = []
        problems = try query.run(audit, at: cut) {
            events.append($0)
            return true
        }
        self.message = message
        var previous: Timestamp?
        steps = events.map { event in
            let time = event.record.timestamp
            let since = previous.map { Int64(time.rawValue) - Int64($0.rawValue) }
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
        let found = try Self.classify(message, audit, cut, problems.map(\.shard))
        orphan = found.orphan
        findings = found.findings
        if events.isEmpty {
            verdict = .notFound
        } else if let finding = found.findings.first {
            verdict = .remarkable(finding.class)
        } else if let orphan = found.orphan {
            verdict = .orphan(orphan.class)
        } else {
            verdict = .settled
        }
    }

    private static func event(
        at offset: Offset, of shard: ShardID, _ audit: AuditLedger, _ cut: Cut
    ) throws -> AuditEvent? {
        guard offset != .none, offset <= cut.through(shard) else { return nil }
        var query = EventQuery()
        query.shard = shard
        query.offsets = offset.rawValue...offset.rawValue
        var found: AuditEvent?
        try query.run(audit, at: cut) {
            found = $0
            return false
        }
        return found
    }

    /// The events behind a stimulus that stand in its commit and name it, or answer it.
    private static func consequences(
        of received: AuditEvent, _ audit: AuditLedger, _ cut: Cut
    ) throws -> [AuditEvent] {
        var query = EventQuery()
        query.shard = received.shard
        query.offsets = (received.offset.rawValue + 1)...UInt64.max
        var found: [AuditEvent] = []
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

    private static func classify(
        _ message: MessageName, _ audit: AuditLedger, _ cut: Cut, _ unreadable: [ShardID]
    ) throws -> Classification {
        try audit.reading {
            var context = JoinContext(answers: audit.manifest.hasAnswers, cut: cut)
            context.windows = Set(audit.manifest.windows.keys)
            context.unreadable = Set(unreadable)
            var history = MessageHistory(message)
            let ends =
                message.channel.origin == message.channel.destination
                ? [message.channel.origin] : [message.channel.origin, message.channel.destination]
            var halves: [HalfEvent] = []
            for shard in ends {
                guard let log = audit[shard].log else { continue }
                let reader = HalfReader(
                    shard, log, through: cut.through(shard), shardCount: audit.shards.count,
                    comparesBytes: true, only: [message])
                while !reader.isDone {
                    reader.refill()
                    while !reader.isEmpty { halves.append(reader.take()) }
                }
                if !reader.losses.isEmpty { context.losses[shard] = reader.losses }
            }
            halves.sort { ($0.time, $0.shard, $0.offset) < ($1.time, $1.shard, $1.offset) }
            halves.forEach { history.add($0) }
            return history.classify(context)
        }
    }
}
