internal import TallyCore
internal import TallyRuntime
internal import TallyStore

/// The network, and what a run comes across.
extension Run {
    /// An envelope leaves its shard.
    func say(_ envelope: Envelope) {
        let to = envelope.header.receiver
        let bytes = envelope.encoded()
        let (from, index) = (Int(envelope.header.sender.rawValue), Int(to.rawValue))
        if plan.faults.contains(.oldCopy) {
            if old.count < 64 {
                old.append((to, bytes))
            } else if chance(3) {
                old[Int(below(64))] = (to, bytes)
            }
            if has(.oldCopy), chance(5) {
                count(.oldCopy)
                let (shard, bytes) = old[Int(below(UInt64(old.count)))]
                agenda.add(.arrive(shard, bytes), at: world.now + below(plan.latencyMax))
            }
        }
        if !isCalm, cuts[from][index] > 0 { return }
        if has(.drop), chance(plan.dropPercent) {
            count(.drop)
            world.note("  \(world.text(envelope)) is lost")
            return
        }
        var copies: UInt64 = 1
        if has(.repeat), chance(plan.repeatPercent) {
            count(.repeat)
            copies += 1 + below(2)
        }
        for _ in 0..<copies { send(bytes, to) }
    }

    private func send(_ bytes: [UInt8], _ to: ShardID) {
        var bytes = bytes
        var to = to
        var latency = 100_000 + (plan.latencyMax > 1_000_000 ? below(plan.latencyMax) : 300_000)
        if has(.reorder), chance(30) {
            count(.reorder)
            latency += below(20 * plan.latencyMax)
        }
        if has(.delay), chance(10) {
            count(.delay)
            latency += below(chance(20) ? 60_000_000_000 : 2_000_000_000)
        }
        if has(.truncate), chance(2) {
            count(.truncate)
            bytes.removeLast(1 + Int(below(UInt64(bytes.count))))
        }
        if has(.misroute), chance(2) {
            count(.misroute)
            to = anyNode().shard
        }
        agenda.add(.arrive(to, bytes), at: world.now + latency)
    }

    /// Counts what a shard goes through, from its own log.
    func met(_ fact: Fact, _ offset: Offset, _ node: Node) {
        report.events += 1
        if world.trace != nil { world.note(world.text(fact, offset, node)) }
        switch fact.kind {
        case .sent:
            report.messages += 1
            if fact.peer == node.shard { reach(.sentToItself) }
        case .received: if fact.outcome == .expired { reach(.expired) }
        case .answered:
            let receipts = node.facts.channels[Int(fact.peer.rawValue)].received
            if let receipt = node.facts[Facts.at(receipts, fact.sequence)],
                receipt.commitEnd < offset
            {
                reach(.answeredLater)
            }
        case .timedOut: reach(fact.reason == .forced ? .forced : .timedOut)
        case .reemitted: reach(fact.reason == .deadline ? .reemittedForDeadline : .reemitted)
        case .conflicted: reach(fact.reason == .overruled ? .overruled : .conflict)
        default: break
        }
        if fact.commitEnd.rawValue - offset.rawValue > 8 { reach(.groupCommit) }
    }

    /// Takes a shard's counters before its engine is gone.
    func collect(_ node: Node) {
        guard let counters = node.engine?.machine.counters else { return }
        if counters.repeated > 0 { reach(.messageRepeated) }
        if counters.belowFloor > 0 { reach(.messageBelowFloor) }
        if counters.early > 0 { reach(.messageEarly) }
        if counters.refused > 0 { reach(.messageRefused) }
        if counters.unheard > 0 { reach(.envelopeUnheard) }
        if counters.late > 0 { reach(.answerLate) }
        if counters.skewHeard > 0 { reach(.clockSkewRefused) }
    }
}

extension World {
    /// One line about an envelope.
    func text(_ envelope: Envelope) -> String {
        let (from, to) = (envelope.header.sender, envelope.header.receiver)
        let link = "\(name(from)) -> \(directory.contains(to) ? name(to) : "?")"
        func list(_ sequences: [SequenceNumber]) -> String {
            sequences.map { "\($0.rawValue)" }.joined(separator: ",")
        }
        switch envelope.content {
        case .deliver(let items): return "\(link) deliver \(list(items.map(\.sequence)))"
        case .answer(let items):
            return "\(link) answer "
                + items.map { "\($0.sequence.rawValue) \($0.result)" }.joined(separator: ", ")
        case .confirmAsk(let statement): return "\(link) confirm? @\(statement.offset.rawValue)"
        case .confirmed(let statement): return "\(link) confirmed @\(statement.offset.rawValue)"
        case .conflict(let items): return "\(link) conflict \(list(items.map(\.sequence)))"
        case .refused(let items): return "\(link) refused \(list(items.map(\.sequence)))"
        }
    }
}
