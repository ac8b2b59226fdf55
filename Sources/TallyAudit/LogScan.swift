internal import TallyCore
internal import TallyStore

/// A peer's head as a log has witnessed it.
struct WitnessedHead {
    /// The log that holds the `witnessed`, and where.
    var shard: ShardID
    var offset: Offset
    var peer: ShardID
    var peerOffset: Offset
    var head: Digest
}

/// What a look at every commit of one log came to.
struct LogScan {
    let shard: ShardID
    private let name: String
    private let first: Offset
    private let through: Offset
    private(set) var commits: UInt64 = 0
    private(set) var events: UInt64 = 0
    private(set) var findings: [VerifyFinding] = []
    private(set) var witnessed: [WitnessedHead] = []
    private(set) var losses: [(peer: ShardID, statementOffset: Offset)] = []
    /// Why the log makes no sense from some place on; levels above do not use it then.
    private(set) var problem: StoreError?

    init(_ shard: ShardID, _ name: String, from first: Offset, through: Offset) {
        self.shard = shard
        self.name = name
        self.first = first
        self.through = through
    }

    /// The level `commits`: validity, contiguous offsets, epochs never down, time strictly up.
    mutating func scanCommits(_ log: any LogReading, _ counter: ProgressCounter) {
        var next = first
        var time = Timestamp.none
        var epoch = Epoch.none
        var told: UInt64 = 0
        do {
            try log.forEachCommit(from: first) { commit in
                guard commit.firstOffset <= through else { return false }
                let place = commit.firstOffset
                if place != next {
                    broken(
                        "gap", place,
                        "offset \(next.rawValue) is expected, \(place.rawValue) is there")
                }
                if commit.timestamp <= time {
                    broken("time-back", place, "its time is not behind that of the commit before")
                }
                if commit.epoch < epoch {
                    broken(
                        "epoch-back", place,
                        "epoch \(commit.epoch.rawValue) stands behind epoch \(epoch.rawValue)")
                }
                collect(commit)
                next = Offset(commit.lastOffset.rawValue + 1)
                (time, epoch) = (commit.timestamp, max(epoch, commit.epoch))
                commits += 1
                events += UInt64(commit.eventCount)
                if events - told > 200_000 {
                    counter.add(events - told)
                    told = events
                }
                return true
            }
            if through != Cut.unbounded, next <= through {
                broken(
                    "ends-early", next,
                    "the log ends there, but offset \(through.rawValue) was read before")
            }
        } catch {
            let error = StoreError(wrapping: error, name)
            let what = error.cause.map { "\($0)" } ?? error.text
            broken(
                "damaged-commit", next,
                "\(what); what stands before it can be read, and a copy of the log may hold the rest"
            )
        }
        counter.add(events - told)
    }

    private mutating func broken(_ code: String, _ offset: Offset, _ text: String) {
        let place = "\(name)@\(offset.rawValue)"
        findings.append(VerifyFinding(.commits, code, shard, offset, text: text))
        if problem == nil {
            problem = StoreError(.damaged, "the log of \(name) makes no sense from \(place) on")
        }
    }

    private mutating func collect(_ commit: CommitView) {
        commit.forEach { view in
            let kind = view.kind
            guard kind == .witnessed || kind == .intervened else { return }
            let event = view.event
            if kind == .witnessed {
                witnessed.append(
                    WitnessedHead(
                        shard: shard, offset: view.offset, peer: event.peer,
                        peerOffset: event.peerOffset, head: event.held))
            } else if event.reason == .peer {
                losses.append((event.peer, event.statementOffset))
            }
        }
    }
}

/// The hashes of one log: the level `chain`.
struct ChainScan {
    private(set) var commits: UInt64 = 0
    private(set) var findings: [VerifyFinding] = []
    /// Heads at the offsets asked for, where a commit ends there.
    private(set) var heads: [Offset: Digest] = [:]
    private(set) var problem: StoreError?

    init(
        _ shard: ShardID, _ log: any LogReading, seed: Digest, through: Offset,
        wanted: Set<Offset>, _ counter: ProgressCounter
    ) {
        let name = log.name
        var head = seed
        var events: UInt64 = 0
        do {
            try log.forEachCommit(from: Offset(1)) { commit in
                guard commit.firstOffset <= through else { return false }
                if commit.previousHead != head {
                    let isFirst = commits == 0
                    let what =
                        isFirst
                        ? "does not begin with the seed of this ledger and shard: it is another's"
                        : "does not name the head of the commit before it, which is \(head)"
                    findings.append(
                        VerifyFinding(
                            .chain, isFirst ? "wrong-seed" : "broken-chain", shard,
                            commit.firstOffset,
                            text: "the commit at \(name)@\(commit.firstOffset.rawValue) \(what)"))
                    if problem == nil {
                        problem = StoreError(
                            .damaged,
                            "the chain of \(name) breaks at \(name)@\(commit.firstOffset.rawValue)")
                    }
                }
                head = commit.head
                if wanted.contains(commit.lastOffset) { heads[commit.lastOffset] = head }
                commits += 1
                events += UInt64(commit.eventCount)
                if events > 200_000 {
                    counter.add(events)
                    events = 0
                }
                return true
            }
        } catch {
            problem = StoreError(wrapping: error, name)
        }
        counter.add(events)
    }
}
