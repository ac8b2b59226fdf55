public import TallyCore
internal import TallyStore

/// What led to a message, and all that came of it, over every shard and hop.
///
/// Upwards stands the chain of causes: each event's one cause, to the root stimulus or as far as the
/// logs go. Downwards stands every consequence. An event's cause is
///
/// - of a `sent` or `noted`: the stimulus that its log names;
/// - of a `received`: the send;
/// - of an `answered`: the stimulus whose decision gave the answer when that is a consequence
///   itself, else the receipt;
/// - of an `acknowledged` or `timedOut`: the answer, else the receipt, else the send;
/// - of a `reemitted` or `conflicted`: the send, or the receipt it disputes.
///
/// No event stands twice in a tree (but a `reemitted`, once below each of its messages), so the
/// logs of a foreign system cannot make it endless, whatever causes they name.
public struct CausalTree: Sendable {
    /// How far a tree reaches.
    public struct Bounds: Equatable, Sendable {
        /// Messages between the one asked for and the farthest, each way.
        public var hopsMax = 8
        /// Events in the tree.
        public var stepsMax = 1000

        public init() {}
    }

    /// What is not done yet at the position asked about.
    public enum Open: String, Sendable {
        /// Of a `sent`: it has no terminal event.
        case pending
        /// Of a `received`: it has no answer.
        case owed
    }

    public struct Node: Sendable {
        public var event: RecordedEvent
        /// The message it is about: of a `reemitted` the one it stands below.
        public var message: MessageName?
        /// Indices into ``CausalTree/nodes``; `nil` for the root.
        public var parent: Int?
        /// By time.
        public var children: [Int] = []
        /// Nanoseconds since the parent; negative where foreign clocks differ.
        public var sinceParent: Int64?
        public var open: Open?
        /// Why a pending message is pending.
        public var orphan: Orphan?
    }

    /// A parent stands before its children; the root is the first. Empty when no log names the
    /// message.
    public internal(set) var nodes: [Node] = []
    /// Whether the chain of causes goes on above the root.
    public internal(set) var hasCausesLeftOut = false
    /// Messages that the tree's events sent and that lie beyond ``Bounds/hopsMax``.
    public internal(set) var messagesLeftOut = 0
    /// Events that belong directly below the tree's, and did not fit into ``Bounds/stepsMax``.
    public internal(set) var stepsLeftOut = 0
}

/// One event's place in a tree, before its bytes are read.
struct CausalPlace {
    var evidence: Evidence
    var kind: EventKind
    var time: Timestamp
    var message: MessageName?
    var parent: Int?
    /// Messages away from the one asked for.
    var hop: Int
}

/// Walks from an event to its cause, by the offsets that the logs name.
///
/// An import need not name them: then, and only then, a log is searched, at most three times a hop.
struct CausalAscent {
    let audit: AuditLedger
    let cut: Cut

    /// The chain of causes, the root first, the event itself last.
    ///
    /// - Returns: Also whether the chain goes on above its root.
    func chain(
        to event: RecordedEvent, _ bounds: CausalTree.Bounds
    ) throws -> (chain: [RecordedEvent], isCut: Bool) {
        var chain = [event]
        var seen: Set<Evidence> = [event.evidence]
        var current = event
        var hops = 0
        while let cause = try cause(of: current), seen.insert(cause.evidence).inserted {
            if current.event.kind == .sent, cause.message != nil { hops += 1 }
            // At least half of the steps are left for what came of the event.
            if hops > bounds.hopsMax || chain.count >= max(1, bounds.stepsMax / 2) {
                return (chain.reversed(), true)
            }
            chain.append(cause)
            current = cause
        }
        return (chain.reversed(), false)
    }

    private func cause(of event: RecordedEvent) throws -> RecordedEvent? {
        let (shard, fields) = (event.shard, event.event)
        switch fields.kind {
        case .sent, .noted:
            let stimulus = try self.event(at: fields.cause, of: shard)
            return stimulus.flatMap { $0.event.kind.isStimulus ? $0 : nil }
        case .received:
            return try half(.sent, of: event.message, at: fields.peerOffset, in: fields.peer)
        case .answered:
            return try half(.received, of: event.message, at: fields.cause, in: shard)
        case .acknowledged, .timedOut:
            let settling: EventKind = fields.kind == .acknowledged ? .answered : .received
            return try half(settling, of: event.message, at: fields.peerOffset, in: fields.peer)
                ?? half(.sent, of: event.message, at: fields.cause, in: shard)
        case .commanded, .opened, .reemitted, .conflicted, .witnessed, .intervened:
            return nil
        }
    }

    /// One half of a message: at the offset where it should stand, else, in a foreign log, wherever
    /// it stands.
    private func half(
        _ kind: EventKind, of message: MessageName?, at offset: Offset, in shard: ShardID
    ) throws -> RecordedEvent? {
        guard let message, shard.rawValue >= 1, Int(shard.rawValue) <= audit.shards.count else {
            return nil
        }
        if let there = try event(at: offset, of: shard), there.event.kind == kind,
            there.message == message
        {
            return there
        }
        guard !audit.manifest.isNative else { return nil }
        var query = EventQuery()
        query.shard = shard
        query.kinds = [kind]
        query.message = message
        return try first(query)
    }

    /// The event at an offset; `nil` when the cut does not reach that far.
    func event(at offset: Offset, of shard: ShardID) throws -> RecordedEvent? {
        guard offset != .none, offset <= cut.through(shard) else { return nil }
        var query = EventQuery()
        query.shard = shard
        query.offsets = offset.rawValue...offset.rawValue
        return try first(query)
    }

    private func first(_ query: EventQuery) throws -> RecordedEvent? {
        var found: RecordedEvent?
        try query.run(audit, at: cut) {
            found = $0
            return false
        }
        return found
    }
}

extension CausalTree {
    /// Grows the tree of a message around its first event.
    ///
    /// - Returns: Also what is wrong with any shard of the ledger.
    static func grown(
        from event: RecordedEvent, _ message: MessageName, _ audit: AuditLedger, _ cut: Cut,
        _ bounds: Bounds
    ) throws -> (tree: CausalTree, problems: [ShardID: StoreError]) {
        let ascent = CausalAscent(audit: audit, cut: cut)
        let (chain, isCut) = try ascent.chain(to: event, bounds)
        // From the beginning each time: the pass is repeated when a writer has moved a log.
        let descent = try audit.reading {
            var descent = CausalDescent(chain, of: message, audit, cut, bounds)
            try descent.run()
            return descent
        }
        var tree = CausalTree()
        tree.hasCausesLeftOut = isCut
        tree.messagesLeftOut = descent.messagesLeftOut.count
        tree.stepsLeftOut = descent.stepsLeftOut.count
        let events = try audit.reading {
            try read(Set(descent.places.map(\.evidence)), audit)
        }
        tree.fill(descent.places, events)
        return (tree, descent.problems)
    }

    /// The events themselves, one look at each commit that holds some.
    private static func read(
        _ wanted: Set<Evidence>, _ audit: AuditLedger
    ) throws -> [Evidence: RecordedEvent] {
        var found: [Evidence: RecordedEvent] = [:]
        for evidence in wanted.sorted(by: { ($0.shard, $0.offset) < ($1.shard, $1.offset) })
        where found[evidence] == nil {
            let shard = evidence.shard
            try audit[shard].log?.forEachCommit(from: evidence.offset) { commit in
                commit.forEach { view in
                    let evidence = Evidence(shard, view.offset)
                    guard wanted.contains(evidence) else { return }
                    found[evidence] = RecordedEvent(view, of: commit, in: shard)
                }
                return false
            }
        }
        return found
    }

    private mutating func fill(_ places: [CausalPlace], _ events: [Evidence: RecordedEvent]) {
        var indices: [Int: Int] = [:]
        for (index, place) in places.enumerated() {
            guard let event = events[place.evidence] else { continue }
            let parent = place.parent.flatMap { indices[$0] }
            // Read a moment ago, so it is there; a tree has one root.
            guard parent != nil || nodes.isEmpty else { continue }
            indices[index] = nodes.count
            var node = Node(event: event, message: place.message, parent: parent)
            if let parent {
                let before = nodes[parent].event.record.timestamp.rawValue
                node.sinceParent = Int64(bitPattern: place.time.rawValue &- before)
                nodes[parent].children.append(nodes.count)
            }
            nodes.append(node)
        }
        let order = nodes.map { ($0.event.record.timestamp, $0.event.shard, $0.event.offset) }
        for index in nodes.indices where nodes[index].children.count > 1 {
            nodes[index].children.sort { order[$0] < order[$1] }
        }
    }

    /// Every message that the tree is about.
    var messages: [MessageName] { nodes.compactMap(\.message) }

    /// Messages of the tree without a terminal event in it.
    var unsettled: Set<MessageName> {
        var names = Set(messages)
        for node in nodes {
            guard node.event.event.kind == .acknowledged || node.event.event.kind == .timedOut,
                let message = node.message
            else { continue }
            names.remove(message)
        }
        return names
    }

    /// Marks what the classification of both halves says is open.
    mutating func markOpen(_ found: [MessageName: Classification]) {
        for index in nodes.indices {
            guard let message = nodes[index].message, let orphan = found[message]?.orphan else {
                continue
            }
            switch nodes[index].event.event.kind {
            case .sent:
                nodes[index].open = .pending
                nodes[index].orphan = orphan
            case .received where orphan.class == .owed:
                nodes[index].open = .owed
            default: break
            }
        }
    }
}
