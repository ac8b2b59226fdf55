internal import TallyCore
internal import TallyStore

/// What the causal tree needs of one event.
struct CausalStep {
    var kind: EventKind
    var outcome: Outcome
    var reason: Reason
    var offset: Offset
    var peer: ShardID
    var sequence: SequenceNumber
    /// Of a `reemitted`: the last sequence of its range.
    var through: SequenceNumber
    var cause: Offset

    init(_ view: EventView) {
        kind = view.kind
        outcome = view.outcome
        reason = view.reason
        offset = view.offset
        peer = view.peer
        sequence = view.sequence
        through = kind == .reemitted ? view.event.through : view.sequence
        cause = view.cause
    }

    /// Whether an event of this kind can stand in a causal tree.
    static func isKept(_ kind: EventKind) -> Bool {
        switch kind {
        case .opened, .witnessed, .intervened: false
        case .commanded, .sent, .received, .answered, .acknowledged, .timedOut, .reemitted,
            .conflicted, .noted:
            true
        }
    }
}

/// Reads one log in pages, commit by commit, and keeps of it what the causal tree needs.
///
/// A page is read in one short transaction, so nothing is held while other logs are read.
final class StepReader {
    let shard: ShardID
    private let log: any LogReading
    private let through: Offset
    private var next: Offset
    private var steps: ContiguousArray<CausalStep> = []
    /// Of each commit of the page: its time, and where its steps end.
    private var commits: ContiguousArray<(time: Timestamp, end: Int)> = []
    private var index = 0
    private var isDone: Bool
    private(set) var problem: StoreError?

    /// Events of one page at least, unless the log ends.
    private static let pageMin = 8192

    init(_ shard: ShardID, _ log: any LogReading, from: Offset, through: Offset) {
        self.shard = shard
        self.log = log
        self.through = through
        next = max(from, Offset(1))
        isDone = next > through
    }

    /// The time of the commit that comes next; `nil` at the end.
    var headTime: Timestamp? {
        while index == commits.count, !isDone { refill() }
        return index < commits.count ? commits[index].time : nil
    }

    /// Visits the steps of the commit that comes next, in log order.
    func take(_ body: (Timestamp, CausalStep) -> Void) {
        let start = index == 0 ? 0 : commits[index - 1].end
        let (time, end) = commits[index]
        index += 1
        for place in start..<end { body(time, steps[place]) }
    }

    private func refill() {
        steps.removeAll(keepingCapacity: true)
        commits.removeAll(keepingCapacity: true)
        index = 0
        var scanned = 0
        var reachedEnd = true
        let first = next
        do {
            try log.forEachCommit(from: next) { commit in
                guard commit.firstOffset <= through else { return false }
                commit.forEach { view in
                    guard view.offset >= first, view.offset <= through,
                        CausalStep.isKept(view.kind)
                    else { return }
                    steps.append(CausalStep(view))
                }
                commits.append((commit.timestamp, steps.count))
                next = Offset(commit.lastOffset.rawValue + 1)
                scanned += commit.eventCount
                guard scanned >= Self.pageMin else { return true }
                reachedEnd = false
                return false
            }
        } catch {
            problem = StoreError(wrapping: error, log.name)
        }
        isDone = reachedEnd || problem != nil || next > through
    }
}
