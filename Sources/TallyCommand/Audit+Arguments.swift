import ArgumentParser
import TallyAudit
import TallyCore
import TallyStore

/// `--at`
struct AtOption: ParsableArguments {
    @Option(
        name: .customLong("at"), parsing: .unconditional,
        help: ArgumentHelp(
            "Read up to here: trades-0@120,collateral-0@88, a time, or -1h before the latest.",
            valueName: "position"))
    var text: String?

    func cut(of audit: AuditLedger) throws -> Cut? {
        guard let text else { return nil }
        do {
            return try audit.cut(at: Position(text, audit.directory))
        } catch  where error.code == .malformed {
            throw UsageError(error.text)
        }
    }
}

extension AuditLedger {
    /// Says on standard error what could not be read.
    func reportProblems() {
        for (_, problem) in problems { Console.notRead(problem.text) }
    }

    /// Exit code 4 when something was not read.
    func throwIfPartial() throws {
        if isPartial { throw Exit.partial }
    }
}

extension RecordedEvent {
    /// The payload in the program's words.
    func described<Q: Program>(_ program: Q.Type) -> String {
        Q.describe(Q.current(record.payload, of: event.kind))
    }

    /// One line for a person.
    func text<Q: Program>(_ directory: ShardDirectory, _ program: Q.Type) -> String {
        "\(record.timestamp)  \(directory.address(shard, offset))  "
            + "\(event.kind.name)  \(subject(directory, program))"
    }

    /// What the event says, behind its kind.
    func subject<Q: Program>(_ directory: ShardDirectory, _ program: Q.Type) -> String {
        let event = event
        let name = message.map { directory.text($0) } ?? ""
        let payload =
            record.payload.isEmpty ? "" : "  " + Console.escaped(described(program))
        switch event.kind {
        case .opened:
            return "session \(epoch.rawValue)"
                + (event.clean ? ", closed in good order before" : "")
        case .commanded, .noted:
            return payload.trimmed
        case .sent:
            let deadline = event.deadline == .none ? "" : "  deadline \(event.deadline)"
            return name + deadline + payload
        case .received, .answered, .acknowledged:
            return "\(name)  \(event.outcome.name)" + payload
        case .timedOut:
            return name + (event.reason == .forced ? "  forced" + reasonText : payload)
        case .reemitted:
            let through = event.through == event.sequence ? "" : "..\(event.through.rawValue)"
            return "\(name)\(through)  attempt \(event.attempt), \(event.reason.name)"
                + reasonText
        case .conflicted:
            return "\(name)  \(event.reason.name)"
        case .witnessed:
            return "\(directory.address(event.peer, event.peerOffset)) of session "
                + "\(event.peerEpoch.rawValue)"
        case .intervened:
            let peer = event.peer.rawValue == 0 ? "" : "  \(directory.name(of: event.peer))"
            return "accepted \(event.reason.name)\(peer)" + reasonText
        }
    }

    /// An operator's reason.
    private var reasonText: String {
        record.payload.isEmpty
            ? "" : "  " + Console.escaped(String(decoding: record.payload, as: UTF8.self))
    }

    /// The event's line in the interchange form.
    func interchange(_ directory: ShardDirectory) -> [UInt8] {
        var text: [UInt8] = []
        var line = InterchangeLine(shard: shard, directory: directory)
        line.write(
            event, record.payload, record.result,
            at: InterchangeLine.Place(
                offset: offset, commit: commit, time: record.timestamp, epoch: epoch, head: head),
            into: &text)
        return text
    }
}

extension String {
    var trimmed: String { String(drop { $0 == " " }) }
}

extension JSONText {
    mutating func evidence(_ evidence: [Evidence], _ directory: ShardDirectory) {
        beginArray("evidence")
        for place in evidence { field(nil, directory.address(place.shard, place.offset)) }
        endArray()
    }

    func printed() { Console.write(bytes, to: 1) }
}
