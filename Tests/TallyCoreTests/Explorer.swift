import TallyCore
import Testing

/// A seeded random walk over everything that shards and a hostile network can do, with the
/// protocol's laws checked as it goes. Old copies of logs are put into place only when asked for:
/// then a shard may stop over a fork and be accepted, and what was lost is lost.
final class Explorer {
    let duel: Duel
    let seed: UInt64
    private var random: SplitMix64
    /// Messages that a shard's log holds as received, and as settled.
    private var received: [Set<MessageName>]
    private var settled: [Set<MessageName>]
    private var stepCount = 0
    private(set) var failures: [String] = []
    /// Whether operators time messages out by force.
    private let forces: Bool
    /// Whether old copies of logs are put into place.
    private let restores: Bool
    private(set) var stops = 0

    init(shards: Int, seed: UInt64, restores: Bool = false) {
        self.seed = seed
        self.restores = restores
        random = SplitMix64(seed: seed)
        forces = seed % 4 == 0
        var rules = MessagingState.Rules()
        rules.ordered = seed % 3 != 0
        if seed % 5 == 0 { rules.unordered = [Channel(origin: Duel.a, destination: Duel.b)] }
        var options = MachineOptions()
        options.pendingMax = 6
        options.witnessEvery = 8
        options.commitEventsMax = seed % 7 == 0 ? 4 : 65_536
        options.reemitMessagesMax = seed % 2 == 0 ? 3 : 1024
        duel = Duel(
            shards: shards, rules: rules, options: options, seed: seed, connected: seed % 2 == 0)
        received = Array(repeating: [], count: shards)
        settled = Array(repeating: [], count: shards)
        for index in 0..<shards {
            duel.clockError[index] = Int64(random.next() % 400_000_000) - 200_000_000
        }
        duel.onAppend = { [unowned self] shard, records in check(shard, records) }
        duel.onRelease = { [unowned self] envelope, durable in check(envelope, durable) }
        duel.isAutomatic = false
    }

    private func below(_ bound: Int) -> Int { Int(random.next() % UInt64(bound)) }
    private func chance(_ percent: Int) -> Bool { below(100) < percent }
    private func shard() -> ShardID { ShardID(UInt32(below(duel.nodes.count) + 1)) }

    func run(steps: Int) {
        for _ in 0..<steps where failures.isEmpty {
            stepCount += 1
            step()
            for shard in duel.directory.all { checkLive(shard) }
            if stepCount % 25 == 0 { duel.directory.all.forEach(checkSnapshot) }
        }
        guard failures.isEmpty else { return }
        settle()
    }

    private func step() {
        switch below(100) {
        case 0..<22: duel.order(shard(), order())
        case 22..<62: deliver()
        case 62..<66:
            let fresh = duel.fresh
            if !fresh.isEmpty { duel.bag[fresh[below(fresh.count)]].isFresh = false }
        case 66..<78:
            duel.clock += UInt64(below(400_000_000))
            duel.wake(shard())
        case 78..<90: duel.flush(shard())
        case 90..<93: duel.seal(shard())
        case 93..<96: crash(shard())
        case 96..<98: recover(shard())
        default:
            if restores, chance(30) {
                let shard = shard()
                restart(shard, keeping: below(duel.commits(shard) + 1))
            } else if forces, chance(50) {
                force(shard())
            } else {
                recover(shard())
            }
        }
    }

    private func order() -> Order {
        switch below(10) {
        case 0: .refuse
        case 1: .note(UInt32(below(100)))
        case 2, 3: .answerOwed(accepted: chance(70))
        default: .send((0...below(2)).map { _ in errand(depth: 2) })
        }
    }

    private func errand(depth: Int) -> Errand {
        let replies: [Errand.Reply] = [.accept, .accept, .accept, .reject, .later]
        var errand = Errand(shard(), replies[below(replies.count)], mark: UInt32(below(1000)))
        if chance(30) { errand.deadlineAfter = UInt64(1 + below(1_000_000_000)) }
        if depth > 0, chance(25) { errand.then = [self.errand(depth: depth - 1)] }
        if depth > 0, chance(15) { errand.afterwards = [self.errand(depth: depth - 1)] }
        return errand
    }

    private func deliver() {
        let fresh = duel.fresh
        if !fresh.isEmpty, chance(75) {
            duel.deliver(fresh[chance(50) ? 0 : below(fresh.count)])
        } else if !duel.bag.isEmpty {
            duel.deliver(below(duel.bag.count))
        }
    }

    private func accept(_ shard: ShardID) {
        guard let (peer, statement) = duel.refused(shard) else { return }
        restart(shard, keeping: duel.commits(shard))
        duel.input(shard, .intervene(.acceptPeer(peer, statement, reason: [1])))
    }

    private func crash(_ shard: ShardID) {
        if chance(30) { duel.seal(shard) }
        let node = duel[shard]
        restart(shard, keeping: node.durable + below(node.log.commits.count - node.durable + 1))
    }

    private func restart(_ shard: ShardID, keeping count: Int) {
        duel.restore(shard, to: count)
        let index = Int(shard.rawValue) - 1
        received[index] = []
        settled[index] = []
        for record in duel.records(shard) { note(record, shard) }
    }

    private func pending(of shard: ShardID) -> [MessageName] {
        var names: [MessageName] = []
        for other in duel.directory.all {
            duel.messaging(shard).peer(other)?.pending.forEach { sequence, _ in
                names.append(MessageName(from: shard, to: other, sequence))
                return true
            }
        }
        return names
    }

    private func recover(_ shard: ShardID) {
        let names = pending(of: shard).filter { _ in chance(50) }
        // A plan of more ranges than a commit may hold is not for a single step.
        duel.input(
            shard, .recover(plan: Bytes16(low: 1, high: 2), Array(names.prefix(3)), reason: [8]))
    }

    private func force(_ shard: ShardID) {
        let names = pending(of: shard)
        guard !names.isEmpty else { return }
        duel.input(shard, .force(names[below(names.count)], reason: [0]))
    }

    // MARK: Laws

    private func fail(_ text: String) {
        failures.append("seed \(seed), step \(stepCount): \(text)")
    }

    private func checkLive(_ shard: ShardID) {
        if restores, duel.refused(shard) != nil {
            stops += 1
            if chance(20) { accept(shard) }
        } else if let stop = duel.stop(shard) {
            fail(stop.text(duel.directory, shard))
        }
        if duel.messaging(shard).anomalyCount != 0 {
            fail("\(duel.messaging(shard).anomalies)")
        }
    }

    private func note(_ record: LogRecord, _ shard: ShardID) {
        let index = Int(shard.rawValue) - 1
        let event = record.event
        switch event.kind {
        case .received:
            let name = MessageName(from: event.peer, to: shard, event.sequence)
            if !received[index].insert(name).inserted { fail("\(name) received twice") }
        case .acknowledged, .timedOut:
            let name = MessageName(from: shard, to: event.peer, event.sequence)
            if !settled[index].insert(name).inserted { fail("\(name) settled twice") }
        default: break
        }
    }

    /// Every event that rests on the other half is compared with it, where it says that it stands.
    private func check(_ shard: ShardID, _ records: ArraySlice<LogRecord>) {
        for record in records {
            note(record, shard)
            if restores { continue }
            let event = record.event
            guard event.kind == .received || event.kind == .acknowledged || event.kind == .timedOut,
                event.reason != .forced
            else { continue }
            let peer = duel[event.peer]
            guard let other = peer.log.record(at: event.peerOffset),
                other.event.peer == shard, other.event.sequence == event.sequence
            else {
                fail("\(event) rests on nothing")
                continue
            }
            if event.peer != shard {
                let durable = peer.log.position(through: peer.durable).offset
                if event.peerOffset > durable { fail("\(event) rests on what is not durable") }
            }
            if other.timestamp > record.timestamp
                || (other.timestamp == record.timestamp && event.peer != shard)
            {
                fail("\(event) is not later than what it rests on")
            }
            check(event, record, against: other, shard)
        }
    }

    private func check(
        _ event: Event, _ record: LogRecord, against other: LogRecord, _ shard: ShardID
    ) {
        switch event.kind {
        case .received:
            if other.event.kind != .sent
                || other.message(in: event.peer) != record.message(in: shard)
            {
                fail("\(event) has other bytes than were sent")
            }
        case .acknowledged:
            if other.event.kind != .answered || other.event.outcome != event.outcome
                || other.payload != record.payload
            {
                fail("\(event) is another answer than was given")
            }
        default:
            if other.event.kind != .received || other.event.outcome != .expired {
                fail("\(event) without an expired receipt")
            }
        }
    }

    /// What leaves says nothing that is not durable.
    private func check(_ envelope: Envelope, _ durable: LogPosition) {
        let sender = envelope.header.sender
        if restores { return }
        for item in envelope.deliveries {
            if item.offset > durable.offset { fail("a message left before it was durable") }
            let terminal = duel.records(sender).prefix(Int(durable.offset.rawValue)).filter {
                ($0.event.kind == .acknowledged || $0.event.kind == .timedOut)
                    && $0.event.peer == envelope.header.receiver
                    && $0.event.sequence <= item.settledThrough
            }
            if terminal.count != Int(item.settledThrough.rawValue) {
                fail("\(item.settledThrough) is not durable")
            }
        }
        for item in envelope.answers where item.offset > durable.offset {
            fail("an answer left before it was durable")
        }
        if case .confirmAsk(let statement) = envelope.content,
            statement.statementOffset > durable.offset
        {
            fail("a statement left before it was durable")
        }
    }

    /// Folding the log from nothing gives the state; the state's bytes give the state.
    private func checkSnapshot(_ shard: ShardID) {
        duel.seal(shard)
        let node = duel[shard]
        guard let folded = try? node.log.refold(duel.context(shard), rules: duel.rules) else {
            return fail("the log cannot be read")
        }
        let bytes = node.machine.messaging.encoded()
        if folded.messaging.encoded() != bytes { fail("the state is not the fold of the log") }
        if folded.application != node.machine.application {
            fail("the application is not the fold of the log")
        }
        let decoded = MessagingState(
            decoding: bytes[...], shard: shard, shardCount: duel.directory.count,
            rules: duel.rules)
        if decoded?.encoded() != bytes { fail("the state does not survive its bytes") }
    }

    /// A fair phase: nothing crashes, everything that is said anew arrives, owed answers are given.
    private func settle() {
        duel.isAutomatic = true
        for shard in duel.directory.all { duel.flush(shard) }
        for _ in 0..<20 where !duel.bag.isEmpty { duel.deliver(below(duel.bag.count)) }
        duel.lose()
        var accepted = 0
        repeat {
            if !duel.settle(rounds: 300, answering: true) {
                let pending = duel.directory.all.map { "\(duel.messaging($0).pendingCount)" }
                fail("does not settle; pending \(pending)")
            }
            let stopped = duel.directory.all.filter { duel.refused($0) != nil }
            if restores { stopped.forEach(accept) }
            accepted += 1
        } while restores && accepted < 20
            && duel.directory.all.contains { duel.stop($0) != nil || !duel.isQuiet }
        duel.directory.all.forEach(checkLive)
        duel.directory.all.forEach(checkSnapshot)
        if !restores { failures += duel.problems.map { "seed \(seed): \($0)" } }
        for shard in duel.directory.all {
            let orphans = duel.messaging(shard).orphans(now: .greatest) { duel.messaging($0) }
            if !orphans.isEmpty { fail("orphans after everything settled: \(orphans)") }
        }
    }
}
