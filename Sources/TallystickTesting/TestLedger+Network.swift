internal import TallyCore
internal import TallyRuntime

/// The network: every envelope waits until it is told what becomes of it.
extension TestLedger {
    /// Delivers one envelope.
    ///
    /// - Returns: False when it is lost on the way: the link is cut, or the shard is down.
    /// - Throws: ``TestMisuse`` when it does not wait any more.
    @discardableResult
    public func deliver(_ envelope: WaitingEnvelope) throws -> Bool {
        let header = try remove(envelope).envelope.header
        let link = Channel(origin: header.sender, destination: header.receiver)
        let node = nodes[Int(header.receiver.rawValue) - 1]
        guard !cuts.contains(link), node.engine != nil else {
            lostCount += 1
            return false
        }
        guard let arrived = Envelope(decoding: envelope.bytes) else {
            preconditionFailure("an envelope of ours is read back")
        }
        try take(Input.inputs(of: arrived), node)
        return true
    }

    /// Delivers the envelopes that a closure accepts, oldest first, those released meanwhile as well,
    /// until none waits.
    ///
    /// - Returns: How many were delivered.
    @discardableResult
    public func deliverAll(where matches: (WaitingEnvelope) -> Bool = { _ in true }) throws -> Int {
        var delivered = 0
        while let next = network.first(where: matches) {
            if try deliver(next) { delivered += 1 }
            guard delivered < Self.stepsMax else {
                throw TestMisuse("\(delivered) deliveries did not bring the network to rest")
            }
        }
        return delivered
    }

    /// Loses one envelope.
    public func drop(_ envelope: WaitingEnvelope) throws {
        _ = try remove(envelope)
        lostCount += 1
    }

    /// Loses the envelopes that a closure accepts.
    ///
    /// - Returns: How many.
    @discardableResult
    public func drop(where matches: (WaitingEnvelope) -> Bool = { _ in true }) -> Int {
        let before = network.count
        network.removeAll(where: matches)
        lostCount += UInt64(before - network.count)
        return before - network.count
    }

    /// Puts a copy of an envelope behind all others.
    ///
    /// - Returns: The copy.
    @discardableResult
    public func duplicate(_ envelope: WaitingEnvelope) -> WaitingEnvelope {
        let copy = copy(envelope)
        network.append(copy)
        return copy
    }

    /// Shuffles what waits, by the ledger's own random source.
    public func reorder() { network.shuffle(using: &random) }

    private func remove(_ envelope: WaitingEnvelope) throws -> WaitingEnvelope {
        guard let index = network.firstIndex(where: { $0.id == envelope.id }) else {
            throw TestMisuse(
                "envelope \(envelope.id) (\(envelope)) waits no more; duplicate it before it is"
                    + " delivered or dropped")
        }
        return network.remove(at: index)
    }

    // MARK: Partitions

    /// Cuts the link from one shard to another: what is delivered over it is lost.
    public func cut(from origin: String, to destination: String) throws {
        cuts.insert(try link(origin, destination))
    }

    /// Cuts both links between two shards.
    public func partition(_ one: String, _ other: String) throws {
        try cut(from: one, to: other)
        try cut(from: other, to: one)
    }

    /// Mends every link.
    public func heal() { cuts = [] }

    private func link(_ origin: String, _ destination: String) throws -> Channel {
        Channel(origin: try directory.shard(origin), destination: try directory.shard(destination))
    }

    // MARK: Settling

    /// Whether nothing waits, nothing is pending on a shard that is up, and all shards that are up and
    /// not cut off from each other hear a session of each other (perhaps one that has ended since).
    public var isSettled: Bool {
        guard network.isEmpty else { return false }
        let up = nodes.filter { $0.engine?.machine.stop == nil && $0.engine != nil }
        return nodes.allSatisfy { node in
            guard let machine = node.engine?.machine else { return true }
            guard machine.messaging.pendingCount == 0, node.held.isEmpty else { return false }
            return machine.stop != nil
                || up.allSatisfy { peer in
                    machine.hears(peer.shard) || isCut(node.shard, peer.shard)
                }
        }
    }

    private func isCut(_ one: ShardID, _ other: ShardID) -> Bool {
        cuts.contains(Channel(origin: one, destination: other))
            || cuts.contains(Channel(origin: other, destination: one))
    }

    /// Delivers everything, and lets time pass to the next wake, until nothing is pending or the time
    /// is over.
    ///
    /// Messages that are owed stay pending: only a decision of their destination settles them.
    ///
    /// - Parameter nanoseconds: Virtual time to pass at most.
    /// - Returns: Whether everything is settled.
    @discardableResult
    public func settle(within nanoseconds: UInt64 = 60_000_000_000) throws -> Bool {
        let end = now + nanoseconds
        try deliverAll()
        while !isSettled, let wake = nextWake {
            guard wake <= end else {
                try advance(by: end - now)
                break
            }
            try advance(by: max(wake, now) - now)
            try deliverAll()
        }
        return isSettled
    }
}
