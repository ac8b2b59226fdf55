internal import TallyCore

extension Exploration {
    /// 128 bits that stand for a state.
    struct Fingerprint: Hashable, Sendable {
        var low: UInt64
        var high: UInt64
    }

    /// Two 64-bit hashes side by side, fed with words.
    struct Mixer {
        private var low: UInt64 = 0x243F_6A88_85A3_08D3
        private var high: UInt64 = 0x1319_8A2E_0370_7344

        @inline(__always)
        mutating func add(_ word: UInt64) {
            low = (low ^ word) &* 0x9E37_79B9_7F4A_7C15
            low ^= low >> 29
            high = (high &+ word) &* 0xD6E8_FEB8_6659_FD93
            high ^= high >> 32
        }

        var value: Fingerprint {
            func finish(_ word: UInt64) -> UInt64 {
                var mixed = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
                mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
                return mixed ^ (mixed >> 31)
            }
            return Fingerprint(low: finish(low), high: finish(high))
        }
    }

    /// Which offsets of one log a state names; an offset counts by its rank among them.
    ///
    /// The protocol compares offsets of one log with each other and does nothing else with them;
    /// a new event stands behind all of them. So states that name other offsets in the same order
    /// go on in the same way, and an event that nothing names any more leaves no trace.
    struct Ranks {
        private var words: [UInt64] = []
        private var below: [UInt64] = []

        mutating func clear() {
            for index in words.indices { words[index] = 0 }
        }

        @inline(__always)
        mutating func mark(_ offset: UInt64) {
            let index = Int(truncatingIfNeeded: offset >> 6)
            while index >= words.count { words.append(0) }
            words[index] |= 1 << (offset & 63)
        }

        mutating func count() {
            below.removeAll(keepingCapacity: true)
            var sum: UInt64 = 0
            for word in words {
                below.append(sum)
                sum += UInt64(word.nonzeroBitCount)
            }
        }

        @inline(__always)
        func rank(_ offset: UInt64) -> UInt64 {
            let index = Int(truncatingIfNeeded: offset >> 6)
            let lower = words[index] & ((1 << (offset & 63)) &- 1)
            return offset == 0 ? 0 : below[index] + UInt64(lower.nonzeroBitCount) + 1
        }
    }

    /// Visits everything in a state that can influence what happens next.
    protocol Visitor {
        mutating func word(_ word: UInt64)
        mutating func offset(_ offset: Offset, of shard: ShardID)
        /// Begins a part whose place among its like says nothing.
        mutating func begin()
        mutating func end()
    }

    /// First pass: which offsets are named.
    struct Marker: Visitor {
        var ranks: [Ranks]
        func word(_ word: UInt64) {}
        mutating func offset(_ offset: Offset, of shard: ShardID) {
            ranks[Int(shard.rawValue)].mark(offset.rawValue)
        }
        func begin() {}
        func end() {}
    }

    /// Second pass: the words, with ranks for offsets.
    struct Printer: Visitor {
        let ranks: [Ranks]
        private var whole = Mixer()
        private var part = Mixer()
        private var isPart = false
        private var sum = Fingerprint(low: 0, high: 0)

        init(_ ranks: [Ranks]) { self.ranks = ranks }

        mutating func word(_ word: UInt64) {
            if isPart { part.add(word) } else { whole.add(word) }
        }
        mutating func offset(_ offset: Offset, of shard: ShardID) {
            word(ranks[Int(shard.rawValue)].rank(offset.rawValue))
        }
        mutating func begin() {
            part = Mixer()
            isPart = true
        }
        mutating func end() {
            let value = part.value
            sum.low &+= value.low
            sum.high &+= value.high
            isPart = false
        }
        var value: Fingerprint {
            var whole = whole
            whole.add(sum.low)
            whole.add(sum.high)
            return whole.value
        }
    }

    /// Computes fingerprints; keeps its buffers.
    struct Press {
        private var ranks: [Ranks]

        init(shards: Int) { ranks = Array(repeating: Ranks(), count: shards + 1) }

        mutating func print(_ world: World) -> Fingerprint {
            for index in ranks.indices { ranks[index].clear() }
            var marker = Marker(ranks: ranks)
            ranks = []
            world.visit(&marker)
            ranks = marker.ranks
            marker.ranks = []
            for index in ranks.indices { ranks[index].count() }
            var printer = Printer(ranks)
            world.visit(&printer)
            return printer.value
        }
    }
}

extension Exploration.World {
    fileprivate func visit(_ visitor: inout some Exploration.Visitor) {
        visitor.word(UInt64(crashesLeft))
        for node in nodes {
            visitor.word(node.isUp ? 1 : 0)
            visitor.word(node.starts)
            visitor.word(node.phase)
            var log = node.end
            visit(log, node.shard, &visitor)
            while log !== node.durable, let before = log.before {
                log = before
                visitor.word(0xB0)
                visit(log, node.shard, &visitor)
            }
            if node.isUp { visitVolatile(node, &visitor) }
        }
        for flight in bag {
            visitor.begin()
            visit(flight, &visitor)
            visitor.end()
        }
        // The order of the first events of messages is in the log and decides nothing.
        for node in nodes {
            for tally in node.end.tallies {
                visitor.begin()
                visitor.word(UInt64(node.shard.rawValue))
                visit(tally.name, &visitor)
                visitor.word(UInt64(tally.applied) << 8 | UInt64(tally.expired))
                visitor.word(UInt64(tally.answered) << 8 | UInt64(tally.accepted))
                visitor.word(UInt64(tally.rejected) << 8 | UInt64(tally.timedOut))
                visitor.end()
            }
        }
    }

    private func visit(_ name: MessageName, _ visitor: inout some Exploration.Visitor) {
        visitor.word(UInt64(name.channel.origin.rawValue))
        visitor.word(UInt64(name.channel.destination.rawValue))
        visitor.word(name.sequence.rawValue)
    }

    private func visit(_ session: Session, _ visitor: inout some Exploration.Visitor) {
        visitor.word(session.epoch.rawValue)
        visitor.word(session.nonce.high)
    }

    private func visit(_ time: Timestamp, _ visitor: inout some Exploration.Visitor) {
        visitor.word(time.rawValue / Exploration.phaseLength)
    }

    /// A time that is no deadline: of interest where clocks differ.
    private func visitOwn(_ time: Timestamp, _ visitor: inout some Exploration.Visitor) {
        if setting.options.hasOwnClocks { visit(time, &visitor) }
    }

    /// What a log folds to, without what is only counted: attempts, counts per kind, heads.
    private func visit(
        _ log: Exploration.Boundary, _ shard: ShardID, _ visitor: inout some Exploration.Visitor
    ) {
        let messaging = log.messaging
        visitor.offset(log.end.offset, of: shard)
        visitOwn(log.end.timestamp, &visitor)
        visitor.word(UInt64(messaging.sessions.count))
        for entry in messaging.sessions {
            visit(entry.session, &visitor)
            visitor.offset(entry.first, of: shard)
        }
        for client in [Exploration.senderClient, Exploration.answerClient] {
            visitor.word(messaging.clients[client]?.highest.rawValue ?? 0)
        }
        for index in messaging.peers.indices.dropFirst() {
            visit(messaging.peers[index], ShardID(UInt32(index)), shard, &visitor)
        }
    }

    private func visit(
        _ peer: PeerState, _ other: ShardID, _ shard: ShardID,
        _ visitor: inout some Exploration.Visitor
    ) {
        visitor.word(peer.next.rawValue)
        visitor.word(peer.floor.rawValue)
        visitor.word(peer.receivedThrough.rawValue)
        visitor.word(UInt64(peer.pending.count) << 32 | UInt64(peer.receipts.count))
        peer.pending.forEach { sequence, pending in
            visitor.word(sequence.rawValue)
            visitor.offset(pending.offset, of: shard)
            visitOwn(pending.sentAt, &visitor)
            visit(pending.deadline, &visitor)
            return true
        }
        peer.receipts.forEach { sequence, receipt in
            visitor.word(sequence.rawValue << 1 | (receipt.isExpired ? 1 : 0))
            visitor.offset(receipt.offset, of: shard)
            visitor.offset(receipt.answer, of: shard)
            return true
        }
        visit(peer.witness.session, &visitor)
        visitor.offset(peer.witness.offset, of: other)
        visitor.offset(peer.witness.recordedAt, of: shard)
    }

    /// What the machine knows and its log does not. Timers count by their order: their lengths are
    /// all alike, and how long a while lasts is for the exploration to choose.
    private func visitVolatile(
        _ node: Exploration.Node, _ visitor: inout some Exploration.Visitor
    ) {
        let links = node.machine.links
        // What is due already is the first to come, as is the earliest when nothing is due.
        var times: [UInt64] = []
        for link in links {
            if let time = link.askAt { times.append(max(time, node.ticks)) }
            if let time = link.retryAt { times.append(max(time, node.ticks)) }
            for time in link.quiet.values where time > node.ticks { times.append(time) }
        }
        func order(_ time: UInt64?) -> UInt64 {
            guard let time else { return 0 }
            return 1 + UInt64(times.count { $0 < max(time, node.ticks) })
        }
        for link in links.dropFirst() {
            visit(link.heard, &visitor)
            visit(link.known, &visitor)
            visit(link.confirmedTo, &visitor)
            visitor.word(order(link.askAt))
            visitor.word(order(link.retryAt))
            visitor.word(link.retryAt == nil ? 0 : link.retryThrough.rawValue)
            // One map of at most three messages: a sum tells its contents apart.
            var quiet: UInt64 = 0
            for (sequence, time) in link.quiet where time > node.ticks {
                quiet += order(time) << (8 * min(sequence.rawValue, 7))
            }
            visitor.word(quiet)
        }
        visitor.word(UInt64(node.machine.outgoing.count))
        for item in node.machine.outgoing {
            visitor.word(UInt64(item.peer.rawValue))
            visitor.offset(item.after, of: node.shard)
            visit(item.heard, &visitor)
            visit(item.item, from: node.shard, to: item.peer, &visitor)
        }
    }

    private func visit(
        _ item: Outgoing.Item, from sender: ShardID, to receiver: ShardID,
        _ visitor: inout some Exploration.Visitor
    ) {
        switch item {
        case .message(let item): visit(.deliver([item]), sender, receiver, &visitor)
        case .answer(let item): visit(.answer([item]), sender, receiver, &visitor)
        case .confirmAsk(let item): visit(.confirmAsk(item), sender, receiver, &visitor)
        case .confirmed(let item, let session):
            visit(session, &visitor)
            visit(.confirmed(item), sender, receiver, &visitor)
        case .conflict(let item): visit(.conflict([item]), sender, receiver, &visitor)
        case .refused(let item): visit(.refused([item]), sender, receiver, &visitor)
        }
    }

    private func visit(
        _ flight: Exploration.Flight, _ visitor: inout some Exploration.Visitor
    ) {
        let header = flight.envelope.header
        visitor.word(UInt64(header.sender.rawValue) << 32 | UInt64(header.receiver.rawValue))
        guard flight.age != .stray else { return visitor.word(0x57) }
        visit(header.senderSession, &visitor)
        // `confirm?` names a session that is the present one or not.
        let receiver = self[header.receiver]
        let isMeant =
            receiver.isUp && receiver.machine.messaging.session == header.receiverSession
        visitor.word(isMeant ? 1 : 0)
        if flight.age != .present {
            switch flight.envelope.content {
            case .confirmAsk(let statement): visit(statement.session, &visitor)
            case .confirmed: visitor.word(0x58)
            case .deliver(let items):
                visitor.word(0x59)
                visitor.word(flight.age == .known ? items.first?.sequence.rawValue ?? 0 : 0)
            case .answer, .conflict, .refused: visitor.word(0x5A)
            }
            return
        }
        visitOwn(header.durableEnd.timestamp, &visitor)
        // Only a session that begins to be heard is witnessed at the durable end that it names.
        if case .confirmed = flight.envelope.content {
            visitor.offset(header.durableEnd.offset, of: header.sender)
        }
        visit(flight.envelope.content, header.sender, header.receiver, &visitor)
    }

    private func visit(
        _ content: Envelope.Content, _ sender: ShardID, _ receiver: ShardID,
        _ visitor: inout some Exploration.Visitor
    ) {
        switch content {
        case .deliver(let items):
            for item in items {
                visitor.word(0xD1)
                visitor.word(item.sequence.rawValue)
                visitor.offset(item.offset, of: sender)
                visitOwn(item.sentAt, &visitor)
                visit(item.deadline, &visitor)
                visitor.word(item.settledThrough.rawValue)
                for byte in item.payload { visitor.word(UInt64(byte)) }
            }
        case .answer(let items):
            for item in items {
                visitor.word(0xA2)
                visitor.word(item.sequence.rawValue)
                visitor.offset(item.offset, of: sender)
                visitor.word(UInt64(item.result.rawValue))
                // Its digest is that of the message: a law has compared it as it left.
                for byte in item.payload { visitor.word(UInt64(byte)) }
            }
        case .confirmAsk(let statement):
            visitor.word(0xC3)
            visit(statement, by: sender, about: receiver, &visitor)
        case .confirmed(let statement):
            visitor.word(0xC4)
            visit(statement, by: receiver, about: sender, &visitor)
        case .conflict(let items):
            for item in items {
                visitor.word(0xE5)
                visitor.word(item.sequence.rawValue)
                visitor.word(item.held.words.0)
                visitor.word(item.offered.words.0)
            }
        case .refused(let items):
            for item in items {
                visitor.word(0xF6)
                visitor.word(item.sequence.rawValue)
                visitor.word(UInt64(item.code))
            }
        }
    }

    private func visit(
        _ statement: Statement, by shard: ShardID, about other: ShardID,
        _ visitor: inout some Exploration.Visitor
    ) {
        visit(statement.session, &visitor)
        visitor.offset(statement.offset, of: other)
        visitor.offset(statement.statementOffset, of: shard)
        visitor.word(statement.receivedThrough.rawValue)
        visitor.word(statement.floor.rawValue)
        visitor.word(statement.settledThrough.rawValue)
    }
}
