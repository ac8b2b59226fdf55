/// The protocol of one shard as a pure step: `(input, state, now) -> (events, envelopes, next wake-up)`.
///
/// The machine reads no clock, no disk and no network. It is given inputs one at a time; it collects
/// the events they lead to in ``commit``, folds them at once, and queues what has to be said. The
/// caller seals the commit, makes it durable, tells the machine (``release(durable:)``), and gets
/// the envelopes that may now leave. What is queued carries the offset that must be durable first: write,
/// then speak.
///
/// Laws kept here (the numbers are those of the design's rules): a stimulus stands before what it
/// caused and is folded before the next one (7, 11); only the last confirmed session of a peer is
/// heard (2); identity is checked before any clock (4); lateness is decided once, at the destination
/// (5); a timeout needs evidence (6); only commands are refused for back-pressure (9); nothing that
/// would fold to an anomaly is appended (10).
public struct ShardMachine<P: Program>: Sendable {
    /// The shard and its names.
    public let context: ShardContext
    /// Limits and paces.
    public let options: MachineOptions
    /// The protocol's state, at the end of what was collected.
    public internal(set) var messaging: MessagingState
    /// The program's state, at the same place.
    public internal(set) var application: P.State
    /// What this commit has collected so far.
    public internal(set) var commit = CommitBuilder()
    /// Why this shard serves no more; a stop is not recorded, a restart asks again.
    public internal(set) var stop: Stop?
    /// How far the log is durable.
    public internal(set) var durable: LogPosition
    /// What happened without leaving a trace in the log.
    public internal(set) var counters = MachineCounters()
    package internal(set) var links: [Link]
    package internal(set) var outgoing: [Outgoing] = []
    var settled: [Settled] = []
    var random: SplitMix64
    var isOpened = false
    /// How far a plan was taken when its commit had to be sealed.
    var recovered: (peer: Int, sequence: SequenceNumber)?
    /// Where this machine acts unusually; `nil` but in a simulation.
    public internal(set) var buggify: Buggify?
    /// How much room the disk has left; set by who runs the machine.
    public var pressure = DiskPressure.none

    /// A machine that goes on from a folded state; its first input is ``Input/open(nonce:clean:)``.
    public init(
        context: ShardContext, options: MachineOptions, messaging: MessagingState,
        application: P.State, durable: LogPosition
    ) {
        self.context = context
        self.options = options
        self.messaging = messaging
        self.application = application
        self.durable = durable
        links = Array(repeating: Link(), count: context.directory.count + 1)
        random = SplitMix64(seed: options.seed)
        buggify = options.buggify
        for index in links.indices.dropFirst() {
            links[index].known = messaging.peers[index].witness.session
        }
    }

    /// The shard's id.
    public var shard: ShardID { context.shard }

    /// Takes one input.
    ///
    /// ``StepResult/sealFirst`` means that nothing happened: the commit collected so far has to be
    /// sealed before this input can be taken, because it needs a later timestamp or more room.
    public mutating func step(
        _ input: Input, now: Now, log: some OwnLog
    ) -> StepResult {
        if stop != nil {
            if case .command = input {
                return .command(.refused(Refusal(.stopped, stopText)))
            }
            return .done
        }
        let anomaliesBefore = messaging.anomalyCount
        let result: StepResult
        switch input {
        case .open(let nonce, let clean):
            result = open(nonce: nonce, clean: clean, now: now)
        case .command(let command):
            result = perform(command, now: now, log: log).map { .command($0) } ?? .sealFirst
        case .deliver(let header, let delivery):
            result = deliver(delivery, header, now: now, log: log)
        case .answer(let header, let item):
            result = settle(item, header, now: now, log: log)
        case .confirmAsk(let header, let statement):
            result = confirmAsked(statement, header, now: now)
        case .confirmed(let header, let statement):
            result = confirmed(statement, header, now: now)
        case .conflict(let header, let item):
            result = conflictNoticed(item, header, now: now, log: log)
        case .refused(let header, let item):
            counters.refusalsHeard += 1
            if accepts(header), item.code == Refusal.Code.clockSkew.rawValue {
                counters.skewHeard = max(counters.skewHeard, item.difference)
            }
            result = .done
        case .wake:
            result = wake(now: now, log: log)
        case .recover(let plan, let messages, let reason):
            result = recover(plan: plan, messages, reason: reason, now: now, log: log)
        case .force(let message, let reason):
            result = force(message, reason: reason, now: now, log: log)
        case .intervene(let intervention):
            result = intervene(intervention, now: now)
        }
        if messaging.anomalyCount != anomaliesBefore, stop == nil,
            let anomaly = messaging.anomalies.last
        {
            stop = .anomaly(anomaly)
        }
        return result
    }

    private var stopText: String { stop?.text(context.directory, shard) ?? "stopped" }

    /// When the machine wants ``Input/wake`` next, in ticks; `nil`: never.
    public var nextWake: UInt64? {
        var next: UInt64?
        for link in links {
            if let ask = link.askAt { next = min(next ?? ask, ask) }
            if let retry = link.retryAt { next = min(next ?? retry, retry) }
        }
        return stop == nil ? next : nil
    }

    /// The messages that became terminal since the last call; they count once their offset is durable.
    public mutating func takeSettled() -> [Settled] {
        defer { settled.removeAll(keepingCapacity: true) }
        return settled
    }

    /// The highest offset folded, durable or not.
    public var end: Offset { messaging.offset }

    /// Whether a peer's present session is heard.
    public func hears(_ peer: ShardID) -> Bool {
        peer == shard || links[Int(peer.rawValue)].heard != .none
    }

    // MARK: The commit

    /// Opens the commit if none is open.
    ///
    /// - Returns: False when a commit is open whose timestamp is not behind `received`, or which has no
    ///   room: it has to be sealed first.
    mutating func openCommit(
        now: Now, received: Timestamp = .none, events: Int = 1, payloadBytes: Int = 0
    ) -> Bool {
        if !commit.isEmpty {
            if isUnusual(.sealEarly) { return false }
            return received < commit.timestamp
                && commit.hasRoom(events: events, payloadBytes: payloadBytes)
                && commit.eventCount + events <= options.commitEventsMax
        }
        let time = HybridClock.timestamp(
            wall: now.wall, last: messaging.timestamp, received: received)
        commit.open(
            firstOffset: Offset(messaging.offset.rawValue + 1), timestamp: time,
            epoch: messaging.epoch)
        return true
    }

    /// Appends one event and folds it.
    @discardableResult
    mutating func append(
        _ event: Event, payload: some Collection<UInt8> = [UInt8](), result: [UInt8] = []
    ) -> Offset {
        let offset = commit.append(event, payload: payload, result: result)
        Self.fold(commit, event, &messaging, &application, context)
        return offset
    }

    private static func fold(
        _ commit: borrowing CommitBuilder, _ event: Event, _ messaging: inout MessagingState,
        _ application: inout P.State, _ context: ShardContext
    ) {
        let (time, epoch) = (commit.timestamp, commit.epoch)
        commit.withEvent(commit.eventCount - 1) { view in
            messaging.fold(view, timestamp: time, epoch: epoch)
            if event.kind.isForPrograms { P.fold(view, into: &application, context) }
        }
    }

    /// What stands at an offset of the own log, collected or appended.
    func record(at offset: Offset, log: some OwnLog) -> LogRecord? {
        if !commit.isEmpty, offset >= commit.firstOffset, offset <= commit.lastOffset {
            let index = Int(offset.rawValue - commit.firstOffset.rawValue)
            let time = commit.timestamp
            return commit.withEvent(index) { view in
                LogRecord(
                    event: view.event, timestamp: time, payload: view.payload,
                    result: view.result)
            }
        }
        return log.record(at: offset)
    }

    mutating func queue(_ peer: ShardID, _ item: Outgoing.Item) {
        let heard = links[Int(peer.rawValue)].heard
        outgoing.append(Outgoing(peer: peer, after: messaging.offset, heard: heard, item: item))
    }

    /// Whether a simulation wants this place to act unusually now.
    @inline(__always)
    public mutating func isUnusual(_ site: Buggify.Site) -> Bool {
        buggify == nil ? false : buggify?.fires(site) ?? false
    }

    /// Takes the collected commit as sealed and appended; the next input begins a new one.
    public mutating func sealed() { commit.clear() }

    /// Writes the commit's header, so that its bytes are final.
    public mutating func seal(previousHead: Digest) { commit.seal(previousHead: previousHead) }

    private mutating func open(nonce: Bytes16, clean: Bool, now: Now) -> StepResult {
        guard commit.isEmpty else { return .sealFirst }
        let time = HybridClock.timestamp(
            wall: now.wall, last: messaging.timestamp, received: .none)
        commit.open(
            firstOffset: Offset(messaging.offset.rawValue + 1), timestamp: time,
            epoch: Epoch(messaging.epoch.rawValue + 1))
        var event = Event(.opened)
        event.identity = nonce
        event.foldVersion = P.foldVersion
        event.clean = clean
        append(event)
        isOpened = true
        for index in links.indices.dropFirst() where ShardID(UInt32(index)) != shard {
            links[index].askAt = now.ticks
        }
        links[Int(shard.rawValue)].known = messaging.session
        links[Int(shard.rawValue)].heard = messaging.session
        if !messaging.peers[Int(shard.rawValue)].pending.isEmpty, options.retries {
            links[Int(shard.rawValue)].retryAt = now.ticks
            links[Int(shard.rawValue)].retryThrough =
                SequenceNumber(messaging.peers[Int(shard.rawValue)].next.rawValue - 1)
        }
        return .done
    }
}

extension EventKind {
    /// Whether ``Program/evolve(_:_:_:_:)`` sees events of this kind.
    public var isForPrograms: Bool {
        switch self {
        case .commanded, .sent, .received, .answered, .acknowledged, .timedOut, .intervened,
            .noted:
            true
        case .opened, .reemitted, .conflicted, .witnessed: false
        }
    }
}
