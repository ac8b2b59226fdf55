internal import TallyAudit
internal import TallyCore
internal import TallyRuntime

/// What a scenario can ask.
extension ScenarioRun {
    func question(_ words: inout ScenarioWords, _ world: World<ScenarioProgram>) throws {
        let answer: [String]
        let none: String
        switch words.verb {
        case "network": (answer, none) = (network.map { world.text($0.envelope) }, "nothing waits")
        case "orphans": (answer, none) = (try orphans(world), "no orphans")
        case "findings": (answer, none) = (try findings(world), "no findings")
        case "pending": (answer, none) = (pending(world), "nothing is pending or owed")
        case "verify":
            answer = try Verify.run(ScenarioProgram.self, world.audit()).findings
                .map { "\($0.code): \($0.text)" }
            none = "verify finds nothing"
        case "state":
            let (node, engine) = try running(&words, world)
            answer = ScenarioProgram.fields(engine.machine.application)
                .filter { !$0.value.isEmpty }
                .map { "\(world.name(node.shard)) \($0.name): \($0.value)" }
            none = "\(world.name(node.shard)) is empty"
        case "commits":
            let node = try shard(&words, world)
            answer = [commits(node, world)]
            none = ""
        case "counters":
            let (node, engine) = try running(&words, world)
            answer = Self.counters(engine.machine.counters)
                .map { "\(world.name(node.shard)) \($0)" }
            none = "\(world.name(node.shard)) counted nothing"
        case "stop":
            let (node, engine) = try running(&words, world)
            answer = engine.stop.map { [$0.text(world.directory, node.shard)] } ?? []
            none = "\(world.name(node.shard)) serves"
        default:
            throw ScenarioMisuse(
                "there is no directive '\(words.verb)'; ScenarioRun.swift lists them")
        }
        try words.end()
        said += answer.isEmpty ? [none] : answer
    }

    private func places(_ evidence: [Evidence], _ world: World<ScenarioProgram>) -> String {
        evidence.map { world.directory.address($0.shard, $0.offset) }.joined(separator: " ")
    }

    /// Which events of a log are one commit.
    private func commits(_ node: Node, _ world: World<ScenarioProgram>) -> String {
        let ranges = node.disk.commits.map { commit -> String in
            let (first, last) = (commit.first.rawValue, commit.end.offset.rawValue)
            return first == last ? "\(first)" : "\(first)-\(last)"
        }
        return "\(world.name(node.shard)) commits: \(ranges.joined(separator: ", "))"
    }

    private func orphans(_ world: World<ScenarioProgram>) throws -> [String] {
        try Join.run(world.audit()).orphans.map { orphan in
            "\(world.directory.text(orphan.message)) \(orphan.class.rawValue)"
                + (orphan.isOverdue ? " overdue" : "")
                + "  evidence \(places(orphan.evidence, world))"
        }
    }

    private func findings(_ world: World<ScenarioProgram>) throws -> [String] {
        try Join.run(world.audit()).findings.map { finding in
            "\(world.directory.text(finding.message)) \(finding.class.rawValue)"
                + (finding.detail == .none ? "" : " \(finding.detail.rawValue)")
                + "  evidence \(places(finding.evidence, world))"
        }
    }

    private func pending(_ world: World<ScenarioProgram>) -> [String] {
        world.nodes.flatMap { node -> [String] in
            guard let machine = node.engine?.machine else {
                return ["\(world.name(node.shard)) is down"]
            }
            var lines: [String] = []
            for peer in world.nodes {
                machine.messaging.peer(peer.shard)?.pending.forEach { sequence, _ in
                    let name = MessageName(from: node.shard, to: peer.shard, sequence)
                    lines.append("\(world.directory.text(name)) pending")
                    return true
                }
            }
            return lines + machine.application.owed.map { "\(world.directory.text($0)) owed" }
        }
    }

    private static func counters(_ counters: MachineCounters) -> [String] {
        [
            ("unheard", counters.unheard), ("below the floor", counters.belowFloor),
            ("answered again", counters.repeated), ("too early", counters.early),
            ("refused", counters.refused), ("late answers", counters.late),
            ("refusals heard", counters.refusalsHeard),
            ("past pendingMax", counters.pastPendingMax),
        ].filter { $0.1 > 0 }.map { "\($0.0): \($0.1)" }
    }
}
