public import TallyCore

/// A shard's state: the fold of its log up to a position.
public struct ShardState<P: Program>: Sendable {
    /// What the program may know about the shard.
    public let context: ShardContext
    /// The protocol's part.
    public internal(set) var messaging: MessagingState
    /// The program's part.
    public internal(set) var application: P.State
    /// The commit boundary up to which the log was folded (inside a commit: the boundary before it).
    public internal(set) var position: LogPosition
    /// Events folded.
    public internal(set) var eventCount: UInt64 = 0
    /// Commits folded.
    public internal(set) var commitCount: UInt64 = 0
    /// Where the log begins: at 1, or at the lower end of the window that an import holds.
    private let first: Offset

    /// The empty state.
    public init(context: ShardContext, manifest: Manifest) {
        self.context = context
        first = manifest.first(of: context.shard)
        messaging = MessagingState(
            shard: context.shard, shardCount: manifest.shards.count, rules: manifest.rules)
        application = P.initial(context)
        position = LogPosition(
            offset: .none, head: Hashing.seed(ledger: manifest.id, shard: context.shard),
            timestamp: .none)
    }

    /// Where a fold stops.
    public enum Limit: Equatable, Sendable {
        /// Nowhere before the end.
        case end
        /// Through this event, inside a commit too.
        case offset(Offset)
        /// Through the last commit at or before this time.
        case time(Timestamp)
    }

    /// SHA-256 of the messaging state's canonical bytes.
    public var messagingDigest: Digest { Hashing.digest(messaging.encoded()) }
    /// SHA-256 of the application state's canonical bytes; `nil` without a program.
    public var applicationDigest: Digest? {
        P.self == Opaque.self ? nil : Hashing.digest(P.encode(application))
    }

    /// Folds a log on from where this state stands.
    ///
    /// - Parameters:
    ///   - log: The shard's log.
    ///   - limit: Where to stop.
    ///   - checksChain: Whether each commit's previous head is compared with the hash of the commit
    ///     before; costs one SHA-256 over all bytes.
    ///   - progress: Called now and then with the number of events folded so far.
    /// - Throws: ``StoreError/Code/damaged`` with the place where the log stops making sense; the state is
    ///   then folded up to there.
    /// - Complexity: O(events); nothing is allocated per event by the messaging fold.
    public mutating func fold(
        _ log: some LogReading, to limit: Limit = .end, checksChain: Bool = false,
        progress: ((UInt64) -> Void)? = nil
    ) throws {
        let isOpaque = P.self == Opaque.self
        var last = Hashed(position.head)
        var next = messaging.offset == .none ? first : Offset(messaging.offset.rawValue + 1)
        var sinceProgress = 0
        do {
            try log.forEachCommit(from: next) { commit in
                switch limit {
                case .end: break
                case .offset(let offset): guard commit.firstOffset <= offset else { return false }
                case .time(let time): guard commit.timestamp <= time else { return false }
                }
                try check(commit, next: next, last: checksChain ? last.digest : nil, log.name)
                if case .offset(let offset) = limit, commit.lastOffset > offset {
                    foldPart(of: commit, through: offset)
                    return false
                }
                if isOpaque {
                    messaging.fold(commit)
                } else {
                    foldWithProgram(commit)
                }
                eventCount &+= UInt64(commit.eventCount)
                commitCount &+= 1
                next = Offset(commit.lastOffset.rawValue + 1)
                position.offset = commit.lastOffset
                position.timestamp = commit.timestamp
                last = checksChain ? Hashed(commit.head) : Hashed(.none)
                sinceProgress += commit.eventCount
                if sinceProgress > 200_000 {
                    sinceProgress = 0
                    progress?(eventCount)
                }
                return true
            }
        } catch {
            // As far as it came, the state is whole: its head, too.
            try? settleHead(log, last.digest)
            throw error
        }
        try settleHead(log, last.digest)
    }

    /// Gives the position the head of its commit, hashing that one commit when the fold did not.
    private mutating func settleHead(_ log: some LogReading, _ last: Digest) throws {
        guard position.offset != .none else { return }
        var head = last
        if head == .none {
            try log.forEachCommit(from: position.offset) { commit in
                head = commit.head
                return false
            }
        }
        position.head = head
    }

    private struct Hashed {
        var digest: Digest
        init(_ digest: Digest) { self.digest = digest }
    }

    private func check(
        _ commit: CommitView, next: Offset, last: Digest?, _ name: String
    ) throws {
        guard commit.firstOffset == next else {
            throw StoreError(
                .damaged,
                "the log of \(name) has a gap: offset \(next.rawValue) is expected,"
                    + " \(commit.firstOffset.rawValue) is there; run: tally verify DIR")
        }
        guard commit.timestamp > position.timestamp else {
            throw StoreError(
                .damaged,
                "time goes back in the log of \(name) at \(name)@\(next.rawValue); run: tally"
                    + " verify DIR")
        }
        if let last, commit.previousHead != last {
            throw StoreError(
                .damaged,
                "the commit at \(name)@\(next.rawValue) does not follow the one before it: its"
                    + " previous head is \(commit.previousHead), the log's is \(last); run: tally"
                    + " verify DIR")
        }
    }

    private mutating func foldWithProgram(_ commit: CommitView) {
        let (time, epoch, context) = (commit.timestamp, commit.epoch, context)
        commit.forEach { view in
            messaging.fold(view, timestamp: time, epoch: epoch)
            if view.kind.isForPrograms {
                P.fold(view, into: &application, context)
            }
        }
    }

    private mutating func foldPart(of commit: CommitView, through offset: Offset) {
        let (time, epoch, context) = (commit.timestamp, commit.epoch, context)
        commit.forEach { view in
            guard view.offset <= offset else { return }
            messaging.fold(view, timestamp: time, epoch: epoch)
            if P.self != Opaque.self, view.kind.isForPrograms {
                P.fold(view, into: &application, context)
            }
            eventCount &+= 1
        }
    }
}

extension ShardState {
    /// Takes over what a running shard has folded itself.
    package mutating func adopt(
        messaging: MessagingState, application: P.State, position: LogPosition, events: UInt64,
        commits: UInt64
    ) {
        self.messaging = messaging
        self.application = application
        self.position = position
        eventCount = events
        commitCount = commits
    }
}
