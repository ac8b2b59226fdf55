internal import TallyAudit
internal import TallyCore
internal import TallyRuntime
internal import TallyStore

/// The second phase: faults stop, and everything settles.
extension Run {
    func calm() throws {
        isCalm = true
        world.note("faults stop")
        for from in cuts.indices { for to in cuts.indices { cuts[from][to] = 0 } }
        for node in world.nodes {
            let index = desk(node)
            node.clockOffset = 0
            node.clockRate = 0
            node.frozenAt = nil
            node.disk.isLying = false
            node.disk.fault = nil
            desks[index].isSlow = false
            desks[index].pausedUntil = 0
            desks[index].pressure = .none
            node.engine?.setPressure(.none)
            if node.engine == nil { try open(node) }
        }
        if plan.isRecoveryOnly {
            try rescue()
        } else if !(try settles()) {
            throw LawBroken("liveness", unsettled())
        }
    }

    private func unsettled() -> String {
        let what = world.nodes.compactMap { node -> String? in
            let name = world.name(node.shard)
            guard let machine = node.engine?.machine else { return "\(name) is down" }
            if let stop = machine.stop { return stop.text(world.directory, node.shard) }
            let deaf = world.nodes.filter { !machine.hears($0.shard) }
            let pending = machine.messaging.pendingCount
            let owed = machine.messaging.owedCount
            guard pending + Int(owed) + deaf.count > 0 else { return nil }
            let unheard = deaf.map { world.name($0.shard) }.joined(separator: ", ")
            return "\(name) has \(pending) pending, \(owed) owed"
                + (deaf.isEmpty ? "" : ", does not hear \(unheard)")
        }
        return "does not settle: " + what.joined(separator: "; ")
    }

    /// Goes on until nothing is pending, or nothing more will happen.
    ///
    /// - Returns: Whether everything is settled.
    private func settles(needsAll: Bool = true) throws -> Bool {
        let end = world.now + Self.settleMax
        var nextAnswer = world.now
        while world.now < end {
            if isQuiet, world.isSettled { return true }
            if world.now >= nextAnswer {
                try answerOwed()
                nextAnswer = world.now + 1_000_000_000
            }
            guard let next = agenda.nextTime, next <= nextAnswer || hasNothingOwed else {
                if agenda.nextTime == nil, hasNothingOwed { return world.isSettled }
                world.now = nextAnswer
                continue
            }
            try advance()
        }
        return world.isSettled
    }

    private var hasNothingOwed: Bool {
        world.nodes.allSatisfy { ($0.engine?.machine.messaging.owedCount ?? 0) == 0 }
    }

    /// Nothing is collected and not durable.
    private var isQuiet: Bool {
        world.nodes.allSatisfy { node in
            node.engine.map {
                $0.machine.commit.isEmpty && $0.end.offset == $0.machine.durable.offset
            } ?? false
        }
    }

    private func answerOwed() throws {
        for node in world.nodes where (node.engine?.machine.messaging.owedCount ?? 0) > 0 {
            guard let command = load.answerOwed(node.context) else { continue }
            try ask(node, command)
        }
    }

    // MARK: Recovery alone

    /// Without retries, what was lost is pending for ever: the audit finds just that, and a plan settles
    /// it.
    private func rescue() throws {
        try drain()
        for node in world.nodes { try checkOrphans(node) }
        let audit = world.audit()
        let found = try Join.run(audit).orphans
        try compare(found)
        var rounds = 0
        while true {
            for node in world.nodes where node.engine == nil { try open(node) }
            let plan = try RecoveryPlan.make(world.audit())
            if plan.entries.isEmpty, world.isSettled { return }
            rounds += 1
            guard rounds < 60 else { throw LawBroken("liveness", unsettled()) }
            for node in world.nodes {
                let own = plan.messages.filter { $0.channel.origin == node.shard }
                guard !own.isEmpty else { continue }
                count(.plan)
                reach(.recoveredByPlan)
                try world.take(
                    .recover(plan: plan.id, own, reason: Array("rescue".utf8)), node)
                rest(node)
            }
            try answerOwed()
            try drain()
        }
    }

    private func drain() throws {
        // Sessions ask each other for ever until they are confirmed; beyond that nothing moves by itself.
        let end = world.now + Self.settleMax
        while let next = agenda.nextTime, next < end { try advance() }
    }

    private func checkOrphans(_ node: Node) throws {
        guard let machine = node.engine?.machine, machine.stop == nil else {
            throw LawBroken("stop", unsettled())
        }
    }

    /// The audit's orphans are those that the facts tell, class by class.
    private func compare(_ found: [Orphan]) throws {
        var expected: [String] = []
        for node in world.nodes {
            for peer in world.nodes {
                let own = node.facts.channels[Int(peer.shard.rawValue)]
                let other = peer.facts.channels[Int(node.shard.rawValue)]
                for index in own.sent.indices where own.sent[index] != 0 {
                    let sequence = SequenceNumber(UInt64(index))
                    guard Facts.at(own.terminal, sequence) == .none else { continue }
                    let name = MessageName(from: node.shard, to: peer.shard, sequence)
                    let receipt = peer.facts[Facts.at(other.received, sequence)]
                    let isAnswered = Facts.at(other.answered, sequence) != .none
                    let kind: OrphanClass =
                        switch receipt?.outcome {
                        case nil: .undelivered
                        case .expired?: .expired
                        default: isAnswered ? .unacknowledged : .owed
                        }
                    expected.append("\(world.directory.text(name)) \(kind.rawValue)")
                    switch kind {
                    case .undelivered: reach(.orphanUndelivered)
                    case .owed: reach(.orphanOwed)
                    case .unacknowledged: reach(.orphanUnacknowledged)
                    default: reach(.orphanExpired)
                    }
                }
            }
        }
        let said = found.map { "\(world.directory.text($0.message)) \($0.class.rawValue)" }
        guard said.sorted() == expected.sorted() else {
            let missing = Set(expected).symmetricDifference(said).sorted().prefix(3)
            throw LawBroken(
                "orphans",
                "\(expected.count) messages were lost, the audit finds \(said.count); they differ in"
                    + " \(missing.joined(separator: ", "))")
        }
    }

    // MARK: The end

    func finish() throws {
        let hasForked = world.nodes.contains(where: \.hasForked)
        for node in world.nodes { try world.checkFold(node) }
        if !hasForked {
            try world.checkHalves()
            if !world.hasForced {
                try world.checkProgram()
                try world.checkAudit()
            }
        }
        let orphans = try Join.run(world.audit()).orphans
        if !hasForked, let orphan = orphans.first {
            throw LawBroken(
                "orphans", "\(world.directory.text(orphan.message)) is an orphan of a settled ledger")
        }
    }

    /// Sums up.
    func close() {
        for node in world.nodes {
            collect(node)
            if let fired = node.engine?.machine.buggify?.fired { world.buggifyFired |= fired }
        }
        for site in Buggify.Site.allCases where world.buggifyFired >> UInt32(site.rawValue) & 1 == 1 {
            report.buggify.insert(site.rawValue)
            report.faults[.buggify, default: 0] += 1
        }
        report.restarts = world.restarts
        report.simulated = world.now
        var heads: [UInt8] = []
        for node in world.nodes { heads += Array(node.disk.end().head.description.utf8) }
        report.digest = Hashing.digest(heads).description
    }
}
