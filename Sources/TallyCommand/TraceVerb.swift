import ArgumentParser
import TallyAudit
import TallyCore
import TallyStore

/// `tally trace`
struct TraceVerb<P: Program>: LedgerVerb {
    static var configuration: CommandConfiguration {
        CommandConfiguration(
            commandName: "trace",
            abstract: "What led to a message, and all that came of it, over every shard.",
            discussion: """
                  tally trace DIR trades-0/collateral-1/42

                From the root stimulus through the message to every consequence: each step with the \
                time since the one that caused it. An only consequence stands below its cause, several \
                branch off. The message's own steps are marked with >, what is not done with [pending] \
                and [owed].
                """)
    }

    @OptionGroup var ledger: LedgerArgument
    @Argument(help: "The message: origin/destination/sequence.")
    var message: String
    @OptionGroup var at: AtOption
    @Option(help: "Follow so many messages at most, upwards and downwards.")
    var depth = CausalTree.Bounds().hopsMax
    @OptionGroup var json: JSONFlag

    func validate() throws {
        guard depth >= 0 else { throw ValidationError("--depth is at least 0.") }
    }

    func run<Q: Program>(_ ledger: Ledger, as program: Q.Type) throws {
        let name = try ledger.message(named: message)
        let audit = AuditLedger(ledger)
        var bounds = CausalTree.Bounds()
        bounds.hopsMax = depth
        let trace = try Trace(name, audit, at: try at.cut(of: audit), bounds: bounds)
        if case .notFound = trace.verdict, trace.problems.isEmpty {
            throw UsageError(
                "\(message) was never sent or received, as far as the logs go; to see what was: "
                    + "tally log \(ledger.directory) --kind sent --kind received")
        }
        if json.isOn {
            printJSON(trace, ledger.shards)
        } else {
            var output = Output()
            let drawing = TraceDrawing(trace, ledger.shards, isBoxed: Console.drawsBoxes)
            for line in drawing.lines(program, depth) { output.line(line) }
        }
        for (_, problem) in trace.problems { Console.notRead(problem.text) }
        if !trace.problems.isEmpty { throw Exit.partial }
    }

    private func printJSON(_ trace: Trace, _ directory: ShardDirectory) {
        var json = JSONText()
        json.beginObject()
        json.field("message", directory.text(trace.message))
        json.field("verdict", trace.verdict.text)
        if let cause = trace.cause {
            json.field("cause", directory.address(cause.shard, cause.offset))
        }
        json.beginArray("steps")
        for step in trace.steps {
            json.beginObject()
            json.field("event", directory.address(step.event.shard, step.event.offset))
            json.field("kind", step.event.event.kind.name)
            json.field("time", step.event.record.timestamp.description)
            if step.event.event.outcome != .none {
                json.field("outcome", step.event.event.outcome.name)
            }
            if let since = step.sincePrevious { json.field("afterNanoseconds", Int(since)) }
            json.endObject()
        }
        json.endArray()
        json.beginArray("consequences")
        for event in trace.consequences {
            json.field(nil, directory.address(event.shard, event.offset))
        }
        json.endArray()
        if !trace.tree.nodes.isEmpty { printNode(0, "tree", trace.tree, directory, &json) }
        let tree = trace.tree
        if tree.hasCausesLeftOut || tree.messagesLeftOut > 0 || tree.stepsLeftOut > 0 {
            json.beginObject("leftOut")
            json.field("causes", tree.hasCausesLeftOut)
            json.field("messages", tree.messagesLeftOut)
            json.field("steps", tree.stepsLeftOut)
            json.endObject()
        }
        json.endObject()
        json.endLine()
        json.printed()
    }

    /// As deep as the tree, which has a thousand steps at most.
    private func printNode(
        _ index: Int, _ key: String?, _ tree: CausalTree, _ directory: ShardDirectory,
        _ json: inout JSONText
    ) {
        let node = tree.nodes[index]
        json.beginObject(key)
        json.field("event", directory.address(node.event.shard, node.event.offset))
        json.field("kind", node.event.event.kind.name)
        if let message = node.message { json.field("message", directory.text(message)) }
        json.field("time", node.event.record.timestamp.description)
        if let since = node.sinceParent { json.field("afterNanoseconds", Int(since)) }
        if let open = node.open { json.field("open", open.rawValue) }
        json.beginArray("children")
        for child in node.children { printNode(child, nil, tree, directory, &json) }
        json.endArray()
        json.endObject()
    }
}

extension Trace.Verdict {
    /// One word for it.
    var text: String {
        switch self {
        case .settled: "settled"
        case .orphan(let orphan): orphan.rawValue
        case .remarkable(let half): half.rawValue
        case .notFound: "not found"
        }
    }
}
