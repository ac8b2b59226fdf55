internal import TallyCore
internal import TallyRuntime
internal import TallyStore

/// One run: a load, a network and faults, over a world.
final class Run<L: Load> {
    typealias Node = World<L.Program>.Node

    enum Item {
        case arrive(ShardID, [UInt8])
        case flush(ShardID)
        case wake(ShardID)
        case command
        case again(ShardID, Command)
        case fault(Fault)
        case end(Fault, ShardID)
        case open(ShardID)
    }

    /// What the driver keeps about a shard.
    struct Desk {
        var isFlushDue = false
        var wakeAt: UInt64 = .max
        var pausedUntil: UInt64 = 0
        var isSlow = false
        var pressure = DiskPressure.none
        /// The next command of the shard's client.
        var sequence = SequenceNumber(1)
        /// Commands that were recorded and are not durable yet.
        var unacknowledged: [(command: Command, performed: Performed)] = []
        /// The last few that are.
        var acknowledged: [(command: Command, performed: Performed)] = []
    }

    let plan: RunPlan
    let world: World<L.Program>
    var load: L
    var random: SplitMix64
    var agenda = Agenda<Item>()
    var desks: [Desk]
    var isCalm = false
    /// Links that carry nothing, by sender and receiver.
    var cuts: [[Int]]
    /// Envelopes of earlier, a sample.
    var old: [(ShardID, [UInt8])] = []
    var isLoadDone = false
    var burst = 0
    var report: Simulation.Report
    /// The first steps of a run do not count against it: commands are asked at the given pace.
    private var steps = 0

    /// Steps of a run at most, and virtual time in which everything has to settle once faults stop.
    static var stepsMax: Int { 20_000_000 }
    static var settleMax: UInt64 { 7_200_000_000_000 }

    init(
        _ plan: RunPlan, _ load: L, _ names: [String], seed: UInt64, trace: ((String) -> Void)?
    ) {
        self.plan = plan
        self.load = load
        random = SplitMix64(seed: seed)
        report = Simulation.Report(seed: plan.seed)
        report.program = L.Program.name
        report.shards = names.count
        desks = Array(repeating: Desk(), count: names.count)
        cuts = Array(repeating: Array(repeating: 0, count: names.count + 1), count: names.count + 1)
        // The names were made here.
        guard
            let world = try? World<L.Program>(
                names, seed: random.next(), options: plan.machine, isOrdered: plan.isOrdered,
                unordered: plan.hasOddChannel && names.count > 1 ? [(0, 1)] : [])
        else { preconditionFailure("names of shards made by the simulation are valid") }
        self.world = world
        if let trace {
            world.trace = { [unowned world] line in
                trace("\(Self.seconds(world.now))  \(line)")
            }
        }
        world.onEnvelope = { [unowned self] _, envelope in say(envelope) }
        world.onFact = { [unowned self] node, fact, offset in met(fact, offset, node) }
    }

    static func seconds(_ nanoseconds: UInt64) -> String {
        let micros = String(nanoseconds / 1_000 % 1_000_000)
        return "\(nanoseconds / 1_000_000_000)."
            + String(repeating: "0", count: 6 - micros.count) + micros
    }

    func below(_ bound: UInt64) -> UInt64 { random.next() % max(1, bound) }
    func chance(_ percent: UInt64) -> Bool { below(100) < percent }
    func anyNode() -> Node { world.nodes[Int(below(UInt64(world.nodes.count)))] }
    func desk(_ node: Node) -> Int { Int(node.shard.rawValue) - 1 }
    func has(_ fault: Fault) -> Bool { !isCalm && plan.faults.contains(fault) }
    func count(_ fault: Fault) { report.faults[fault, default: 0] += 1 }
    func reach(_ goal: Goal) { report.goals.insert(goal.rawValue) }

    // MARK: The whole run

    func run() -> Simulation.Report {
        do {
            for node in world.nodes {
                draw(node)
                try world.open(node)
                rest(node)
            }
            schedule()
            try live()
            try calm()
            try finish()
        } catch let broken as LawBroken {
            world.note("\(broken.law): \(broken.text)")
            report.failure = Simulation.Failure(law: broken.law, text: broken.text)
        } catch {
            report.failure = Simulation.Failure(law: "error", text: "\(error)")
        }
        close()
        return report
    }

    private func schedule() {
        agenda.add(.command, at: world.now + below(plan.gap) + 1)
        let commands = UInt64(max(4, plan.messages / 2))
        let duration = plan.gap * commands
        for fault in Fault.allCases where plan.faults.contains(fault) && fault.isEvent {
            let times = 1 + below(fault.timesMax)
            for _ in 0..<times { agenda.add(.fault(fault), at: world.now + below(duration) + 1) }
        }
    }

    /// The first phase: until the load is over.
    private func live() throws {
        while !isLoadDone, let (time, item) = agenda.pop() { try step(time, item) }
        // What was under way goes on for a while, faults included.
        let end = world.now + 2 * plan.gap + 1_000_000_000
        while let next = agenda.nextTime, next <= end, let (time, item) = agenda.pop() {
            try step(time, item)
        }
    }

    /// Does what comes next.
    func advance() throws {
        if let (time, item) = agenda.pop() { try step(time, item) }
    }

    private func step(_ time: UInt64, _ item: Item) throws {
        world.now = max(world.now, time)
        steps += 1
        guard steps < Self.stepsMax else {
            throw LawBroken("liveness", "\(steps) steps, and still no end")
        }
        switch item {
        case .command: try command()
        case .fault(let fault): if !isCalm { try happen(fault) }
        case .end(let fault, let shard): end(fault, world[shard])
        case .open(let shard):
            let node = world[shard]
            guard node.engine == nil else { return }
            try open(node)
        case .arrive(let shard, let bytes):
            if !postpone(item, shard) { try arrive(world[shard], bytes) }
        case .flush(let shard):
            if !postpone(item, shard) { try flush(world[shard]) }
        case .wake(let shard):
            if !postpone(item, shard) { try wake(world[shard]) }
        case .again(let shard, let command):
            if !postpone(item, shard) { try ask(world[shard], command, isAgain: true) }
        }
    }

    /// A process that stands still does nothing until it goes on.
    private func postpone(_ item: Item, _ shard: ShardID) -> Bool {
        let until = desks[Int(shard.rawValue) - 1].pausedUntil
        guard until > world.now else { return false }
        agenda.add(item, at: until)
        return true
    }

    // MARK: One shard

    /// After a shard took something: plans its flush and its next wake.
    func rest(_ node: Node) {
        let index = desk(node)
        guard let engine = node.engine else {
            fell(node)
            return
        }
        if !desks[index].isFlushDue {
            desks[index].isFlushDue = true
            let delay: UInt64
            if desks[index].isSlow {
                delay = below(10_000_000_000)
                count(.slowDisk)
            } else {
                delay = 50_000 + below(2_000_000)
            }
            agenda.add(.flush(node.shard), at: world.now + delay)
        }
        plan(engine.machine.nextWake, node)
    }

    private func plan(_ wake: UInt64?, _ node: Node) {
        let index = desk(node)
        guard let wake, max(wake, world.now) < desks[index].wakeAt else { return }
        desks[index].wakeAt = max(wake, world.now)
        agenda.add(.wake(node.shard), at: desks[index].wakeAt)
    }

    private func wake(_ node: Node) throws {
        let index = desk(node)
        guard desks[index].wakeAt <= world.now else { return }
        desks[index].wakeAt = .max
        guard let engine = node.engine else { return }
        guard let due = engine.machine.nextWake, due <= world.now else {
            plan(engine.machine.nextWake, node)
            return
        }
        try world.take(.wake, node)
        rest(node)
    }

    func flush(_ node: Node) throws {
        let index = desk(node)
        desks[index].isFlushDue = false
        guard let engine = node.engine else { return }
        let before = engine.commits
        try world.flush(node)
        guard node.engine != nil else {
            fell(node)
            return
        }
        if engine.commits > before + 1 { reach(.severalCommitsInOneFlush) }
        let durable = engine.machine.durable.offset
        while let first = desks[index].unacknowledged.first, first.performed.through <= durable {
            desks[index].unacknowledged.removeFirst()
            desks[index].acknowledged.append(first)
            if desks[index].acknowledged.count > 4 { desks[index].acknowledged.removeFirst() }
        }
        if engine.machine.stop != nil { try stopped(node) }
        plan(node.engine?.machine.nextWake, node)
    }

    /// A shard went down: its client asks again for what it got no answer to, once it is up.
    func fell(_ node: Node) {
        let index = desk(node)
        desks[index].wakeAt = .max
        desks[index].isFlushDue = false
        guard !agendaOpens.contains(index) else { return }
        agendaOpens.insert(index)
        agenda.add(.open(node.shard), at: world.now + 1_000_000 + below(isCalm ? 1 : plan.gap * 4))
        if world.nodes.allSatisfy({ $0.engine == nil }) { reach(.allDown) }
    }
    /// Shards that will be opened.
    private var agendaOpens: Set<Int> = []

    func open(_ node: Node) throws {
        let index = desk(node)
        agendaOpens.remove(index)
        if node.hasForked, node.disk.mark.map({ $0.position.offset > node.disk.end().offset }) == true {
            reach(.behindMark)
        }
        let hadSnapshot = node.snapshot != nil
        try world.open(node)
        guard let engine = node.engine else {
            fell(node)
            return
        }
        if hadSnapshot { reach(node.start.eventCount > 0 ? .snapshotUsed : .snapshotSkipped) }
        if node.start.messaging.owedCount > 0 { reach(.owedAcrossRestart) }
        if node.start.messaging.pendingCount > 0 { reach(.pendingAcrossRestart) }
        engine.setPressure(desks[index].pressure)
        let asked = desks[index].unacknowledged
        desks[index].unacknowledged = []
        if node.hasForked {
            desks[index].acknowledged = []
            desks[index].sequence = SequenceNumber(desks[index].sequence.rawValue + 1_000_000)
        }
        for (command, _) in asked {
            agenda.add(.again(node.shard, command), at: world.now + 1_000_000)
        }
        rest(node)
    }

    private func stopped(_ node: Node) throws {
        switch node.engine?.machine.stop {
        case .fork:
            reach(.forkStopped)
            // In the first phase an operator is not always at hand.
            guard isCalm || chance(50) else { return }
            try world.acceptFork(node)
            reach(.forkAccepted)
            rest(node)
        case .conflict:
            // What is in conflict stays so: an operator forces the message out of the way.
            reach(.conflict)
            try settleConflict(node)
        default: break
        }
    }

    private func settleConflict(_ node: Node) throws {
        guard case .conflict(let name, _, _)? = node.engine?.machine.stop else { return }
        world.kill(node)
        try world.open(node)
        world.hasForced = true
        _ = try world.take(.force(name, reason: Array("conflict".utf8)), node)
        rest(node)
    }

    private func arrive(_ node: Node, _ bytes: [UInt8]) throws {
        guard node.engine != nil else { return }
        guard let envelope = Envelope(decoding: bytes) else { return }
        world.note("  \(world.text(envelope)) arrives at \(world.name(node.shard))")
        for input in Input.inputs(of: envelope) {
            guard try world.take(input, node) != nil else { break }
        }
        rest(node)
    }

    // MARK: Commands

    private func command() throws {
        guard let (shard, payload) = load.next() else {
            isLoadDone = true
            return
        }
        if burst > 0 {
            burst -= 1
            agenda.add(.command, at: world.now + 1_000)
        } else {
            agenda.add(.command, at: world.now + 1 + below(2 * plan.gap))
        }
        try ask(world[shard], payload)
    }

    /// The shard's client asks for a command of its own.
    func ask(_ node: Node, _ payload: [UInt8]) throws {
        let index = desk(node)
        let command = Command(
            client: Bytes16(low: 0xC1, high: UInt64(node.shard.rawValue)),
            sequence: desks[index].sequence, payload: payload)
        try ask(node, command, isAgain: false)
    }

    private func ask(_ node: Node, _ command: Command, isAgain: Bool) throws {
        let index = desk(node)
        guard node.engine != nil else {
            // Nobody is there: the client tries again later, under the same name.
            if !isAgain { desks[index].sequence = desks[index].sequence.next }
            agenda.add(.again(node.shard, command), at: world.now + 500_000_000)
            return
        }
        guard case .command(let outcome)? = try world.take(.command(command), node) else {
            if !isAgain { desks[index].sequence = desks[index].sequence.next }
            agenda.add(.again(node.shard, command), at: world.now + 500_000_000)
            fell(node)
            return
        }
        switch outcome {
        case .recorded(let performed):
            if !isAgain { desks[index].sequence = desks[index].sequence.next }
            desks[index].unacknowledged.append((command, performed))
            world.note(
                "\(world.name(node.shard)) records a command of \(performed.messages.count)"
                    + " messages at @\(performed.offset.rawValue)")
        case .known: reach(.commandKnown)
        case .refused(let refusal): refused(refusal)
        }
        rest(node)
    }

    private func refused(_ refusal: Refusal) {
        switch refusal.code {
        case .backpressure: reach(.backpressure)
        case .clockBehind: reach(.clockBehind)
        case .tooOld: reach(.commandTooOld)
        case .full: reach(.diskFull)
        default: break
        }
    }

    /// A client asks again for what it has an answer to, and gets the same one.
    func askAgain(_ node: Node) throws {
        let index = desk(node)
        guard let (command, performed) = desks[index].acknowledged.first, !node.hasForked,
            node.engine?.machine.stop == nil,
            case .command(let outcome)? = try world.take(.command(command), node)
        else { return }
        guard case .known(let again) = outcome, again.offset == performed.offset,
            again.result == performed.result
        else {
            throw LawBroken(
                "command",
                "\(world.name(node.shard)) was asked again for \(performed), and says \(outcome)")
        }
        reach(.commandKnown)
        rest(node)
    }
}
