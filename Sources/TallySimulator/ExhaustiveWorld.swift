internal import TallyCore

extension Exploration {
    /// One commit of a shard's log, and what the log folds to there. Never changed once it is made,
    /// so that every state that shares a prefix of a log shares the objects.
    final class Boundary: OwnLog, Sendable {
        let before: Boundary?
        let records: [LogRecord]
        let end: LogPosition
        let messaging: MessagingState
        let tallies: [Tally]

        /// The empty log.
        init(_ messaging: MessagingState) {
            before = nil
            records = []
            end = LogPosition(offset: .none, head: .none, timestamp: .none)
            self.messaging = messaging
            tallies = []
        }

        /// Reads a sealed commit from its bytes and folds it, apart from the machine that made it.
        init(_ bytes: [UInt8], after before: Boundary, _ context: ShardContext) throws(Breach) {
            var records: [LogRecord] = []
            var end = before.end
            var messaging = before.messaging
            var tallies = before.tallies
            do {
                let key = Offset(before.end.offset.rawValue + 1)
                // The span ends before the array does.
                try unsafe bytes.span.bytes.withCommit(key: key) { commit in
                    messaging.fold(commit)
                    let time = commit.timestamp
                    commit.forEach { view in
                        records.append(
                            LogRecord(
                                event: view.event, timestamp: time, payload: view.payload,
                                result: view.result))
                        if view.kind.isForPrograms { Errands.fold(view, into: &tallies, context) }
                    }
                    end = LogPosition(
                        offset: commit.lastOffset, head: widened(bytes[...]), timestamp: time)
                }
            } catch {
                throw Breach(.readable, "\(error)")
            }
            self.before = before
            self.records = records
            self.end = end
            self.messaging = messaging
            self.tallies = tallies
        }

        func record(at offset: Offset) -> LogRecord? {
            guard offset != .none, offset <= end.offset else { return nil }
            var commit = self
            while let before = commit.before, offset <= before.end.offset { commit = before }
            let first = commit.before?.end.offset.rawValue ?? 0
            return commit.records[Int(offset.rawValue - first - 1)]
        }

        func digest(_ message: MessageContent) -> Digest {
            widened(message.digestPrefix[...], message.payload)
        }
    }

    /// A digest for an exploration, which meets no forger: 64 bits of FNV-1a, widened.
    static func widened(_ parts: ArraySlice<UInt8>...) -> Digest {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for part in parts {
            for byte in part { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01B3 }
        }
        var words = SplitMix64(seed: hash)
        return Digest((words.next(), words.next(), words.next(), words.next()))
    }

    /// One shard: its machine, its log, its clocks.
    final class Node {
        let shard: ShardID
        var machine: ShardMachine<Errands>
        /// The end of what is appended.
        var end: Boundary
        /// The end of what is durable.
        var durable: Boundary
        var isUp = false
        /// Sessions begun, also those whose `opened` was lost: what makes a nonce new.
        var starts: UInt64 = 0
        /// The clock that never goes back.
        var ticks: UInt64 = 1000
        /// How often a deadline has passed on the wall clock.
        var phase: UInt64 = 0

        init(_ shard: ShardID, _ machine: ShardMachine<Errands>, _ log: Boundary) {
            self.shard = shard
            self.machine = machine
            end = log
            durable = log
        }

        init(copying node: Node) {
            shard = node.shard
            machine = node.machine
            end = node.end
            durable = node.durable
            isUp = node.isUp
            starts = node.starts
            ticks = node.ticks
            phase = node.phase
        }

        var now: Now { Now(wall: Timestamp((1000 + phase) * phaseLength), ticks: ticks) }

        /// Commits that are appended and not durable.
        var unflushed: Int {
            var (count, commit) = (0, end)
            while commit !== durable, let before = commit.before {
                count += 1
                commit = before
            }
            return count
        }

        /// The end of the log when so many commits behind the durable ones are kept.
        func boundary(keeping kept: Int) -> Boundary {
            var commit = end
            for _ in 0..<(unflushed - kept) { commit = commit.before ?? commit }
            return commit
        }

        /// When everything that the machine waits for is past; `nil`: it waits for nothing.
        var lastWake: UInt64? {
            var last: UInt64?
            for link in machine.links {
                for time in [link.askAt, link.retryAt, link.quiet.values.max()] {
                    if let time { last = max(last ?? time, time) }
                }
            }
            return last
        }
    }

    /// Nanoseconds of one jump of a wall clock past a deadline.
    static var phaseLength: UInt64 { 1_000_000_000 }

    /// A law that does not hold.
    struct Breach: Error {
        var law: Law
        var text: String
        /// Whether the state itself is whole, and what follows from it is not.
        var isBehind: Bool

        init(_ law: Law, _ text: String, isBehind: Bool = false) {
            self.law = law
            self.text = text
            self.isBehind = isBehind
        }
    }

    /// Everything that can influence what happens next: one state of the exploration.
    struct World {
        var nodes: [Node]
        var bag: [Flight] = []
        var crashesLeft: Int
        /// In a fair continuation: what is under way, in order; each arrives once.
        var queue: [Envelope] = []
        var isFair = false
        let setting: Setting
        /// Who counts goals; nobody in a fair continuation.
        var goals: Goals?

        subscript(_ shard: ShardID) -> Node { nodes[Int(shard.rawValue) - 1] }

        /// The node, this state's own from here on.
        mutating func own(_ shard: ShardID) -> Node {
            let index = Int(shard.rawValue) - 1
            if !isKnownUniquelyReferenced(&nodes[index]) {
                nodes[index] = Node(copying: nodes[index])
            }
            return nodes[index]
        }
    }

    /// What stays the same through one exploration.
    final class Setting: Sendable {
        let options: Options
        let directory: ShardDirectory
        let rules: MessagingState.Rules
        let machine: MachineOptions
        /// What each shard's commands send, in order.
        let scripts: [[[Errand]]]
        let hasDeadlines: Bool

        init?(_ options: Options) {
            let names = Array(["a", "b", "c", "d"].prefix(options.shards))
            guard names.count == options.shards, let directory = ShardDirectory(names),
                options.messages.allSatisfy({ names.indices.contains($0.from) }),
                options.messages.allSatisfy({ names.indices.contains($0.to) })
            else { return nil }
            self.options = options
            self.directory = directory
            rules = MessagingState.Rules(ordered: options.isOrdered)
            scripts = names.indices.map { shard in
                let own = options.messages.filter { $0.from == shard }
                guard options.sendsAtOnce else { return own.map { [$0] } }
                return own.isEmpty ? [] : [own]
            }
            hasDeadlines = options.messages.contains(where: \.hasDeadline)
            var machine = MachineOptions()
            // Every pause the same and as short as can be: the order of the timers is what counts.
            (machine.askBase, machine.askMax) = (4, 4)
            (machine.retryBase, machine.retryMax) = (4, 4)
            machine.clockSkewMax = .max
            machine.witnessEvery = .max
            self.machine = machine
        }

        func context(_ shard: ShardID) -> ShardContext {
            ShardContext(shard: shard, directory: directory)
        }

        func name(_ shard: ShardID) -> String { directory.name(of: shard) }
    }
}

extension Exploration.World {
    /// The state at the beginning: every shard has opened its first session.
    init(_ setting: Exploration.Setting) throws(Exploration.Breach) {
        self.setting = setting
        crashesLeft = setting.options.crashesMax
        nodes = []
        for shard in setting.directory.all {
            let messaging = MessagingState(
                shard: shard, shardCount: setting.directory.count, rules: setting.rules)
            let log = Exploration.Boundary(messaging)
            nodes.append(Exploration.Node(shard, Self.machine(shard, log, setting), log))
        }
        for shard in setting.directory.all { try start(shard) }
        for shard in setting.directory.all { try flush(shard) }
        guard setting.options.isConnected else { return }
        queue = bag.map(\.envelope)
        bag = []
        isFair = true
        _ = try settle { $0.isConnected }
        isFair = false
    }

    private static func machine(
        _ shard: ShardID, _ log: Exploration.Boundary, _ setting: Exploration.Setting
    ) -> ShardMachine<Exploration.Errands> {
        ShardMachine(
            context: setting.context(shard), options: setting.machine, messaging: log.messaging,
            application: log.tallies, durable: log.end)
    }

    /// Gives an input, and seals what it led to: each input has its own commit.
    @discardableResult
    mutating func input(
        _ node: Exploration.Node, _ input: Input
    ) throws(Exploration.Breach) -> StepResult {
        let result = node.machine.step(input, now: node.now, log: node.end)
        if case .sealFirst = result {
            throw Exploration.Breach(.progress, "a commit is open that nobody has begun")
        }
        if let stop = node.machine.stop {
            throw Exploration.Breach(.noStop, stop.text(setting.directory, node.shard))
        }
        guard !node.machine.commit.isEmpty else { return result }
        node.machine.seal(previousHead: node.end.end.head)
        let boundary = try Exploration.Boundary(
            node.machine.commit.bytes, after: node.end, setting.context(node.shard))
        node.machine.sealed()
        node.end = boundary
        try check(appended: boundary, by: node)
        return result
    }

    /// Begins a session.
    mutating func start(_ shard: ShardID) throws(Exploration.Breach) {
        let node = own(shard)
        if setting.options.planted == .startsEarlier, let before = node.durable.before {
            node.end = before
            node.durable = before
        }
        node.machine = Self.machine(shard, node.durable, setting)
        node.isUp = true
        node.starts += 1
        let nonce = Bytes16(low: UInt64(shard.rawValue), high: node.starts)
        try input(node, .open(nonce: nonce, clean: false))
    }

    /// Makes durable what is appended, all of it or through a commit, and lets out what may leave.
    mutating func flush(
        _ shard: ShardID, through commit: Exploration.Boundary? = nil
    ) throws(Exploration.Breach) {
        let node = own(shard)
        let commit = commit ?? node.end
        // A planted fault begins with the exploration, not before it.
        let isNew = node.durable !== commit
        if setting.options.planted != .speaksFirst || goals == nil { node.durable = commit }
        let envelopes = node.machine.release(durable: commit.end)
        for envelope in envelopes {
            // One item each: an envelope of several is the same as several that arrive at once.
            for one in envelope.apart {
                try check(released: one, by: node)
                if isFair { queue.append(one) } else { bag.append(Exploration.Flight(one)) }
            }
        }
        if isNew || !envelopes.isEmpty { tidy() }
    }

    /// Ends a shard's session; its log keeps so many of the commits that were not durable.
    mutating func crash(_ shard: ShardID, keeping kept: Int) {
        let node = own(shard)
        node.end = node.boundary(keeping: kept)
        node.durable = node.end
        if setting.options.planted == .losesDurable, let before = node.durable.before {
            node.end = before
            node.durable = before
        }
        node.isUp = false
        tidy()
    }
}
