internal import TallyCore
internal import TallyRuntime
internal import TallyStore

/// A scenario as it goes on: a world, a network in which everything waits until it is delivered, and
/// what is to be said in the transcript.
///
/// Before each directive every shard makes durable what it holds and says what it may, unless it is
/// held, or the directive is about just that moment (`crash`). Time stands still but for `wait` and
/// `settle`. Unless `shards` says `closed`, a scenario begins with all shards open and heard by all.
///
///     shards A B ... [unordered A/B] [pendingMax N] [retries off] [closed]    first, if at all
///     send FROM TO "text" [deadline D] [reply reject|later] [then TO "text"] [afterwards TO "text"]
///     note SHARD "text" | again SHARD | answer SHARD [rejected] [MESSAGE]
///     deliver|drop|repeat [TO] [from SHARD] [KIND] [N]    what waits; KIND is deliver, answer,
///                                     confirm?, confirmed, conflict or refused; N: the Nth of them
///     copy NAME [TO] [from SHARD] [KIND] [N] | old NAME   keeps a copy, and delivers it
///     forge NAME "text"|settled N         a copied message gets other bytes, or says that all through
///                                         N is settled; a copied answer answers other bytes
///     network                                             what waits
///     confirm                                             delivers confirm? and confirmed alone
///     hold SHARD | flush SHARD                            nothing becomes durable until then
///     crash SHARD [before-append|after-append|before-release|losing-unflushed]
///     close SHARD | open SHARD | restart SHARD | restore SHARD to OFFSET [without mark] | accept SHARD
///     disk SHARD full|append-error|error-after-append|flush-error|lies|sound
///     room SHARD all|no-commands|no-messages | snapshot SHARD
///     clock SHARD +D|-D|true | admit SHARD | wait D | settle
///     force MESSAGE | recover
///     orphans | findings | pending | verify
///     state SHARD | commits SHARD | counters SHARD | stop SHARD
final class ScenarioRun {
    typealias Node = World<ScenarioProgram>.Node

    /// An envelope under way.
    struct Waiting {
        var envelope: Envelope
        var bytes: [UInt8]
    }

    private var started: World<ScenarioProgram>?
    var network: [Waiting] = []
    var copies: [String: Waiting] = [:]
    var held: Set<ShardID> = []
    /// The next command of each shard's client, and the last one.
    var commands: [ShardID: [Command]] = [:]
    var said: [String] = []
    /// Shards of which it was said that they have stopped.
    private var stopped: Set<ShardID> = []
    private var isRecording = false

    /// Virtual time that `settle` goes on for at most.
    static var settleMax: UInt64 { 60_000_000_000 }

    func world() throws -> World<ScenarioProgram> {
        if let started { return started }
        return try start(Setup())
    }

    // MARK: The beginning

    struct Setup {
        var names = ["trades-0", "collateral-0"]
        var unordered: [(Int, Int)] = []
        var options = MachineOptions()
        var isClosed = false
    }

    @discardableResult
    func start(_ setup: Setup) throws -> World<ScenarioProgram> {
        guard started == nil else {
            throw ScenarioMisuse("shards: it stands before all other directives")
        }
        let world = try World<ScenarioProgram>(
            setup.names, seed: 1, options: setup.options, isOrdered: true,
            unordered: setup.unordered)
        world.onEnvelope = { [unowned self] _, envelope in
            network.append(Waiting(envelope: envelope, bytes: envelope.encoded()))
        }
        world.onFact = { [unowned self, unowned world] node, fact, offset in
            if isRecording { said.append(text(fact, offset, node, world)) }
        }
        world.trace = { [unowned self] line in if isRecording { said.append(line) } }
        started = world
        if !setup.isClosed {
            for node in world.nodes { try world.open(node) }
            try confirm(world)
            guard world.isSettled else {
                throw LawBroken("set-up", "the shards do not hear each other")
            }
            network = []
        }
        isRecording = true
        return world
    }

    private func text(
        _ fact: Fact, _ offset: Offset, _ node: Node, _ world: World<ScenarioProgram>
    ) -> String {
        var text = world.text(fact, offset, node)
        let record = (try? node.disk.record(at: offset)) ?? nil
        switch fact.kind {
        case .opened: text += " session \(node.facts.all.count { $0.kind == .opened })"
        case .sent, .noted:
            text += " \"\(ScenarioProgram.lines(record?.payload ?? [])[0])\""
        case .intervened where fact.peer.rawValue == 0: text += " (\(fact.reason.name))"
        case .reemitted:
            if let through = record?.event.through, through != fact.sequence {
                text += " through \(through.rawValue)"
            }
        default: break
        }
        return text
    }

    // MARK: Blocks

    func perform(_ line: String) throws {
        var words = try ScenarioWords(line)
        if words.verb == "shards" {
            try start(setup(&words))
            return
        }
        let world = try world()
        if words.verb != "crash" { try rest(world) }
        try perform(&words, world)
    }

    /// Ends a block.
    ///
    /// - Returns: Its transcript.
    func finishBlock() throws -> [String] {
        let world = try world()
        try rest(world)
        for node in world.nodes { try world.checkFold(node) }
        defer { said = [] }
        return Self.gathered(said).map(Self.shortened)
    }

    /// Checks what has to hold at the end.
    func end() throws {
        let world = try world()
        for node in world.nodes { try world.checkFold(node) }
        guard world.isSettled, !world.nodes.contains(where: \.hasForked) else { return }
        try world.checkHalves()
        if !world.hasForced { try world.checkAudit() }
    }

    /// The same event again and again, as one line.
    static func gathered(_ lines: [String]) -> [String] {
        var gathered: [String] = []
        var start = 0
        while start < lines.count {
            let (address, rest) = cut(lines[start])
            var end = start + 1
            while end < lines.count, cut(lines[end]).rest == rest, address.contains("@") {
                end += 1
            }
            if end - start > 2 {
                gathered.append("\(lines[start]), and so on through \(cut(lines[end - 1]).address)")
            } else {
                gathered += lines[start..<end]
            }
            start = end
        }
        return gathered
    }

    private static func cut(_ line: String) -> (address: Substring, rest: Substring) {
        let address = line.prefix { $0 != " " }
        return (address, line.dropFirst(address.count))
    }

    /// Digests by their first eight digits: enough to tell them apart.
    static func shortened(_ line: String) -> String {
        line.split(separator: " ", omittingEmptySubsequences: false).map { word in
            let digits = word.prefix { $0.isHexDigit }
            return digits.count == 64 ? digits.prefix(8) + word.dropFirst(64) : word
        }.joined(separator: " ")
    }

    // MARK: Time and the network

    /// Every shard makes durable what it holds, says what it may, and does what is due.
    func rest(_ world: World<ScenarioProgram>, but spared: ShardID? = nil) throws {
        for node in world.nodes where !held.contains(node.shard) && node.shard != spared {
            try world.flush(node)
            while let due = node.engine?.nextWake, due <= world.now {
                try world.take(.wake, node)
                try world.flush(node)
            }
            if let stop = node.engine?.stop {
                if stopped.insert(node.shard).inserted {
                    said.append(stop.text(world.directory, node.shard))
                }
            } else {
                stopped.remove(node.shard)
            }
        }
    }

    func arrive(_ waiting: Waiting, _ world: World<ScenarioProgram>) throws {
        let node = world[waiting.envelope.header.receiver]
        guard node.engine != nil else {
            said.append(
                "\(world.name(node.shard)) is down: \(world.text(waiting.envelope)) is lost")
            return
        }
        guard let envelope = Envelope(decoding: waiting.bytes) else {
            throw LawBroken("envelope", "what was encoded cannot be decoded")
        }
        for input in Input.inputs(of: envelope) {
            guard try world.take(input, node) != nil else { break }
        }
    }

    /// Delivers what confirms sessions, and nothing else, until all is said.
    func confirm(_ world: World<ScenarioProgram>) throws {
        for _ in 0..<1_000 {
            try rest(world)
            guard
                let index = network.firstIndex(where: {
                    switch $0.envelope.content {
                    case .confirmAsk, .confirmed: true
                    default: false
                    }
                })
            else { return }
            try arrive(network.remove(at: index), world)
        }
        throw LawBroken("liveness", "the shards confirm each other without end")
    }

    /// Lets time pass; shards wake when they want to, nothing is delivered.
    func wait(_ duration: UInt64, _ world: World<ScenarioProgram>) throws {
        let end = world.now + duration
        try rest(world)
        while let next = nextWake(world), next <= end {
            world.now = max(world.now, next)
            try rest(world)
        }
        world.now = end
        try rest(world)
    }

    private func nextWake(_ world: World<ScenarioProgram>) -> UInt64? {
        world.nodes.filter { !held.contains($0.shard) }.compactMap { $0.engine?.nextWake }.min()
    }

    /// Delivers everything, in order, and lets time pass, until all is settled or nothing more happens.
    func settle(_ world: World<ScenarioProgram>) throws {
        if let shard = held.min() {
            throw ScenarioMisuse("settle: \(world.name(shard)) is held; flush it first")
        }
        let end = world.now + Self.settleMax
        for _ in 0..<100_000 {
            try rest(world)
            if !network.isEmpty {
                try arrive(network.removeFirst(), world)
                continue
            }
            if world.isSettled {
                said.append("everything is settled")
                return
            }
            guard let next = nextWake(world), next <= end else {
                said.append("not settled: \(unsettled(world))")
                return
            }
            world.now = max(world.now, next)
        }
        throw LawBroken("liveness", "the network never falls silent")
    }

    private func unsettled(_ world: World<ScenarioProgram>) -> String {
        world.nodes.compactMap { node -> String? in
            let name = world.name(node.shard)
            guard let engine = node.engine else { return "\(name) is down" }
            if engine.stop != nil { return "\(name) has stopped" }
            var parts: [String] = []
            if engine.pendingCount > 0 { parts.append("\(engine.pendingCount) pending") }
            if engine.owedCount > 0 { parts.append("\(engine.owedCount) owed") }
            for peer in world.nodes where !engine.hears(peer.shard) {
                parts.append("does not hear \(world.name(peer.shard))")
            }
            return parts.isEmpty ? nil : "\(name) \(parts.joined(separator: ", "))"
        }.joined(separator: "; ")
    }
}
