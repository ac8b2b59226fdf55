/// The fold. It is total: any sequence of well-formed events folds without trapping, and what breaks
/// a law becomes an anomaly.
extension MessagingState {
    /// Folds every event of a commit.
    @inline(__always)
    public mutating func fold(_ commit: CommitView) {
        timestamp = commit.timestamp
        let time = commit.timestamp
        let commitEpoch = commit.epoch
        commit.forEach { view in fold(view, timestamp: time, epoch: commitEpoch) }
    }

    /// Folds one event.
    ///
    /// - Complexity: O(1) amortized; allocates only when a ring grows.
    @inline(__always)
    public mutating func fold(_ view: EventView, timestamp: Timestamp, epoch: Epoch) {
        offset = view.offset
        self.timestamp = timestamp
        switch view.kind {
        case .sent: foldSent(view)
        case .received: foldReceived(view)
        case .answered: foldAnswered(view)
        case .acknowledged: foldSettled(view, isTimeout: false)
        case .timedOut: foldSettled(view, isTimeout: true)
        case .noted: break
        default: foldRare(view, epoch: epoch)
        }
    }

    mutating func note(_ code: Anomaly.Code, _ view: EventView) {
        anomalyCount += 1
        if anomalies.count < Self.anomaliesMax {
            anomalies.append(
                Anomaly(
                    code: code, offset: view.offset, peer: view.peer, sequence: view.sequence))
        }
    }

    @inline(__always)
    private mutating func index(of view: EventView) -> Int? {
        let index = Int(view.peer.rawValue)
        guard index < peers.count else {
            note(.unknownPeer, view)
            return nil
        }
        return index
    }

    @inline(__always)
    private mutating func foldSent(_ view: EventView) {
        guard let index = index(of: view) else { return }
        let sequence = view.sequence
        if sequence != peers[index].next, rules.native { note(.sentOutOfSequence, view) }
        peers[index].counts.sent &+= 1
        // A foreign log may hold its sends in any order.
        if sequence >= peers[index].next || !rules.native {
            peers[index].next = max(peers[index].next, sequence.next)
            if rules.answers {
                peers[index].pending.set(
                    sequence,
                    PendingSend(offset: view.offset, sentAt: timestamp, deadline: view.deadline))
            }
        }
    }

    @inline(__always)
    private mutating func foldReceived(_ view: EventView) {
        guard let index = index(of: view) else { return }
        let sequence = view.sequence
        let settled = SequenceNumber(view.word(72))
        let isExpired = view.outcome == .expired
        if isExpired {
            peers[index].counts.expired &+= 1
        } else {
            peers[index].counts.applied &+= 1
        }
        if settled >= sequence { note(.settledBeyondItself, view) }
        if sequence <= peers[index].floor {
            note(.receivedBelowFloor, view)
            return
        }
        if settled > peers[index].floor, settled < sequence { raiseFloor(index, to: settled) }
        if peers[index].receipts[sequence] != nil {
            note(.receivedTwice, view)
            return
        }
        if peers[index].isOrdered, rules.native {
            let expected = max(peers[index].receivedThrough, peers[index].floor).next
            if sequence != expected { note(.receivedOutOfOrder, view) }
        }
        peers[index].receipts.set(
            sequence, Receipt(offset: view.offset, answer: .none, isExpired: isExpired))
        if rules.answers, !isExpired { peers[index].owed &+= 1 }
        if sequence > peers[index].receivedThrough { peers[index].receivedThrough = sequence }
        witness(index, Offset(view.word(64)), at: view.offset)
    }

    /// A receipt that is still owed stays known when the floor passes it: its answer may still come.
    private mutating func raiseFloor(_ index: Int, to floor: SequenceNumber) {
        peers[index].floor = floor
        peers[index].receipts.removeThrough(floor) { $0.isOwed }
    }

    @inline(__always)
    private mutating func witness(_ index: Int, _ peerOffset: Offset, at offset: Offset) {
        if peerOffset > peers[index].witness.offset {
            peers[index].witness.offset = peerOffset
            peers[index].witness.recordedAt = offset
        }
    }

    @inline(__always)
    private mutating func foldAnswered(_ view: EventView) {
        guard let index = index(of: view) else { return }
        peers[index].counts.answered &+= 1
        let sequence = view.sequence
        guard var receipt = peers[index].receipts[sequence], !receipt.isExpired else {
            note(.answeredWithoutReceipt, view)
            return
        }
        guard receipt.answer == .none else {
            note(.answeredTwice, view)
            return
        }
        if peers[index].owed > 0 { peers[index].owed -= 1 }
        if sequence <= peers[index].floor {
            peers[index].receipts.remove(sequence)
        } else {
            receipt.answer = view.offset
            peers[index].receipts.set(sequence, receipt)
        }
    }

    @inline(__always)
    private mutating func foldSettled(_ view: EventView, isTimeout: Bool) {
        guard let index = index(of: view) else { return }
        if isTimeout {
            peers[index].counts.timedOut &+= 1
        } else {
            peers[index].counts.acknowledged &+= 1
        }
        if peers[index].pending.remove(view.sequence) == nil { note(.settledWithoutSend, view) }
        peers[index].attempt = 0
        if view.reason == .forced {
            peers[index].forced.append(view.sequence)
        } else {
            witness(index, Offset(view.word(56)), at: view.offset)
        }
    }

    private mutating func foldRare(_ view: EventView, epoch: Epoch) {
        let event = view.event
        switch event.kind {
        case .opened:
            if epoch.rawValue != self.epoch.rawValue &+ 1 { note(.epochJump, view) }
            self.epoch = epoch
            foldVersion = event.foldVersion
            sessions.append((Session(epoch: epoch, nonce: event.identity), view.offset))
        case .commanded:
            foldCommanded(event, view)
        case .reemitted:
            guard let index = index(of: view) else { return }
            if event.through >= peers[index].next { note(.reemittedWithoutSend, view) }
            peers[index].attempt = event.attempt
            peers[index].counts.reemitted &+= 1
        case .conflicted:
            guard let index = index(of: view) else { return }
            if peers[index].conflicts.count < PeerState.conflictsMax {
                peers[index].conflicts.append(
                    ConflictRecord(
                        sequence: event.sequence, reason: event.reason, offered: event.offered))
            }
        case .witnessed:
            guard let index = index(of: view) else { return }
            if event.peer == shard { note(.witnessedItself, view) }
            foldWitnessed(event, index)
        case .intervened:
            if event.reason == .clock {
                admittedDifference = max(admittedDifference, event.difference)
            }
            guard event.reason == .peer, let index = index(of: view) else { return }
            foldAccepted(event, index)
        default:
            break
        }
        if rules.native, sessions.isEmpty { note(.noSession, view) }
    }

    private mutating func foldCommanded(_ event: Event, _ view: EventView) {
        var client = clients[event.identity] ?? ClientState()
        // Taken out and put back, so that the map inside is changed in place.
        clients[event.identity] = nil
        if client.records[event.sequence] != nil { note(.commandedTwice, view) }
        client.records.set(event.sequence, CommandRecord(offset: view.offset))
        client.highest = max(client.highest, event.sequence)
        client.settledThrough = max(client.settledThrough, event.settledThrough)
        var forgotten = client.settledThrough
        if client.highest.rawValue > ClientState.rememberedMax {
            let low = SequenceNumber(client.highest.rawValue - ClientState.rememberedMax)
            forgotten = max(forgotten, low)
        }
        client.records.removeThrough(forgotten) { _ in false }
        clients[event.identity] = client
    }

    private mutating func foldWitnessed(_ event: Event, _ index: Int) {
        peers[index].witness.headOffset = event.peerOffset
        if peers[index].witness.session != event.peerSession {
            peers[index].witness.session = event.peerSession
            peers[index].witness.offset = event.peerOffset
            peers[index].witness.recordedAt = offset
        } else {
            witness(index, event.peerOffset, at: offset)
        }
    }

    /// Where the history that a statement names parts from this log: the last offset they share.
    ///
    /// The named session's end if this log has it. Else nothing is known to be shared: epochs do not
    /// tell, for after an old copy was put into place sessions of the same epochs began again.
    func cut(of session: Session) -> Offset {
        if let index = sessions.lastIndex(where: { $0.session == session }) {
            return index + 1 < sessions.count
                ? Offset(sessions[index + 1].first.rawValue - 1) : offset
        }
        return .none
    }

    /// An operator accepted that the tail which the peer has seen is lost.
    ///
    /// Own sends are closed as lost when the peer holds other bytes under their name (made after the
    /// cut, at or below what it received) or would drop them (at or below its floor).
    private mutating func foldAccepted(_ event: Event, _ index: Int) {
        var statement = Statement()
        statement.session = event.peerSession
        statement.offset = event.peerOffset
        statement.statementOffset = event.statementOffset
        statement.receivedThrough = event.receivedThrough
        statement.floor = event.floor
        statement.settledThrough = event.settledThrough
        peers[index].accepted.append(statement)
        let cut = cut(of: event.peerSession)
        var lost: [SequenceNumber] = []
        peers[index].pending.forEach { sequence, send in
            if sequence <= event.floor
                || (sequence <= event.receivedThrough && send.offset > cut)
            {
                lost.append(sequence)
            }
            return sequence <= max(event.floor, event.receivedThrough)
        }
        for sequence in lost { peers[index].pending.remove(sequence) }
        peers[index].counts.lost &+= UInt64(lost.count)
        let held = max(event.floor, event.receivedThrough)
        if held.next > peers[index].next { peers[index].next = held.next }
        if event.settledThrough > peers[index].floor {
            raiseFloor(index, to: event.settledThrough)
        }
    }
}
