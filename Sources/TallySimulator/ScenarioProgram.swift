internal import TallyCore

/// The program of scenarios: messages are lines of text, and the message itself says what becomes of it.
///
///     command  send DESTINATION NANOSECONDS, then the message's lines; no nanoseconds: 0
///              answer accepted|rejected, then the messages to answer, a line each
///              note TEXT
///     message  its text, then any of: reply reject, reply later, then DESTINATION TEXT (sent when it
///              is applied), afterwards DESTINATION TEXT (sent when its outcome is known)
///     answer   yes or no
enum ScenarioProgram: Program {
    /// What was applied and noted, in order; what is owed, and what waits for its outcome.
    struct State: Sendable {
        var applied: [String] = []
        var notes: [String] = []
        var outcomes: [String] = []
        /// Messages applied and not answered.
        var owed: [MessageName] = []
        /// Own messages that say what to send afterwards.
        var waiting: [Waiting] = []
    }

    struct Waiting: Sendable {
        var message: MessageName
        var lines: [String]
    }

    static var name: String { "scenario" }
    static var foldVersion: UInt32 { 1 }

    static func initial(_ shard: ShardContext) -> State { State() }

    static func lines(_ payload: [UInt8]) -> [String] {
        String(decoding: payload, as: UTF8.self)
            .split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    }

    /// The messages that lines of one verb ask for.
    private static func sends(
        _ lines: [String], _ verb: String, _ shard: ShardContext
    ) -> [Decision.Send] {
        lines.compactMap { line in
            let words = line.split(separator: " ", maxSplits: 2)
            guard words.count == 3, words[0] == verb,
                let destination = shard.directory.id(of: String(words[1]))
            else { return nil }
            return Decision.Send(to: destination, Array(words[2].utf8))
        }
    }

    static func decide(
        _ stimulus: Stimulus, _ state: State, _ shard: ShardContext
    ) throws(Refusal) -> Decision {
        switch stimulus {
        case .command(let payload):
            return try decide(lines(payload), shard)
        case .message(let name, let payload):
            let lines = lines(payload)
            var decision = Decision(sends: sends(lines, "then", shard))
            if !lines.contains("reply later") {
                let isAccepted = !lines.contains("reply reject")
                decision.answers = [answer(name, isAccepted)]
            }
            return decision
        case .outcome(let name, _, _):
            guard let waiting = state.waiting.first(where: { $0.message == name }) else {
                return Decision()
            }
            return Decision(sends: sends(waiting.lines, "afterwards", shard))
        }
    }

    private static func answer(_ name: MessageName, _ isAccepted: Bool) -> Decision.Answer {
        .init(name, accepted: isAccepted, payload: Array((isAccepted ? "yes" : "no").utf8))
    }

    private static func decide(
        _ lines: [String], _ shard: ShardContext
    ) throws(Refusal) -> Decision {
        let words = lines[0].split(separator: " ").map(String.init)
        switch words.first {
        case "send":
            guard words.count == 3, let nanoseconds = UInt64(words[2]) else { break }
            let payload = Array(lines.dropFirst().joined(separator: "\n").utf8)
            return Decision(
                sends: [
                    Decision.Send(
                        to: try shard.id(of: words[1]), payload,
                        deadlineAfter: nanoseconds == 0 ? nil : nanoseconds)
                ])
        case "answer":
            let names = lines.dropFirst().compactMap { shard.directory.message($0) }
            return Decision(answers: names.map { answer($0, words.last == "accepted") })
        case "note":
            return Decision(notes: [Array(lines[0].utf8.dropFirst(5))])
        default: break
        }
        throw Refusal("this is no command of a scenario: \(lines[0])")
    }

    static func evolve(
        _ state: inout State, _ event: Event, _ payload: RawSpan, _ shard: ShardContext
    ) {
        let arriving = MessageName(from: event.peer, to: shard.shard, event.sequence)
        let leaving = MessageName(from: shard.shard, to: event.peer, event.sequence)
        switch event.kind {
        case .sent:
            let lines = lines(payload.copied)
            if lines.contains(where: { $0.hasPrefix("afterwards ") }) {
                state.waiting.append(Waiting(message: leaving, lines: lines))
            }
        case .received:
            guard event.outcome == .applied else { return }
            state.applied.append(lines(payload.copied)[0])
            state.owed.append(arriving)
        case .answered: state.owed.removeAll { $0 == arriving }
        case .acknowledged, .timedOut:
            let outcome = event.kind == .timedOut ? "timedOut" : event.outcome.name
            state.outcomes.append("\(shard.directory.text(leaving)) \(outcome)")
            state.waiting.removeAll { $0.message == leaving }
        case .noted: state.notes.append(lines(payload.copied)[0])
        default: break
        }
    }

    static func encode(_ state: State) -> [UInt8] {
        var writer = ByteWriter()
        for list in [state.applied, state.notes, state.outcomes] { write(list, &writer) }
        writer.write(UInt32(state.owed.count))
        for name in state.owed { write(name, &writer) }
        writer.write(UInt32(state.waiting.count))
        for waiting in state.waiting {
            write(waiting.message, &writer)
            write(waiting.lines, &writer)
        }
        return writer.bytes
    }

    private static func write(_ list: [String], _ writer: inout ByteWriter) {
        writer.write(UInt32(list.count))
        for text in list { writer.write(counted: Array(text.utf8)) }
    }

    private static func write(_ name: MessageName, _ writer: inout ByteWriter) {
        writer.write(name.channel.origin.rawValue)
        writer.write(name.channel.destination.rawValue)
        writer.write(name.sequence.rawValue)
    }

    static func decode(_ bytes: [UInt8], _ shard: ShardContext) -> State? {
        var reader = ByteReader(bytes)
        var state = State()
        guard let applied = readList(&reader), let notes = readList(&reader),
            let outcomes = readList(&reader), let owed = reader.read(UInt32.self)
        else { return nil }
        (state.applied, state.notes, state.outcomes) = (applied, notes, outcomes)
        for _ in 0..<owed {
            guard let name = readName(&reader) else { return nil }
            state.owed.append(name)
        }
        guard let waiting = reader.read(UInt32.self) else { return nil }
        for _ in 0..<waiting {
            guard let name = readName(&reader), let lines = readList(&reader) else { return nil }
            state.waiting.append(Waiting(message: name, lines: lines))
        }
        return reader.isAtEnd ? state : nil
    }

    private static func readList(_ reader: inout ByteReader) -> [String]? {
        guard let count = reader.read(UInt32.self) else { return nil }
        var list: [String] = []
        for _ in 0..<count {
            guard let bytes = reader.readCounted(max: 1 << 20) else { return nil }
            list.append(String(decoding: bytes, as: UTF8.self))
        }
        return list
    }

    private static func readName(_ reader: inout ByteReader) -> MessageName? {
        guard let origin = reader.read(UInt32.self), let to = reader.read(UInt32.self),
            let sequence = reader.readSequence()
        else { return nil }
        return MessageName(from: ShardID(origin), to: ShardID(to), sequence)
    }

    static func fields(_ state: State) -> [(name: String, value: String)] {
        [
            ("applied", state.applied.joined(separator: ", ")),
            ("outcomes", state.outcomes.joined(separator: ", ")),
            ("notes", state.notes.joined(separator: ", ")),
        ]
    }
}
