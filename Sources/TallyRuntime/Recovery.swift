public import TallyCore
public import TallyStore

/// Recovery by an operator: the shards are opened, one after the other speaks in the caller's thread,
/// nothing is lost on the way, and everything goes through the shards' own steps.
public enum Recovery {
    /// What a recovery came to.
    public struct Report: Equatable, Sendable {
        /// Messages of the plan that are settled now.
        public var settled: [MessageName] = []
        /// Messages that the destination has applied and not answered.
        public var owed: [MessageName] = []
        /// Messages that are pending still, because their destination has stopped or cannot be opened.
        public var unsettled: [MessageName] = []
        /// Why shards have stopped, one line each.
        public var stops: [String] = []
    }

    /// Sends the messages of a plan again and sees them settled or owed.
    ///
    /// It may be run again after a crash: what is settled is not sent again. Each `reemitted` names the
    /// plan and carries the reason.
    ///
    /// - Parameters:
    ///   - messages: The messages to send again.
    ///   - plan: The plan's id; recorded.
    ///   - reason: An operator's words; recorded.
    ///   - ledger: A ledger at rest.
    ///   - program: The ledger's program.
    ///   - durability: How durable each commit is.
    ///   - precheck: Called once every shard is open for writing, before the first act; what it
    ///     throws ends the recovery with nothing changed.
    ///   - progress: Called now and then with the number of envelopes delivered so far.
    /// - Throws: ``TallyStore/StoreError`` when a shard cannot be opened or written.
    public static func apply<P: Program>(
        _ messages: [MessageName], plan: Bytes16, reason: String, to ledger: Ledger,
        program: P.Type = P.self, durability: Durability = .power, precheck: () throws -> Void = {},
        progress: (Int) -> Void = { _ in }
    ) throws -> Report {
        let concerned = Set(messages.flatMap { [$0.channel.origin, $0.channel.destination] })
        let pump = try Pump<P>(ledger, concerned.sorted(), durability, precheck: precheck)
        defer { pump.close() }
        try pump.open()
        try pump.run()
        let byOrigin = Dictionary(grouping: messages) { $0.channel.origin }
        for (origin, names) in byOrigin.sorted(by: { $0.key < $1.key }) {
            // In parts that fit a commit, whatever ranges they make.
            let sorted = names.sorted()
            for start in stride(from: 0, to: sorted.count, by: 10_000) {
                let part = Array(sorted[start..<min(start + 10_000, sorted.count)])
                try pump.take(
                    .recover(plan: plan, part, reason: Array(reason.utf8)), at: origin)
            }
        }
        try pump.run(progress: progress)
        var report = Report()
        for message in messages.sorted() {
            switch pump.standing(of: message) {
            case .settled: report.settled.append(message)
            case .owed: report.owed.append(message)
            case .pending: report.unsettled.append(message)
            }
        }
        report.stops = pump.stops
        return report
    }

    /// Times a message out without evidence; recorded with the reason.
    ///
    /// - Throws: ``TallyCore/Refusal`` when the message is not pending; ``TallyStore/StoreError``.
    public static func force<P: Program>(
        _ message: MessageName, reason: String, in ledger: Ledger, program: P.Type = P.self
    ) throws {
        let origin = message.channel.origin
        let pump = try Pump<P>(ledger, [origin], .power, precheck: {})
        defer { pump.close() }
        guard let engine = pump.engines[origin] else { return }
        // A session is recorded only if there is something to record.
        let pending = engine.machine.messaging.peer(message.channel.destination)?
            .pending[message.sequence]
        guard pending != nil else {
            throw Refusal(
                .notApplicable, "\(ledger.shards.text(message)) is not pending; nothing was changed"
            )
        }
        try pump.open(asks: false)
        let result = try pump.take(.force(message, reason: Array(reason.utf8)), at: origin)
        if case .command(.refused(let refusal)) = result { throw refusal }
        try pump.flush(origin)
    }

    /// What of a shard's log its mark or its peers have seen and it does not hold.
    public struct Loss: Equatable, Sendable {
        /// Peers and what they last saw.
        public var statements: [(peer: ShardID, statement: Statement)] = []
        /// The mark, when the log is behind it.
        public var mark: LogPosition?
        /// Peers whose logs cannot be read: what they saw is not known, and not accepted.
        public var unread: [ShardID] = []

        public static func == (left: Loss, right: Loss) -> Bool {
            left.mark == right.mark && left.unread == right.unread
                && left.statements.map(\.peer) == right.statements.map(\.peer)
                && left.statements.map(\.statement) == right.statements.map(\.statement)
        }

        /// Nothing is missing, as far as is known.
        public var isNone: Bool { statements.isEmpty && mark == nil }
    }

    /// Accepts that a shard's lost tail is lost, as far as its mark and its peers' logs tell: the shard
    /// may serve again, and audits call what is missing lost.
    ///
    /// - Returns: What was accepted; when nothing was missing, nothing was changed.
    /// - Throws: ``TallyStore/StoreError`` when the shard cannot be opened for writing.
    public static func accept<P: Program>(
        _ shard: ShardID, reason: String, in ledger: Ledger, program: P.Type = P.self
    ) throws -> Loss {
        let pump = try Pump<P>(
            ledger, [shard], .power, acceptsBehindMark: true, precheck: {})
        defer { pump.close() }
        guard let engine = pump.engines[shard], let writable = pump.writables[shard] else {
            return Loss()
        }
        var loss = Loss()
        loss.mark = writable.refusedMark?.position
        for peer in ledger.shards.all where peer != shard {
            guard let statement = statement(of: peer, about: shard, in: ledger) else {
                loss.unread.append(peer)
                continue
            }
            let messaging = engine.machine.messaging
            let isFound =
                statement.session == .none
                || messaging.holds(
                    statement.offset, in: statement.session, through: engine.end.offset)
                || messaging.peers[Int(peer.rawValue)].accepted.contains(statement)
            if !isFound { loss.statements.append((peer, statement)) }
        }
        guard !loss.isNone else { return loss }
        let text = Array(reason.utf8)
        try pump.open(asks: false)
        if let mark = loss.mark {
            try pump.take(
                .intervene(.acceptMark(offset: mark.offset, head: mark.head, reason: text)),
                at: shard)
        }
        for (peer, statement) in loss.statements {
            try pump.take(.intervene(.acceptPeer(peer, statement, reason: text)), at: shard)
        }
        try pump.flush(shard)
        return loss
    }

    /// Admits that a shard's log runs ahead of the wall clock.
    ///
    /// - Returns: The difference admitted, in nanoseconds; zero, and nothing changed, when it does not.
    public static func admitClock<P: Program>(
        _ shard: ShardID, reason: String, in ledger: Ledger, program: P.Type = P.self
    ) throws -> UInt64 {
        let pump = try Pump<P>(ledger, [shard], .power, precheck: {})
        defer { pump.close() }
        guard let engine = pump.engines[shard] else { return 0 }
        let ahead = engine.end.timestamp.nanoseconds(since: SystemClock.now().wall)
        guard ahead > engine.machine.options.clockSkewMax else { return 0 }
        try pump.open(asks: false)
        try pump.take(
            .intervene(.admitClock(difference: ahead, reason: Array(reason.utf8))), at: shard)
        try pump.flush(shard)
        return ahead
    }

    /// What a shard's log last witnessed of another; `nil` when its log cannot be read.
    private static func statement(
        of peer: ShardID, about shard: ShardID, in ledger: Ledger
    ) -> Statement? {
        guard let log = try? ledger.openForReading(peer) else { return nil }
        var state = ShardState<Opaque>(context: ledger.context(peer), manifest: ledger.manifest)
        guard (try? state.fold(log)) != nil else { return nil }
        return state.messaging.peer(shard)?.statement
    }
}

/// Engines in one thread, with a queue of envelopes between them that loses nothing.
final class Pump<P: Program> {
    private(set) var engines: [ShardID: ShardEngine<P>] = [:]
    private(set) var writables: [ShardID: WritableShard] = [:]
    private let ledger: Ledger
    private var queue: [Envelope] = []

    init(
        _ ledger: Ledger, _ shards: [ShardID], _ durability: Durability,
        acceptsBehindMark: Bool = false, precheck: () throws -> Void
    ) throws {
        self.ledger = ledger
        guard ledger.manifest.program == P.name else {
            throw StoreError(
                .unknown,
                "recovery needs the ledger's program, \(ledger.manifest.program); this tool has "
                    + (P.name.isEmpty ? "none" : P.name) + "; use the program's own tool")
        }
        var options = MachineOptions()
        options.retries = false
        for shard in shards {
            let writable = try ledger.openForWriting(
                shard, durability: durability, acceptsBehindMark: acceptsBehindMark)
            writables[shard] = writable
            let state = try ShardState<P>.opened(ledger, shard, writable.log) { _ in }
            engines[shard] = ShardEngine(
                state: state, store: writable.log, mark: writable.markFile, options: options)
        }
        try precheck()
    }

    private var sorted: [(ShardID, ShardEngine<P>)] {
        engines.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
    }

    /// Begins a session on every shard.
    func open(asks: Bool = true) throws {
        for (shard, engine) in sorted {
            let isClean = writables[shard]?.wasClean ?? false
            _ = try engine.take(
                .open(nonce: Files.random16(), clean: isClean), now: SystemClock.now())
            if asks { _ = try engine.take(.wake, now: SystemClock.now()) }
            try flush(shard)
        }
    }

    @discardableResult
    func take(_ input: Input, at shard: ShardID) throws -> StepResult {
        guard let engine = engines[shard] else { return .done }
        return try engine.take(input, now: SystemClock.now())
    }

    func flush(_ shard: ShardID) throws {
        guard let engine = engines[shard] else { return }
        for envelope in try engine.flush(now: SystemClock.now())
        where engines[envelope.header.receiver] != nil {
            queue.append(envelope)
        }
    }

    /// Delivers until nothing is under way.
    func run(progress: (Int) -> Void = { _ in }) throws {
        var delivered = 0
        repeat {
            let batch = queue
            queue = []
            for envelope in batch {
                for input in Input.inputs(of: envelope) {
                    try take(input, at: envelope.header.receiver)
                }
            }
            for (shard, engine) in sorted {
                if let wake = engine.machine.nextWake, wake <= SystemClock.now().ticks {
                    try take(.wake, at: shard)
                }
                try flush(shard)
            }
            delivered += batch.count
            progress(delivered)
        } while !queue.isEmpty
    }

    enum Standing {
        case settled, owed, pending
    }

    func standing(of message: MessageName) -> Standing {
        guard
            let origin = engines[message.channel.origin]?.machine.messaging
                .peer(message.channel.destination), origin.pending[message.sequence] != nil
        else { return .settled }
        let receipt = engines[message.channel.destination]?.machine.messaging
            .peer(message.channel.origin)?.receipts[message.sequence]
        return receipt?.isOwed == true ? .owed : .pending
    }

    var stops: [String] {
        sorted.compactMap { shard, engine in engine.machine.stop?.text(ledger.shards, shard) }
    }

    func close() {
        for (_, engine) in sorted { try? engine.close(now: SystemClock.now()) }
    }
}
