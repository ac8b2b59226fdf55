public import TallyCore
public import TallyStore

/// One shard's machine with its log: takes inputs, seals commits, makes them durable, and only then
/// hands out what may be said. Synchronous and single-owner: it lives on its writer thread.
public final class ShardEngine<P: Program> {
    /// The protocol's state machine.
    public private(set) var machine: ShardMachine<P>
    /// The end of what was appended.
    public private(set) var end: LogPosition
    /// Commits and events appended since the engine was made.
    public private(set) var commits: UInt64 = 0
    public private(set) var events: UInt64 = 0
    private let store: any LogStore
    private let log: EngineLog
    private let mark: (any MarkStore)?
    private var markFlushedAt: UInt64 = 0
    private var isFailed = false

    /// Nanoseconds between two flushes of the mark.
    static var markFlushEvery: UInt64 { 1_000_000_000 }

    /// An engine that goes on from a folded state; `mark` is `nil` where nothing is kept beside the
    /// log.
    public init(
        state: ShardState<P>, store: any LogStore, mark: (any MarkStore)?, options: MachineOptions
    ) {
        self.store = store
        self.mark = mark
        end = state.position
        log = EngineLog(store)
        machine = ShardMachine(
            context: state.context, options: options, messaging: state.messaging,
            application: state.application, durable: state.position)
    }

    /// Takes one input; seals the collected commit first when the input asks for that.
    ///
    /// - Throws: ``TallyStore/StoreError`` when a commit cannot be appended. The engine is of no use any more: its
    ///   state is ahead of its log.
    public func take(_ input: Input, now: Now) throws -> StepResult {
        while true {
            let result = machine.step(input, now: now, log: log)
            guard case .sealFirst = result else { return result }
            try append()
        }
    }

    /// Seals and appends what was collected.
    private func append() throws {
        guard !isFailed else {
            throw StoreError(.unknownOutcome, "the shard's last commit failed; open it again")
        }
        guard !machine.commit.isEmpty else { return }
        machine.seal(previousHead: end.head)
        let count = machine.commit.eventCount
        do {
            end = try store.append(machine.commit, expecting: end.head)
        } catch {
            isFailed = true
            throw error
        }
        log.remember(machine.commit)
        machine.sealed()
        commits += 1
        events += UInt64(count)
    }

    /// Makes everything collected durable and hands out what may now be said.
    ///
    /// - Returns: Envelopes, in the order in which they were decided. None of them was made from
    ///   anything that is not durable.
    public func flush(now: Now) throws -> [Envelope] {
        let before = end.offset
        try append()
        if end.offset != machine.durable.offset || before != end.offset {
            try store.flush()
            if machine.isUnusual(.forgetRecent) { log.forget() }
            try writeMark(now: now, isClean: false)
        }
        return machine.release(durable: end)
    }

    private func writeMark(now: Now, isClean: Bool) throws {
        guard let mark else { return }
        let isDue =
            isClean || now.ticks &- markFlushedAt > Self.markFlushEvery
            || machine.isUnusual(.flushMark)
        if isDue { markFlushedAt = now.ticks }
        try mark.write(
            Mark(position: end, epoch: machine.messaging.epoch, isClean: isClean),
            isFlushed: isDue)
    }

    /// The state at the log's end, for a snapshot.
    public func state(from start: ShardState<P>) -> ShardState<P> {
        var state = start
        state.adopt(
            messaging: machine.messaging, application: machine.application, position: end,
            events: start.eventCount + events, commits: start.commitCount + commits)
        return state
    }

    /// The messages that became terminal since the last call.
    public func takeSettled() -> [Settled] { machine.takeSettled() }

    /// How much room there is, told to the machine.
    public func setPressure(_ pressure: DiskPressure) { machine.pressure = pressure }

    /// The event at an offset of the log, as far as it was appended.
    public func record(at offset: Offset) -> LogRecord? { log.record(at: offset) }

    /// The first appended event from the end backwards that a closure accepts, and its offset.
    public func lastRecord(
        where matches: (LogRecord) -> Bool
    ) -> (offset: Offset, record: LogRecord)? {
        var offset = end.offset
        while offset != .none, let record = record(at: offset) {
            if matches(record) { return (offset, record) }
            offset = Offset(offset.rawValue - 1)
        }
        return nil
    }

    /// Appends the rest, marks the end as clean when all is well, and closes the log.
    public func close(now: Now) throws {
        if !isFailed {
            _ = try flush(now: now)
            try writeMark(now: now, isClean: machine.stop == nil)
        }
        try store.close()
    }
}

/// The machine's view of its own log: recent commits from memory, older ones from the store.
private final class EngineLog: OwnLog {
    private let store: any LogStore
    private var recent: [CommitBuilder] = []
    private var recentStart = 0
    private var recentBytes = 0
    static let recentBytesMax = 16 << 20

    init(_ store: any LogStore) { self.store = store }

    func remember(_ commit: CommitBuilder) {
        recent.append(commit)
        recentBytes += commit.bytes.count
        while recentBytes > Self.recentBytesMax, recentStart < recent.count - 1 {
            recentBytes -= recent[recentStart].bytes.count
            recent[recentStart] = CommitBuilder()
            recentStart += 1
        }
        if recentStart > 256, recentStart > recent.count / 2 {
            recent.removeFirst(recentStart)
            recentStart = 0
        }
    }

    /// Leaves everything to the store.
    func forget() {
        recent = []
        recentStart = 0
        recentBytes = 0
    }

    func record(at offset: Offset) -> LogRecord? {
        if recentStart < recent.count, offset >= recent[recentStart].firstOffset {
            var low = recentStart
            var high = recent.count
            while high - low > 1 {
                let middle = (low + high) / 2
                if recent[middle].firstOffset <= offset { low = middle } else { high = middle }
            }
            guard offset <= recent[low].lastOffset else { return nil }
            let time = recent[low].timestamp
            return recent[low].withEvent(
                Int(offset.rawValue - recent[low].firstOffset.rawValue)
            ) { view in
                LogRecord(
                    event: view.event, timestamp: time, payload: view.payload,
                    result: view.result)
            }
        }
        return (try? store.record(at: offset)) ?? nil
    }

    func digest(_ message: MessageContent) -> Digest { Hashing.digest(message) }
}
