internal import TallyCore

extension Exploration {
    /// One thing that may happen next.
    struct Step: Hashable, Sendable {
        enum Kind: UInt8, Sendable {
            /// A client's next message.
            case command
            /// A command that answers one owed message.
            case answer
            /// An item arrives; it may arrive again.
            case deliver
            /// Time passes until the machine's first timer is due.
            case wake
            /// Time passes until all of its timers are due.
            case wait
            /// A wall clock passes the deadline of what was sent so far.
            case pass
            /// A number of commits become durable, and what may leave leaves.
            case flush
            /// The process dies; a number of commits that were not durable are kept.
            case crash
            /// The shard starts again.
            case restart
        }
        var kind: Kind
        /// The process dies once the step's commit is durable, and before anything leaves.
        var dies = false
        var shard: ShardID
        /// Of the owed message, of the item in the bag, or how many commits are flushed or kept.
        var index: UInt16 = 0
    }
}

extension Exploration.World {
    /// Everything that may happen next.
    var steps: [Exploration.Step] {
        var steps: [Exploration.Step] = []
        for node in nodes { addSteps(of: node, to: &steps) }
        return steps
    }

    private func addSteps(of node: Exploration.Node, to steps: inout [Exploration.Step]) {
        let options = setting.options
        let shard = node.shard
        if setting.hasDeadlines, node.phase < options.deadlinesPassMax,
            options.hasOwnClocks || shard == nodes[0].shard
        {
            steps.append(.init(kind: .pass, shard: shard))
        }
        guard node.isUp else {
            steps.append(.init(kind: .restart, shard: shard))
            return
        }
        let unflushed = options.unflushedMax > 0 ? node.unflushed : 0
        if options.unflushedMax > 0, unflushed > 0 || !node.machine.outgoing.isEmpty {
            for flushed in min(1, unflushed)...unflushed {
                steps.append(.init(kind: .flush, shard: shard, index: UInt16(flushed)))
            }
        }
        if crashesLeft > 0 {
            for kept in 0...unflushed {
                steps.append(.init(kind: .crash, shard: shard, index: UInt16(kept)))
            }
        }
        guard options.unflushedMax == 0 || unflushed < options.unflushedMax else { return }
        if nextCommand(of: node) != nil { steps.append(.init(kind: .command, shard: shard)) }
        for (index, tally) in node.machine.application.enumerated() where tally.isOwed {
            steps.append(.init(kind: .answer, shard: shard, index: UInt16(index)))
        }
        if let next = node.machine.nextWake {
            steps.append(.init(kind: .wake, shard: shard))
            if let last = node.lastWake, last > max(next, node.ticks) {
                steps.append(.init(kind: .wait, shard: shard))
            }
        }
        for (index, flight) in bag.enumerated() where flight.envelope.header.receiver == shard {
            steps.append(.init(kind: .deliver, shard: shard, index: UInt16(index)))
        }
    }

    /// What a shard's client sends next, and the command's place.
    private func nextCommand(
        of node: Exploration.Node
    ) -> (errands: [Exploration.Errand], sequence: SequenceNumber)? {
        let script = setting.scripts[Int(node.shard.rawValue) - 1]
        let done = place(node, Exploration.senderClient)
        return done < script.count ? (script[done], SequenceNumber(UInt64(done) + 1)) : nil
    }

    private func place(_ node: Exploration.Node, _ client: Bytes16) -> Int {
        Int(node.machine.messaging.clients[client]?.highest.rawValue ?? 0)
    }

    /// The states behind a step: the one in which it went well, and, where the step appended
    /// something and a crash is left, the one in which the process died before anything left.
    ///
    /// - Returns: False when the step changes nothing, and there is no state behind it.
    func after(
        _ step: Exploration.Step, _ body: (Exploration.Step, Exploration.World) throws -> Void
    ) throws -> Bool {
        var world = self
        let before = self[step.shard]
        try world.take(step)
        let end = world[step.shard].end
        if step.kind == .deliver, end === before.end,
            world[step.shard].machine.outgoing.count == before.machine.outgoing.count,
            world[step.shard].machine.links == before.machine.links
        {
            return false
        }
        guard setting.options.unflushedMax == 0 else {
            try body(step, world)
            return true
        }
        if crashesLeft > 0, end !== before.end, world[step.shard].isUp {
            var dead = world
            dead.crashesLeft -= 1
            dead.crash(step.shard, keeping: 1)
            dead.goals?.noteCrash(before: before, kept: end, lost: nil, in: dead)
            var fatal = step
            fatal.dies = true
            try body(fatal, dead)
        }
        if world[step.shard].isUp, step.kind != .pass { try world.flush(step.shard) }
        try body(step, world)
        return true
    }

    /// Takes a step, also one that ends in a crash.
    mutating func replay(_ step: Exploration.Step) throws(Exploration.Breach) {
        try take(step)
        if step.dies {
            crashesLeft -= 1
            crash(step.shard, keeping: 1)
        } else if setting.options.unflushedMax == 0, self[step.shard].isUp, step.kind != .pass {
            try flush(step.shard)
        }
    }

    private mutating func take(_ step: Exploration.Step) throws(Exploration.Breach) {
        let shard = step.shard
        switch step.kind {
        case .command:
            let node = own(shard)
            guard let (errands, sequence) = nextCommand(of: node) else { return }
            try perform(Exploration.command(sending: errands, sequence), on: node)
        case .answer:
            try answer(self[shard].machine.application[Int(step.index)].name, on: shard)
        case .deliver:
            let node = own(shard)
            var envelope = bag[Int(step.index)].envelope
            if setting.options.planted == .forgesSession {
                let sender = Int(envelope.header.sender.rawValue)
                envelope.header.receiverSession = node.machine.messaging.session
                envelope.header.senderSession = node.machine.links[sender].heard
            }
            let counters = node.machine.counters
            let before = node.end
            for one in Input.inputs(of: envelope) { try input(node, one) }
            goals?.noteDelivery(envelope, counters, before, node)
        case .wake, .wait:
            let node = own(shard)
            let time = step.kind == .wake ? node.machine.nextWake : node.lastWake
            node.ticks = max(node.ticks, time ?? 0)
            let before = node.end
            try input(node, .wake)
            goals?.noteWake(before, node)
            if setting.options.planted == .timesOutAlone { try forceAll(node) }
        case .pass where setting.options.hasOwnClocks: own(shard).phase += 1
        case .pass: for shard in setting.directory.all { own(shard).phase += 1 }
        case .flush: try flush(shard, through: self[shard].boundary(keeping: Int(step.index)))
        case .crash:
            let before = self[shard]
            let kept = before.boundary(keeping: Int(step.index))
            crashesLeft -= 1
            crash(shard, keeping: Int(step.index))
            goals?.noteCrash(before: before, kept: kept, lost: before.end, in: self)
        case .restart:
            try start(shard)
            goals?.noteRestart(self[shard])
        }
        if setting.options.unflushedMax > 0 { tidy() }
    }

    private mutating func forceAll(_ node: Exploration.Node) throws(Exploration.Breach) {
        for peer in setting.directory.all {
            guard let low = node.machine.messaging.peer(peer)?.pending.lowest else { continue }
            try input(node, .force(MessageName(from: node.shard, to: peer, low), reason: []))
        }
    }

    /// Answers an owed message by a command.
    mutating func answer(_ name: MessageName, on shard: ShardID) throws(Exploration.Breach) {
        let node = own(shard)
        let place = place(node, Exploration.answerClient)
        let command = Exploration.command(answering: name, SequenceNumber(UInt64(place) + 1))
        try perform(command, on: node)
        if let session = node.end.messaging.sessions.last,
            let receipt = node.end.messaging.peer(name.channel.origin)?.receipts[name.sequence],
            receipt.offset < session.first
        {
            goals?.count(.owedAnsweredAfterRestart)
        }
    }

    /// Sends a message that is not in the script.
    mutating func probe(_ shard: ShardID, _ other: ShardID) throws(Exploration.Breach) {
        let node = own(shard)
        let place = place(node, Exploration.senderClient)
        let errand = Exploration.Errand(Int(shard.rawValue) - 1, Int(other.rawValue) - 1)
        try perform(
            Exploration.command(sending: [errand], SequenceNumber(UInt64(place) + 1)), on: node)
    }

    /// Gives a command, and then gives it again: the same result, and nothing is appended.
    private mutating func perform(
        _ command: Command, on node: Exploration.Node
    ) throws(Exploration.Breach) {
        guard case .command(.recorded(let first)) = try input(node, .command(command)) else {
            throw Exploration.Breach(.progress, "a command was not recorded")
        }
        let end = node.end
        let again = try input(node, .command(command))
        guard case .command(.known(let second)) = again, first == second, node.end === end else {
            throw Exploration.Breach(.askedAgain, "\(first), and then \(again)")
        }
    }

    // MARK: Text

    /// One line for a step from this state.
    func text(_ step: Exploration.Step) -> String {
        let name = setting.name(step.shard)
        let line =
            switch step.kind {
            case .command: "command at \(name)"
            case .answer:
                "answer "
                    + setting.directory.text(
                        self[step.shard].machine.application[Int(step.index)].name)
            case .deliver: "deliver \(text(bag[Int(step.index)].envelope))"
            case .wake: "wake \(name)"
            case .wait: "wake \(name), all timers due"
            case .pass where setting.options.hasOwnClocks: "the deadline passes at \(name)"
            case .pass: "the deadline passes"
            case .flush: "flush \(step.index) of \(self[step.shard].unflushed) commits of \(name)"
            case .crash:
                step.index == 0
                    ? "crash \(name)"
                    : "crash \(name), keeping \(step.index) of what was not durable"
            case .restart: "restart \(name)"
            }
        return step.dies ? line + "; durable, then crash before anything leaves" : line
    }

    private func text(_ envelope: Envelope) -> String {
        let header = envelope.header
        let what =
            switch envelope.content {
            case .deliver(let items): "message \(items.map(\.sequence.rawValue))"
            case .answer(let items):
                "\(items.map { "\($0.result)" }.joined(separator: " ")) to"
                    + " \(items.map(\.sequence.rawValue))"
            case .confirmAsk: "confirm?"
            case .confirmed: "confirmed"
            case .conflict: "conflict"
            case .refused: "refused"
            }
        func end(_ shard: ShardID, _ session: Session) -> String {
            "\(setting.name(shard)) session \(session.epoch.rawValue)"
        }
        return "\(what) \(end(header.sender, header.senderSession))"
            + " -> \(end(header.receiver, header.receiverSession))"
    }
}
