import TallyAudit
import TallyCore
import TallyStore

/// A causal tree as lines of text, at most 100 columns wide.
///
/// The time since the cause stands in a column of its own, then the tree. An only consequence
/// stands below its cause without being indented, as in a list of commits: only where several
/// follow from one does the drawing branch, so a chain of many hops stays readable.
struct TraceDrawing {
    static let width = 100

    private let trace: Trace
    private let directory: ShardDirectory
    private let branch: String
    private let last: String
    private let line: String

    init(_ trace: Trace, _ directory: ShardDirectory, isBoxed: Bool) {
        self.trace = trace
        self.directory = directory
        branch = isBoxed ? "\u{251C}\u{2500} " : "+- "
        last = isBoxed ? "\u{2514}\u{2500} " : "`- "
        line = isBoxed ? "\u{2502}  " : "|  "
    }

    /// The message and its verdict, the tree, and what was left out of it.
    func lines<Q: Program>(_ program: Q.Type, _ depth: Int) -> [String] {
        let style: Console.Style = trace.verdict == .settled ? .green : .yellow
        var lines = [
            Console.styled(directory.text(trace.message), .bold) + "  "
                + Console.styled(trace.verdict.text, style)
        ]
        let tree = trace.tree
        guard let root = tree.nodes.first else { return lines }
        lines[0] += "  began \(root.event.record.timestamp)"
        if tree.hasCausesLeftOut {
            let name = root.message.map { directory.text($0) } ?? "an earlier message"
            lines.append(note("left out: what led to this; to see it, trace \(name)"))
        }
        for (index, prefix) in placed() { lines.append(text(index, prefix, program)) }
        if tree.messagesLeftOut > 0 {
            lines.append(
                note(
                    "left out: \(readable(tree.messagesLeftOut, "message")) more than "
                        + "\(readable(depth, "hop")) away; --depth \(more(than: depth)) shows more")
            )
        }
        if tree.stepsLeftOut > 0 {
            lines.append(
                note(
                    "left out: \(readable(tree.stepsLeftOut, "step")) and what came of them; "
                        + "\(readable(tree.nodes.count)) are shown, a smaller --depth shows others")
            )
        }
        return lines
    }

    private func more(than depth: Int) -> Int { depth < 4 ? 8 : min(depth, 1 << 20) * 2 }

    private func note(_ text: String) -> String {
        Console.styled(String(repeating: " ", count: 11) + text, .dim)
    }

    /// Every node with what is drawn in front of it, in reading order.
    private func placed() -> [(index: Int, prefix: String)] {
        var placed: [(index: Int, prefix: String)] = []
        // Not by recursion: a chain may be as long as the tree.
        var waiting: [(index: Int, prefix: String, below: String)] = [(0, "", "")]
        while let (index, prefix, below) = waiting.popLast() {
            placed.append((index, prefix))
            let children = trace.tree.nodes[index].children
            if children.count == 1 {
                waiting.append((children[0], below, below))
                continue
            }
            for child in children.reversed() {
                let isLast = child == children.last
                waiting.append(
                    (child, below + (isLast ? last : branch), below + (isLast ? "   " : line)))
            }
        }
        return placed
    }

    private func text<Q: Program>(_ index: Int, _ prefix: String, _ program: Q.Type) -> String {
        let node = trace.tree.nodes[index]
        let event = node.event
        let isAsked = node.message == trace.message
        var after = ""
        if let since = node.sinceParent {
            after = (since < 0 ? "-" : "+") + readable(nanoseconds: since.magnitude)
        }
        let left =
            (isAsked ? "> " : "  ") + String(repeating: " ", count: max(0, 8 - after.count)) + after
        let address = directory.address(event.shard, event.offset)
        let mark = open(node)
        let tail = mark.isEmpty ? "" : "  " + mark
        let subject = detail(node, program)
        let start = "\(left) \(prefix)\(address) \(event.event.kind.name)"
        // Deep down the drawing itself may fill the line: then the description gives way, whole.
        let room = max(0, Self.width - start.count - 2 - tail.count)
        let said = subject.isEmpty || room < 4 ? "" : "  " + cut(subject, to: room)
        let head = "\(address) \(event.event.kind.name)"
        return left + " " + (prefix.isEmpty ? "" : Console.styled(prefix, .dim))
            + (isAsked ? Console.styled(head, .bold) : head) + said
            + (tail.isEmpty ? "" : Console.styled(tail, .yellow))
    }

    private func cut(_ text: String, to room: Int) -> String {
        text.count <= room ? text : String(text.prefix(room - 3)) + "..."
    }

    private func open(_ node: CausalTree.Node) -> String {
        guard let open = node.open else { return "" }
        guard let orphan = node.orphan else { return "[\(open.rawValue)]" }
        let why = orphan.class == .owed ? "" : ": \(orphan.class.rawValue)"
        return "[\(open.rawValue)\(orphan.isOverdue ? ", overdue" : "")\(why)]"
    }

    /// What an event says, without the message's name where the line above has it.
    private func detail<Q: Program>(_ node: CausalTree.Node, _ program: Q.Type) -> String {
        var subject = node.event.subject(directory, program)
        let (deadline, time) = (node.event.event.deadline, node.event.record.timestamp)
        if node.event.event.kind == .sent, deadline != .none {
            // Every other time is relative, too; and there is no room for a date.
            let left = readable(nanoseconds: deadline.nanoseconds(since: time))
            subject = subject.replacing("deadline \(deadline)", with: "deadline +\(left)")
        }
        guard let message = node.message, let parent = node.parent,
            trace.tree.nodes[parent].message == message
        else { return subject }
        var name = directory.text(message)
        if node.event.event.kind == .reemitted {
            // A range of messages need not begin with this one.
            guard node.event.event.through != node.event.event.sequence,
                let slash = name.lastIndex(of: "/")
            else { return String(subject.dropFirst(name.count)).trimmed }
            name = String(name[...slash])
        }
        return subject.hasPrefix(name) ? String(subject.dropFirst(name.count)).trimmed : subject
    }
}
