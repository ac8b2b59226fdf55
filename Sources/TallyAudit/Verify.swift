public import TallyCore
internal import TallyStore

/// Looks for contradictions in a ledger, level by level, and says what it did not look at.
///
/// A shard that fails a level is left out of the levels above, where its messages count as unknown;
/// the other shards go on. Orphans are not findings: a ledger killed in mid-flight verifies clean.
public enum Verify {
    /// Verifies a ledger up to a level, at its cut.
    ///
    /// - Parameters:
    ///   - program: `Opaque` leaves the application's state and law unchecked, and says so.
    ///   - audit: The ledger, and the cut up to which it is read.
    ///   - level: The deepest level; those before it are checked, too.
    ///   - progress: Called now and then with the level and the events seen in it so far.
    public static func run<P: Program>(
        _ program: P.Type, _ audit: AuditLedger, through level: VerifyLevel = .books,
        progress: ((VerifyLevel, UInt64) -> Void)? = nil
    ) throws -> VerifyReport {
        try audit.reading {
            let pass = VerifyPass<P>(audit, level, progress)
            return try pass.run()
        }
    }
}

final class VerifyPass<P: Program> {
    let audit: AuditLedger
    let level: VerifyLevel
    private let progress: ((VerifyLevel, UInt64) -> Void)?
    private var levels: [VerifiedLevel] = []
    private(set) var findings: [VerifyFinding] = []
    private(set) var notChecked: [String] = []
    private(set) var notes: [String] = []
    private var isPartial = false
    /// Why a shard is left out from here on.
    private(set) var excluded: [ShardID: StoreError] = [:]
    private var scans: [ShardID: LogScan] = [:]
    private var heads: [ShardID: [Offset: Digest]] = [:]
    private(set) var states: [ShardID: ShardState<P>] = [:]
    private(set) var joined: Joined?

    init(
        _ audit: AuditLedger, _ level: VerifyLevel,
        _ progress: ((VerifyLevel, UInt64) -> Void)?
    ) {
        self.audit = audit
        self.level = level
        self.progress = progress
    }

    var directory: ShardDirectory { audit.directory }
    var manifest: Manifest { audit.manifest }

    func note(_ text: String) { notes.append(text) }
    func leaveUnchecked(_ text: String) { notChecked.append(text) }

    func exclude(_ shard: ShardID, _ problem: StoreError, after level: VerifyLevel) {
        isPartial = true
        guard excluded[shard] == nil else { return }
        excluded[shard] = problem
        if let next = VerifyLevel.allCases.first(where: { $0 > level }), next <= self.level {
            leaveUnchecked(
                "\(directory.name(of: shard)): \(next.rawValue) and above, because \(problem.text)")
        }
    }

    /// The logs that are still in, in the manifest's order.
    var usable: [(shard: ShardID, log: any LogReading)] {
        audit.shards.compactMap { shard in
            guard excluded[shard.shard] == nil, let log = shard.log else { return nil }
            return (shard.shard, log)
        }
    }

    func run() throws -> VerifyReport {
        for current in VerifyLevel.allCases where current <= level {
            let before = findings.count
            let counter = ProgressCounter(progress.map { progress in { progress(current, $0) } })
            let items: UInt64
            switch current {
            case .structure: items = checkStructure()
            case .commits: items = checkCommits(counter)
            case .chain: items = try checkChain(counter)
            case .fold: items = checkFold(counter)
            case .halves: items = try checkHalves(counter)
            case .books: items = checkBooks()
            }
            // Logs without messages have nothing to join; that they have none was checked.
            let isChecked =
                current >= .halves
                ? scans.values.contains { $0.events > 0 } && !usable.isEmpty
                : items > 0
            if !isChecked { leaveUnchecked("\(current.rawValue): there was nothing to check") }
            levels.append(
                VerifiedLevel(
                    level: current, isChecked: isChecked, items: items,
                    findings: UInt64(findings.count - before)))
        }
        return VerifyReport(
            levels: levels, findings: findings, notChecked: notChecked, notes: notes,
            isPartial: isPartial)
    }

    func add(_ finding: VerifyFinding) { findings.append(finding) }

    // MARK: Structure, commits, chain

    private func checkStructure() -> UInt64 {
        var pages: UInt64 = 0
        for shard in audit.shards {
            if let problem = shard.problem, shard.log == nil {
                if problem.code == .damaged || problem.code == .emptyData {
                    add(VerifyFinding(.structure, "structure", shard.shard, text: problem.text))
                }
                exclude(shard.shard, problem, after: .structure)
                if problem.code != .damaged, problem.code != .emptyData {
                    leaveUnchecked("\(shard.name): structure, because \(problem.text)")
                }
                continue
            }
            guard let ledger = audit.ledger, let log = shard.log else {
                pages += 1
                continue
            }
            do {
                pages += try structure(of: shard, ledger, log)
            } catch {
                let problem = StoreError(wrapping: error, shard.name)
                add(VerifyFinding(.structure, "structure", shard.shard, text: problem.text))
                exclude(shard.shard, problem, after: .structure)
            }
        }
        return pages
    }

    /// Beside a running writer a read transaction is held, so that no page is used again meanwhile.
    private func structure(
        of shard: AuditShard, _ ledger: Ledger, _ log: any LogReading
    ) throws -> UInt64 {
        guard shard.isLive, let log = log as? LMDBLog else {
            return try ledger.checkStructure(shard.shard)
        }
        return try log.holdingPages { try ledger.checkStructure(shard.shard) }
    }

    private func checkCommits(_ counter: ProgressCounter) -> UInt64 {
        let logs = usable
        let found = Parallel.map(logs.count) { index in
            let (shard, log) = logs[index]
            var scan = LogScan(
                shard, directory.name(of: shard), from: manifest.first(of: shard),
                through: audit.cut.through(shard))
            scan.scanCommits(log, counter)
            return scan
        }
        for scan in found {
            scans[scan.shard] = scan
            scan.findings.forEach(add)
            if let problem = scan.problem { exclude(scan.shard, problem, after: .commits) }
        }
        return found.reduce(0) { $0 + $1.commits }
    }

    private func checkChain(_ counter: ProgressCounter) throws -> UInt64 {
        var wanted: [ShardID: Set<Offset>] = [:]
        for scan in scans.values {
            for witness in scan.witnessed {
                wanted[witness.peer, default: []].insert(witness.peerOffset)
            }
        }
        let logs = usable
        let seeds = logs.map { Hashing.seed(ledger: manifest.id, shard: $0.shard) }
        let found = Parallel.map(logs.count) { index in
            let (shard, log) = logs[index]
            return ChainScan(
                shard, log, seed: seeds[index], through: audit.cut.through(shard),
                wanted: wanted[shard] ?? [], counter)
        }
        for (index, scan) in found.enumerated() {
            let shard = logs[index].shard
            scan.findings.forEach(add)
            heads[shard] = scan.heads
            if let problem = scan.problem { exclude(shard, problem, after: .chain) }
        }
        for (shard, log) in logs { try checkMark(shard, log) }
        return found.reduce(0) { $0 + $1.commits }
    }

    private func checkMark(_ shard: ShardID, _ log: any LogReading) throws {
        guard let ledger = audit.ledger, !manifest.isSealed else { return }
        // First the mark, then the end: what was released before is in the log by then.
        guard let mark = Mark.read(ledger.markPath(of: shard)) else {
            if audit.cut.through(shard) != .none {
                note(
                    "\(directory.name(of: shard)) has no mark: it would not notice a lost tail"
                )
            }
            return
        }
        let name = directory.name(of: shard)
        if let conflict = try Ledger.compare(mark, log.end(), log, name) {
            add(
                VerifyFinding(
                    .chain, "behind-mark", shard, mark.position.offset, text: conflict.text))
        }
    }

    // MARK: Fold

    private func checkFold(_ counter: ProgressCounter) -> UInt64 {
        let logs = usable
        let folds = Parallel.map(logs.count) { index in
            FoldCheck<P>(audit, logs[index].shard, logs[index].log, counter)
        }
        for fold in folds {
            fold.findings.forEach(add)
            fold.notes.forEach(note)
            if let problem = fold.problem { exclude(fold.shard, problem, after: .fold) }
            states[fold.shard] = fold.state
        }
        if !manifest.isNative {
            leaveUnchecked(
                "fold: the rules of sessions and sequences, because the logs are a foreign import")
        }
        if P.self == Opaque.self {
            leaveUnchecked(
                "fold: the application's state, because "
                    + (manifest.program.isEmpty
                        ? "the ledger names no program"
                        : "the program \(manifest.program) is not part of this tool"))
        }
        return folds.reduce(0) { $0 + $1.state.eventCount }
    }

    // MARK: Halves

    private func checkHalves(_ counter: ProgressCounter) throws -> UInt64 {
        let joined = try Join.run(
            audit, at: nil, comparesBytes: true, excluding: excluded,
            progress: { _ in })
        counter.add(joined.events)
        self.joined = joined
        for finding in joined.findings { report(finding) }
        var items = joined.messages
        for scan in scans.values.sorted(by: { $0.shard < $1.shard })
        where excluded[scan.shard] == nil {
            for witness in scan.witnessed {
                items += 1
                check(witness)
            }
        }
        return items
    }

    private func check(_ witness: WitnessedHead) {
        guard directory.contains(witness.peer), excluded[witness.peer] == nil,
            let scan = scans[witness.peer]
        else {
            leaveUnchecked(
                "halves: the head witnessed at \(directory.address(witness.shard, witness.offset)),"
                    + " because the log of \(directory.name(of: witness.peer)) was not read")
            return
        }
        if heads[witness.peer]?[witness.peerOffset] == witness.head { return }
        let place = directory.address(witness.peer, witness.peerOffset)
        let own = directory.address(witness.shard, witness.offset)
        let isAccepted = scan.losses.contains {
            $0.peer == witness.shard && witness.offset <= $0.statementOffset
        }
        if isAccepted {
            note(
                "the head of \(place) that \(own) witnessed was lost, and an operator accepted that"
            )
            return
        }
        add(
            VerifyFinding(
                .halves, "witnessed-head", witness.shard, witness.offset,
                text: "\(own) has witnessed another head at \(place) than the log of"
                    + " \(directory.name(of: witness.peer)) has there: that log was rewritten, or"
                    + " lost its tail",
                evidence: [
                    Evidence(witness.shard, witness.offset),
                    Evidence(witness.peer, witness.peerOffset),
                ]))
    }
}
