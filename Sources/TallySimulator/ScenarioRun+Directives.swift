internal import TallyAudit
internal import TallyCore
internal import TallyRuntime
internal import TallyStore

/// What a scenario can tell a world to do.
extension ScenarioRun {
    func setup(_ words: inout ScenarioWords) throws -> Setup {
        var setup = Setup()
        setup.names = []
        let options = ["unordered", "pendingMax", "retries", "closed"]
        while let name = words.takeKnown({ options.contains($0) ? nil : $0 }) {
            setup.names.append(name)
        }
        guard let directory = ShardDirectory(setup.names) else {
            throw ScenarioMisuse("shards: names of shards are expected, each once")
        }
        while words.peek != nil {
            if words.take("unordered") {
                let channel = try words.need("a channel such as trades-0/collateral-0") {
                    directory.channel($0)
                }
                setup.unordered.append(
                    (Int(channel.origin.rawValue) - 1, Int(channel.destination.rawValue) - 1))
            } else if words.take("pendingMax") {
                setup.options.pendingMax = try words.need("a number") { UInt64($0) }
            } else if words.take("retries") {
                setup.options.retries = try words.need("off") { $0 == "off" ? false : nil }
            } else if words.take("closed") {
                setup.isClosed = true
            } else {
                break
            }
        }
        try words.end()
        return setup
    }

    func perform(_ words: inout ScenarioWords, _ world: World<ScenarioProgram>) throws {
        switch words.verb {
        case "send", "note", "again", "answer": try ask(&words, world)
        case "deliver", "drop", "repeat", "copy", "old", "forge": try carry(&words, world)
        case "crash", "close", "open", "restart", "restore", "accept", "hold", "flush", "snapshot":
            try treat(&words, world)
        case "disk", "room", "clock", "admit", "force", "recover": try intervene(&words, world)
        case "confirm":
            try words.end()
            try confirm(world)
        case "wait":
            let duration = try words.duration()
            try words.end()
            try wait(duration, world)
        case "settle":
            try words.end()
            try settle(world)
        default: try question(&words, world)
        }
    }

    // MARK: Words

    func shard(
        _ words: inout ScenarioWords, _ world: World<ScenarioProgram>
    ) throws -> Node {
        let shard = try words.need("a shard of this scenario") { world.directory.id(of: $0) }
        return world[shard]
    }

    func running(
        _ words: inout ScenarioWords, _ world: World<ScenarioProgram>
    ) throws -> (Node, ShardEngine<ScenarioProgram>) {
        let node = try shard(&words, world)
        guard let engine = node.engine else {
            throw ScenarioMisuse(
                "\(words.verb): \(world.name(node.shard)) is down; restart it first")
        }
        return (node, engine)
    }

    // MARK: Commands

    private func ask(_ words: inout ScenarioWords, _ world: World<ScenarioProgram>) throws {
        let (node, engine) = try running(&words, world)
        if words.verb == "again" {
            try words.end()
            guard let command = commands[node.shard]?.last else {
                throw ScenarioMisuse("again: \(world.name(node.shard)) was asked for nothing yet")
            }
            try ask(command, node, world)
            return
        }
        let lines: [String]
        switch words.verb {
        case "send": lines = try message(&words, world)
        case "note": lines = ["note \(try words.quotation())"]
        default:
            let verdict = words.take("rejected") ? "rejected" : "accepted"
            let owed = engine.machine.application.owed
            let named = words.takeKnown { world.directory.message($0) }
            guard !owed.isEmpty, named.map({ owed.contains($0) }) ?? true else {
                throw ScenarioMisuse("answer: \(world.name(node.shard)) does not owe that")
            }
            lines = ["answer \(verdict)"] + (named.map { [$0] } ?? owed).map(world.directory.text)
        }
        try words.end()
        let sequence = SequenceNumber(UInt64(commands[node.shard, default: []].count + 1))
        let command = Command(
            client: Bytes16(low: 0xC1, high: UInt64(node.shard.rawValue)), sequence: sequence,
            payload: Array(lines.joined(separator: "\n").utf8))
        commands[node.shard, default: []].append(command)
        try ask(command, node, world)
    }

    private func message(
        _ words: inout ScenarioWords, _ world: World<ScenarioProgram>
    ) throws -> [String] {
        let to = try shard(&words, world)
        var lines = [try words.quotation()]
        var deadline: UInt64 = 0
        while let option = words.takeKnown({
            ["deadline", "reply", "then", "afterwards"].contains($0) ? $0 : nil
        }) {
            switch option {
            case "deadline": deadline = try words.duration()
            case "reply":
                lines.append(
                    "reply "
                        + (try words.need("reject or later") {
                            ["reject", "later"].contains($0) ? $0 : nil
                        }))
            default:
                let next = try shard(&words, world)
                lines.append("\(option) \(world.name(next.shard)) \(try words.quotation())")
            }
        }
        return ["send \(world.name(to.shard)) \(deadline)"] + lines
    }

    private func ask(
        _ command: Command, _ node: Node, _ world: World<ScenarioProgram>
    ) throws {
        guard case .command(let outcome)? = try world.take(.command(command), node) else { return }
        switch outcome {
        case .recorded: break
        case .known(let performed):
            let place = world.directory.address(node.shard, performed.offset)
            said.append("\(world.name(node.shard)) knows this command: \(place)")
        case .refused(let refusal):
            said.append("\(world.name(node.shard)) refuses: \(refusal.code): \(refusal.text)")
        }
    }

    // MARK: The network

    private static func kind(_ envelope: Envelope) -> String {
        switch envelope.content {
        case .deliver: "deliver"
        case .answer: "answer"
        case .confirmAsk: "confirm?"
        case .confirmed: "confirmed"
        case .conflict: "conflict"
        case .refused: "refused"
        }
    }

    /// The places in the network that a directive names.
    private func selection(
        _ words: inout ScenarioWords, _ world: World<ScenarioProgram>
    ) throws -> [Int] {
        let to = words.takeKnown { world.directory.id(of: $0) }
        let from = words.take("from") ? try shard(&words, world).shard : nil
        let kinds = ["deliver", "answer", "confirm?", "confirmed", "conflict", "refused"]
        let kind = words.takeKnown { kinds.contains($0) ? $0 : nil }
        let number = words.takeKnown { Int($0) }
        try words.end()
        var found = network.indices.filter { index in
            let envelope = network[index].envelope
            return envelope.header.receiver == to ?? envelope.header.receiver
                && envelope.header.sender == from ?? envelope.header.sender
                && Self.kind(envelope) == kind ?? Self.kind(envelope)
        }
        if let number { found = found.indices.contains(number - 1) ? [found[number - 1]] : [] }
        guard !found.isEmpty else {
            let waiting = network.map { world.text($0.envelope) }.joined(separator: "; ")
            throw ScenarioMisuse(
                "\(words.verb): no such envelope waits; there wait: "
                    + (waiting.isEmpty ? "none" : waiting))
        }
        return found
    }

    private func carry(_ words: inout ScenarioWords, _ world: World<ScenarioProgram>) throws {
        switch words.verb {
        case "old":
            let copy = try words.need("the name of a copy") { copies[$0] }
            try words.end()
            try arrive(copy, world)
        case "forge":
            var (name, envelope) = try words.need("the name of a copy") { name in
                copies[name].map { (name, $0.envelope) }
            }
            envelope.content = try forged(envelope, &words)
            try words.end()
            copies[name] = Waiting(envelope: envelope, bytes: envelope.encoded())
        case "copy":
            let name = try words.need("a name") { $0 }
            let found = try selection(&words, world)
            guard found.count == 1 else {
                throw ScenarioMisuse("copy: \(found.count) envelopes are meant; say which")
            }
            copies[name] = network[found[0]]
        default:
            let found = try selection(&words, world)
            let taken = found.map { network[$0] }
            if words.verb == "repeat" {
                network += taken
                return
            }
            for index in found.reversed() { network.remove(at: index) }
            for waiting in taken where words.verb == "deliver" { try arrive(waiting, world) }
        }
    }

    /// A message with other bytes or another settled-through; an answer to other bytes.
    private func forged(
        _ envelope: Envelope, _ words: inout ScenarioWords
    ) throws -> Envelope.Content {
        switch envelope.content {
        case .deliver(var items) where items.count == 1:
            if words.take("settled") {
                items[0].settledThrough = SequenceNumber(
                    try words.need("a sequence") { UInt64($0) })
            } else {
                items[0].payload = Array(try words.quotation().utf8)[...]
            }
            return .deliver(items)
        case .answer(var items) where items.count == 1:
            let name = MessageName(
                from: envelope.header.receiver, to: envelope.header.sender, items[0].sequence)
            items[0].digest = Hashing.digest(
                MessageContent(
                    name: name, deadline: .none, correlation: .none,
                    payload: Array(try words.quotation().utf8)[...]))
            return .answer(items)
        default: throw ScenarioMisuse("forge: a copy of one message or one answer is expected")
        }
    }

    // MARK: Processes and disks

    private func treat(_ words: inout ScenarioWords, _ world: World<ScenarioProgram>) throws {
        switch words.verb {
        case "crash": try crash(&words, world)
        case "close":
            let (node, _) = try running(&words, world)
            try words.end()
            try world.close(node)
        case "hold":
            let (node, _) = try running(&words, world)
            try words.end()
            guard held.insert(node.shard).inserted else {
                throw ScenarioMisuse("hold: \(world.name(node.shard)) is held already")
            }
        case "flush":
            let (node, _) = try running(&words, world)
            try words.end()
            guard held.remove(node.shard) != nil else {
                throw ScenarioMisuse("flush: \(world.name(node.shard)) is not held")
            }
        case "snapshot":
            let (node, _) = try running(&words, world)
            try words.end()
            try world.cutSnapshot(node)
        case "open", "restart":
            let node = try shard(&words, world)
            try words.end()
            guard node.engine == nil else {
                throw ScenarioMisuse("\(words.verb): \(world.name(node.shard)) is up")
            }
            do {
                try world.open(node, acceptsBehindMark: false)
            } catch let error as StoreError {
                said.append("\(world.name(node.shard)) does not open: \(error.text)")
            }
        case "restore": try restore(&words, world)
        default: try accept(&words, world)
        }
    }

    private func crash(_ words: inout ScenarioWords, _ world: World<ScenarioProgram>) throws {
        let (node, engine) = try running(&words, world)
        let faults: [String: (fault: DiskFault, keeps: Int)] = [
            "before-append": (.powerBeforeAppend, 0), "after-append": (.powerAfterAppend, 1 << 20),
            "before-release": (.powerAfterFlush, 0), "losing-unflushed": (.powerAfterAppend, 0),
        ]
        let moment = words.takeKnown { faults[$0] }
        try words.end()
        try rest(world, but: moment == nil ? nil : node.shard)
        held.remove(node.shard)
        guard let moment else {
            world.kill(node)
            return
        }
        guard engine.hasCollected else {
            throw ScenarioMisuse(
                "crash: \(world.name(node.shard)) has nothing to append at that moment")
        }
        world.powerKeeps = (moment.keeps, true)
        defer { world.powerKeeps = nil }
        node.disk.fault = moment.fault
        try world.flush(node)
    }

    private func restore(_ words: inout ScenarioWords, _ world: World<ScenarioProgram>) throws {
        let node = try shard(&words, world)
        guard words.take("to") else { throw ScenarioMisuse("restore SHARD to OFFSET") }
        let count = try words.need("the last offset of a commit, or 0") { word in
            word == "0"
                ? 0
                : node.disk.commits.firstIndex { "\($0.end.offset.rawValue)" == word }.map {
                    $0 + 1
                }
        }
        var keepsMark = false
        if words.take("without") {
            guard words.take("mark") else { throw ScenarioMisuse("restore: without mark") }
            keepsMark = true
        }
        try words.end()
        guard count < node.disk.commits.count else {
            throw ScenarioMisuse("restore: that is where the log ends")
        }
        held.remove(node.shard)
        world.restore(node, to: count, withMark: !keepsMark)
    }

    private func accept(_ words: inout ScenarioWords, _ world: World<ScenarioProgram>) throws {
        let node = try shard(&words, world)
        try words.end()
        if node.engine == nil {
            let (mark, end) = (node.disk.mark, node.disk.end())
            guard try Ledger.compare(mark, end, node.disk, world.name(node.shard)) != nil else {
                throw ScenarioMisuse("accept: the log is not behind its mark; restart the shard")
            }
            try world.open(node)
            return
        }
        guard case .fork? = node.engine?.stop else {
            throw ScenarioMisuse("accept: \(world.name(node.shard)) has not stopped for a fork")
        }
        try world.acceptFork(node)
    }

    private func intervene(_ words: inout ScenarioWords, _ world: World<ScenarioProgram>) throws {
        switch words.verb {
        case "disk":
            let node = try shard(&words, world)
            let faults: [String: DiskFault] = [
                "full": .full, "append-error": .appendError, "flush-error": .flushError,
                "error-after-append": .appendErrorAfterEffect,
            ]
            node.disk.fault = words.takeKnown { faults[$0] }
            if node.disk.fault == nil {
                node.disk.isLying = try words.need("a fault, lies or sound") {
                    ["lies": true, "sound": false][$0]
                }
            }
        case "room":
            let (_, engine) = try running(&words, world)
            let rooms: [String: DiskPressure] = [
                "all": .none, "no-commands": .refusesCommands, "no-messages": .refusesMessages,
            ]
            engine.setPressure(try words.need("all, no-commands or no-messages") { rooms[$0] })
        case "clock":
            let node = try shard(&words, world)
            if words.take("true") {
                node.clockOffset = 0
            } else {
                node.clockOffset += try words.need("+2s, -2s or true") { word in
                    guard let sign = word.first, "+-".contains(sign) else { return nil }
                    return ScenarioWords.duration(word.dropFirst())
                        .map { sign == "+" ? Int64($0) : -Int64($0) }
                }
            }
        case "admit":
            let (node, engine) = try running(&words, world)
            let ahead = engine.machine.messaging.timestamp
                .nanoseconds(since: world.clock(node).wall)
            try world.take(
                .intervene(.admitClock(difference: ahead, reason: Array("admitted".utf8))), node)
        case "force":
            let message = try words.need("a message such as trades-0/collateral-0/1") {
                world.directory.message($0)
            }
            world.hasForced = true
            let result = try world.take(
                .force(message, reason: Array("forced".utf8)), world[message.channel.origin])
            if case .command(.refused(let refusal))? = result {
                throw ScenarioMisuse("force: \(refusal.text)")
            }
        default: try recover(world)
        }
        try words.end()
    }

    private func recover(_ world: World<ScenarioProgram>) throws {
        let plan = try RecoveryPlan.make(world.audit())
        for entry in plan.entries {
            said.append(
                "plan: \(world.directory.text(entry.message)) is \(entry.class.rawValue):"
                    + " \(entry.action.rawValue)")
        }
        if plan.entries.isEmpty { said.append("plan: nothing is to be done") }
        for node in world.nodes {
            let own = plan.messages.filter { $0.channel.origin == node.shard }
            guard !own.isEmpty else { continue }
            try world.take(.recover(plan: plan.id, own, reason: Array("by plan".utf8)), node)
        }
    }
}
