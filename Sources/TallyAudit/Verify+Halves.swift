internal import TallyCore
internal import TallyStore

extension VerifyPass {
    /// What the join says about one message: a contradiction is a finding, the rest is a note.
    func report(_ finding: HalfFinding) {
        let name = directory.text(finding.message)
        let code: String
        let text: String
        switch finding.class {
        case .conflicting:
            code = "conflicting"
            text = "\(name) was received with other bytes than were sent"
        case .unsent:
            code = "unsent"
            text = "\(name) was received, and its origin has not sent it"
        case .overruled:
            code = "overruled"
            text = "\(name) was timed out by force, and its destination had applied it"
        case .unfounded:
            code =
                finding.detail == .otherOutcome || finding.detail == .noExpiry
                ? finding.detail.rawValue : "unfounded"
            text = "\(name) \(unfounded(finding.detail))"
        case .repeated:
            guard manifest.isNative else { return }
            code = "repeated"
            text = "\(name) was received more than once"
        case .lost:
            note("\(name) was lost with a tail that an operator accepted")
            return
        case .outside, .unknown:
            return
        }
        add(
            VerifyFinding(
                .halves, code, finding.evidence.last?.shard, finding.evidence.last?.offset,
                message: finding.message, text: text, evidence: finding.evidence))
    }

    private func unfounded(_ detail: HalfFinding.Detail) -> String {
        switch detail {
        case .none, .noReceipt: "was acknowledged, and its destination has not received it"
        case .noAnswer: "was acknowledged, and its destination has not answered it"
        case .otherOutcome: "was acknowledged with another outcome than its destination recorded"
        case .noExpiry: "was timed out, and its destination has not recorded that it expired"
        case .noSend: "was settled, and never sent"
        }
    }

    // MARK: Books

    /// Balances each channel, counted from opposite logs, and asks the program for its own law.
    func checkBooks() -> UInt64 {
        var items: UInt64 = 0
        for (channel, summary) in joined?.channels ?? [] {
            let name = directory.text(channel)
            guard states[channel.origin] != nil, states[channel.destination] != nil,
                excluded[channel.origin] == nil, excluded[channel.destination] == nil
            else {
                leaveUnchecked("books: \(name), because one of its logs was not read")
                continue
            }
            if summary.books.isBounded {
                leaveUnchecked("books: \(name), because a window hides one of its halves")
                continue
            }
            items += 1
            if manifest.hasAnswers {
                balance(channel, summary)
            } else {
                balanceOneWay(channel, summary)
            }
        }
        checkLaw()
        return items
    }

    private func balance(
        _ channel: Channel, _ left: UInt64, _ leftText: String, _ right: Int64,
        _ rightText: String
    ) {
        guard Int64(clamping: left) != right else { return }
        add(
            VerifyFinding(
                .books, "books",
                text: "\(directory.text(channel)) does not balance: \(leftText) is \(left),"
                    + " \(rightText) is \(right)"))
    }

    private func balance(_ channel: Channel, _ summary: ChannelSummary) {
        guard let origin = states[channel.origin]?.messaging.peer(channel.destination)?.counts,
            let destination = states[channel.destination]?.messaging.peer(channel.origin)?.counts
        else { return }
        let books = summary.books
        func sum(_ plus: [UInt64], minus: [UInt64] = []) -> Int64 {
            plus.reduce(0) { $0 &+ Int64(clamping: $1) }
                &- minus.reduce(0) { $0 &+ Int64(clamping: $1) }
        }
        balance(
            channel, destination.applied, "receipts applied",
            sum(
                [
                    origin.acknowledged, summary.owed, summary.unacknowledged, summary.overruled,
                    books.lostApplied,
                ], minus: [books.lostAcknowledged]),
            "acknowledged + owed + unacknowledged (+ overruled, lost)")
        balance(
            channel, destination.expired, "receipts expired",
            sum(
                [origin.timedOut, summary.expired, books.forcedExpired, books.lostExpired],
                minus: [books.forced, books.lostTimedOut]),
            "timed out + expired (+ lost)")
        balance(
            channel, origin.sent, "sent",
            sum([summary.matched, summary.undelivered, books.closedSends]),
            "matching receipts + undelivered (+ closed by an operator)")
        balance(
            channel, origin.lost, "sends closed as lost by the fold",
            sum([books.closedAsLost]), "sends closed as lost by both logs")
    }

    private func balanceOneWay(_ channel: Channel, _ summary: ChannelSummary) {
        balance(
            channel, summary.sent, "sent", Int64(clamping: summary.matched + summary.undelivered),
            "matching receipts + undelivered")
    }

    private func checkLaw() {
        guard P.self != Opaque.self else {
            leaveUnchecked("books: the program's own law, because the program is not at hand")
            return
        }
        guard manifest.isNative else {
            leaveUnchecked("books: the program's own law, because the logs are a foreign import")
            return
        }
        var cut: [(shard: ShardContext, state: P.State)] = []
        for shard in directory.all {
            guard excluded[shard] == nil, let state = states[shard] else {
                leaveUnchecked(
                    "books: the program's own law, because \(directory.name(of: shard)) was not"
                        + " read")
                return
            }
            cut.append((state.context, state.application))
        }
        for sentence in P.law(cut) { add(VerifyFinding(.books, "law", text: sentence)) }
    }
}

/// The level `fold` of one shard: no anomaly, and every snapshot equals the fold.
struct FoldCheck<P: Program> {
    let shard: ShardID
    private(set) var state: ShardState<P>
    private(set) var findings: [VerifyFinding] = []
    private(set) var notes: [String] = []
    private(set) var problem: StoreError?

    init(
        _ audit: AuditLedger, _ shard: ShardID, _ log: any LogReading, _ counter: ProgressCounter
    ) {
        self.shard = shard
        state = ShardState<P>(context: audit.context(shard), manifest: audit.manifest)
        let through = audit.cut.through(shard)
        do {
            if let ledger = audit.ledger {
                for offset in Snapshot.offsets(in: ledger, of: shard).reversed() {
                    try compare(offset, ledger, log, through, counter)
                }
            }
            try fold(log, through, counter)
        } catch {
            problem = StoreError(wrapping: error, log.name)
            findings.append(
                VerifyFinding(
                    .fold, "fold", shard, Offset(state.messaging.offset.rawValue + 1),
                    text: problem?.text ?? ""))
        }
        guard audit.manifest.isNative else { return }
        for anomaly in state.messaging.anomalies {
            findings.append(
                VerifyFinding(
                    .fold, anomaly.code.findingCode, shard, anomaly.offset,
                    text: "the event at \(audit.directory.address(shard, anomaly.offset))"
                        + " \(anomaly.code.text)"))
        }
        let untold = state.messaging.anomalyCount - UInt64(state.messaging.anomalies.count)
        if untold > 0 { notes.append("\(log.name) has \(untold) more anomalies than are listed") }
    }

    private mutating func fold(
        _ log: any LogReading, _ through: Offset, _ counter: ProgressCounter
    ) throws {
        var told = state.eventCount
        try state.fold(log, to: .offset(through)) { events in
            counter.add(events - told)
            told = events
        }
        counter.add(state.eventCount - told)
    }

    private mutating func compare(
        _ offset: Offset, _ ledger: Ledger, _ log: any LogReading, _ through: Offset,
        _ counter: ProgressCounter
    ) throws {
        guard offset <= through else {
            notes.append(
                "the snapshot of \(log.name) at \(offset.rawValue) was not compared: it"
                    + " lies behind what was read")
            return
        }
        let snapshot: ShardState<P>
        do {
            snapshot = try Snapshot.read(P.self, in: ledger, of: shard, at: offset, log: log)
        } catch {
            notes.append(
                "the snapshot of \(log.name) at \(offset.rawValue) was not compared: \(error)")
            return
        }
        try fold(log, offset, counter)
        let isEqual =
            snapshot.messaging.encoded() == state.messaging.encoded()
            && P.encode(snapshot.application) == P.encode(state.application)
            && snapshot.position == state.position && snapshot.eventCount == state.eventCount
        guard !isEqual else { return }
        findings.append(
            VerifyFinding(
                .fold, "snapshot-differs", shard, offset,
                text:
                    "the snapshot of \(log.name) at \(offset.rawValue) is not what the log folds"
                    + " to; remove it: it is made anew"))
    }
}
