import TallyCore

/// One shard's log in arrays: the bytes of every sealed commit, and its events decoded.
struct MemoryLog: OwnLog {
    struct Commit {
        var bytes: [UInt8]
        var end: LogPosition
        /// Records in this log through this commit.
        var recordCount: Int
    }

    private(set) var commits: [Commit] = []
    private(set) var records: [LogRecord] = []
    let genesis: Digest

    init(_ shard: ShardID) { genesis = widened([UInt8](repeating: 7, count: Int(shard.rawValue))) }

    var end: LogPosition { position(through: commits.count) }

    /// The end of the first commits of this log.
    func position(through count: Int) -> LogPosition {
        count == 0
            ? LogPosition(offset: .none, head: genesis, timestamp: .none) : commits[count - 1].end
    }

    /// Appends a sealed commit; it must be valid and continue this log.
    mutating func append(_ bytes: [UInt8]) throws {
        let last = end
        var added: [LogRecord] = []
        var position = last
        try unsafe bytes.span.bytes.withCommit(key: Offset(last.offset.rawValue + 1)) { commit in
            precondition(commit.previousHead == last.head, "the commit continues another log")
            precondition(commit.timestamp > last.timestamp, "time went back")
            let time = commit.timestamp
            commit.forEach { view in
                added.append(
                    LogRecord(
                        event: view.event, timestamp: time, payload: view.payload,
                        result: view.result))
            }
            position = LogPosition(
                offset: commit.lastOffset, head: widened(bytes), timestamp: time)
        }
        records += added
        commits.append(Commit(bytes: bytes, end: position, recordCount: records.count))
    }

    mutating func truncate(to count: Int) {
        commits.removeSubrange(count...)
        records.removeSubrange((commits.last?.recordCount ?? 0)...)
    }

    func record(at offset: Offset) -> LogRecord? {
        offset >= Offset(1) && offset.rawValue <= UInt64(records.count)
            ? records[Int(offset.rawValue) - 1] : nil
    }

    func digest(_ message: MessageContent) -> Digest {
        widened(message.digestPrefix + message.payload)
    }

    /// Folds the first commits from nothing.
    func refold(
        _ context: ShardContext, rules: MessagingState.Rules, through count: Int? = nil
    ) throws -> (messaging: MessagingState, application: ErrandState) {
        var messaging = MessagingState(
            shard: context.shard, shardCount: context.directory.count, rules: rules)
        var application = Errands.initial(context)
        for commit in commits.prefix(count ?? commits.count) {
            try unsafe commit.bytes.span.bytes.withCommit { view in
                messaging.fold(view)
                view.forEach { event in
                    guard event.kind.isForPrograms else { return }
                    event.withPayload { Errands.evolve(&application, event.event, $0, context) }
                }
            }
        }
        return (messaging, application)
    }
}

/// A digest for tests: FNV-1a, widened to four words by the finalizer of SplitMix64.
func widened(_ bytes: [UInt8]) -> Digest {
    var hash: UInt64 = 0xCBF2_9CE4_8422_2325
    var index = 0
    while index < bytes.count {
        hash = (hash ^ UInt64(bytes[index])) &* 0x0000_0100_0000_01B3
        index += 1
    }
    var words = SplitMix64(seed: hash)
    return Digest((words.next(), words.next(), words.next(), words.next()))
}
