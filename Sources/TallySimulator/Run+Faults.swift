internal import TallyAudit
internal import TallyCore
internal import TallyRuntime
internal import TallyStore

extension Fault {
    /// Whether it happens at moments; the others belong to envelopes, or to the run as a whole.
    var isEvent: Bool {
        switch self {
        case .drop, .repeat, .delay, .reorder, .oldCopy, .truncate, .misroute, .clockRate,
            .hotShard, .buggify:
            false
        default: true
        }
    }

    /// How often it happens in one run at most.
    var timesMax: UInt64 {
        switch self {
        case .restore, .lyingFlush, .lostMark, .clockAhead, .full: 2
        case .force: 3
        default: 6
        }
    }
}

/// What happens to shards, disks and clocks.
extension Run {
    /// What is fixed for the whole run about a shard.
    func draw(_ node: Node) {
        if plan.faults.contains(.clockRate) {
            node.clockRate = Int64(below(400)) - 200
            count(.clockRate)
        }
        if plan.faults.contains(.hotShard) { count(.hotShard) }
        node.clockOffset = Int64(below(200_000_000)) - 100_000_000
    }

    func happen(_ fault: Fault) throws {
        let node = anyNode()
        let index = desk(node)
        switch fault {
        case .kill, .power, .reopen, .restore, .tornWrite, .appendError, .errorAfterEffect,
            .flushError, .lostMark:
            try strike(fault, node)
        case .pause:
            guard node.engine != nil else { return }
            count(fault)
            desks[index].pausedUntil = world.now + below(plan.gap * 8 + 1_000_000_000)
            world.note("\(world.name(node.shard)) stands still")
        case .full:
            count(fault)
            reach(.diskFull)
            let isMessagesToo = chance(50)
            desks[index].pressure = isMessagesToo ? .refusesMessages : .refusesCommands
            node.engine?.setPressure(desks[index].pressure)
            if chance(50) { node.disk.fault = .full }
            endLater(fault, node)
        case .slowDisk:
            desks[index].isSlow = true
            endLater(fault, node)
        case .lyingFlush:
            count(fault)
            node.disk.isLying = true
            endLater(fault, node)
        case .snapshot:
            guard node.engine != nil else { return }
            count(fault)
            try flush(node)
            try world.cutSnapshot(node)
            if chance(25), let bytes = node.snapshot {
                var damaged = bytes
                damaged[Int(below(UInt64(bytes.count)))] ^= 1 << UInt8(below(8))
                node.snapshot = damaged
            }
        case .partition, .oneWay: cut(fault)
        case .clockJump, .clockFreeze, .clockAhead: turn(fault, node)
        case .burst:
            count(fault)
            burst += Int(below(40))
        case .askAgain:
            count(fault)
            try askAgain(node)
        case .plan: try recover(node)
        case .force: try force(node)
        case .drop, .repeat, .delay, .reorder, .oldCopy, .truncate, .misroute, .clockRate,
            .hotShard, .buggify:
            break
        }
    }

    /// Processes and disks.
    private func strike(_ fault: Fault, _ node: Node) throws {
        guard node.engine != nil else { return }
        if fault != .tornWrite { count(fault) }
        switch fault {
        case .kill:
            collect(node)
            world.kill(node)
        case .power:
            collect(node)
            world.losePower(node)
        case .reopen:
            collect(node)
            try world.close(node)
        case .restore:
            collect(node)
            let commits = node.disk.commits.count
            let back = min(UInt64(commits), 1 + below(UInt64(chance(50) ? 4 : commits)))
            world.restore(node, to: commits - Int(back), withMark: chance(70))
        case .lostMark:
            collect(node)
            world.kill(node)
            node.disk.loseMark()
        default:
            let faults: [DiskFault] =
                switch fault {
                case .tornWrite:
                    [
                        .powerBeforeAppend, .powerAfterAppend, .powerBeforeFlush, .powerAfterFlush,
                        .powerInMark,
                    ]
                case .appendError: [.appendError]
                case .errorAfterEffect: [.appendErrorAfterEffect, .flushErrorAfterEffect]
                default: [.flushError]
                }
            node.disk.fault = faults[Int(below(UInt64(faults.count)))]
            if fault == .tornWrite { count(fault) }
            switch node.disk.fault {
            case .powerAfterAppend?: reach(.powerLostInAppend)
            case .powerInMark?: reach(.powerLostInMark)
            case .appendError?: reach(.appendFailed)
            case .flushError?: reach(.flushFailed)
            default: break
            }
            return
        }
        fell(node)
    }

    private func endLater(_ fault: Fault, _ node: Node) {
        let length = 1 + below(plan.gap * 20 + 5_000_000_000)
        agenda.add(.end(fault, node.shard), at: world.now + length)
    }

    func end(_ fault: Fault, _ node: Node) {
        let index = desk(node)
        switch fault {
        case .full:
            desks[index].pressure = .none
            node.engine?.setPressure(.none)
        case .slowDisk: desks[index].isSlow = false
        case .lyingFlush:
            // Sometimes the disk gets away with it, sometimes the power fails now.
            if chance(50), node.engine != nil, !isCalm {
                collect(node)
                world.losePower(node)
                if node.hasForked { reach(.promiseLost) }
                fell(node)
            }
            node.disk.isLying = false
            if node.engine == nil { node.disk.settle() }
        case .clockFreeze: node.frozenAt = nil
        case .clockJump, .clockAhead: node.clockOffset = 0
        case .partition, .oneWay:
            for from in cuts.indices {
                for to in cuts.indices where cuts[from][to] > 0 { cuts[from][to] -= 1 }
            }
        default: break
        }
    }

    private func cut(_ fault: Fault) {
        count(fault)
        guard world.nodes.count > 1 else { return }
        let length = 1 + below(plan.gap * 4 + 10_000_000_000)
        if fault == .oneWay {
            let from = Int(below(UInt64(world.nodes.count))) + 1
            let to = Int(below(UInt64(world.nodes.count))) + 1
            cuts[from][to] = 1
        } else {
            let side = random.next()
            for from in 1..<cuts.count {
                for to in 1..<cuts.count
                where side >> UInt64(from) & 1 != side >> UInt64(to) & 1 { cuts[from][to] = 1 }
            }
        }
        agenda.add(.end(fault, ShardID(1)), at: world.now + length)
    }

    private func turn(_ fault: Fault, _ node: Node) {
        count(fault)
        switch fault {
        case .clockFreeze: world.freeze(node)
        case .clockJump: node.clockOffset = Int64(below(1_800_000_000)) - 900_000_000
        default:
            // Up to a minute ahead: peers do not follow.
            node.clockOffset = 1_000_000_000 + Int64(below(60_000_000_000))
        }
        world.note("\(world.name(node.shard)): \(fault.rawValue)")
        endLater(fault, node)
    }

    func pending(of node: Node) -> [MessageName] {
        guard let messaging = node.engine?.machine.messaging else { return [] }
        var names: [MessageName] = []
        for peer in world.nodes {
            messaging.peer(peer.shard)?.pending.forEach { sequence, _ in
                names.append(MessageName(from: node.shard, to: peer.shard, sequence))
                return true
            }
        }
        return names
    }

    private func recover(_ node: Node) throws {
        let names = pending(of: node).filter { _ in chance(50) }
        guard !names.isEmpty, node.engine?.stop == nil else { return }
        count(.plan)
        reach(.recoveredByPlan)
        try world.take(
            .recover(
                plan: Bytes16(low: random.next(), high: 1), Array(names.prefix(3)),
                reason: Array("by hand".utf8)),
            node)
        rest(node)
    }

    private func force(_ node: Node) throws {
        let names = pending(of: node)
        guard !names.isEmpty, node.engine?.stop == nil else { return }
        count(.force)
        world.hasForced = true
        try world.take(
            .force(names[Int(below(UInt64(names.count)))], reason: Array("forced".utf8)), node)
        rest(node)
    }
}
