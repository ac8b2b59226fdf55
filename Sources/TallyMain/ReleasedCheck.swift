import ArgumentParser
import Foundation
import TallyAudit
import TallyCommand
import TallyCore
import TallyStore
import TallyVenue

/// Holds the logs to what a run has released: every result that a client saw is in the log, the same.
struct ReleasedCheck {
    var released = 0
    /// Released, and not in the log.
    var lost = 0
    /// Released, and recorded with another payload or result, or at another offset.
    var different = 0
    /// Recorded more than once under one name.
    var doubled = 0
    var example: String?

    var isClean: Bool { lost == 0 && different == 0 && doubled == 0 }

    private struct Line: Decodable {
        var shard: String
        var offset: UInt64
        var client: String
        var sequence: UInt64
        var payload: String
        var result: String?
    }

    init(_ path: String, _ ledger: Ledger) throws {
        let audit = AuditLedger(ledger)
        if let problem = audit.problems.first?.problem { throw problem }
        var recorded: [String: LogRecord] = [:]
        var query = EventQuery()
        query.kinds = [.commanded]
        var doubled = 0
        let problems = try query.run(audit) { event in
            let name = Self.name(
                ledger.shards.name(of: event.shard), event.event.identity.description,
                event.event.sequence.rawValue)
            if recorded[name] != nil { doubled += 1 }
            recorded[name] = event.record
            recorded[name]?.event.peerOffset = event.offset
            return true
        }
        // What was not read would count as lost.
        if let problem = problems.first?.problem { throw problem }
        self.doubled = doubled
        var unreadable = 0
        let decoder = JSONDecoder()
        let bytes = try Files.read(path, max: 4 << 30)
        for text in bytes.split(separator: UInt8(ascii: "\n")) {
            // A line that was cut short by a kill was never handed out whole.
            guard let line = try? decoder.decode(Line.self, from: Data(text)) else {
                unreadable += 1
                continue
            }
            released += 1
            guard let record = recorded[Self.name(line.shard, line.client, line.sequence)] else {
                lost += 1
                example = example ?? "\(line.shard)@\(line.offset)"
                continue
            }
            let isSame =
                record.event.peerOffset.rawValue == line.offset
                && Data(record.payload).base64EncodedString() == line.payload
                && Data(record.result).base64EncodedString() == (line.result ?? "")
            if !isSame {
                different += 1
                example = example ?? "\(line.shard)@\(line.offset)"
            }
        }
        guard released > 0 || unreadable < 2 else {
            throw UsageError(
                "\(path) holds no released results; it is written by: tally venue run "
                    + "\(ledger.directory) --released FILE")
        }
    }

    private static func name(_ shard: String, _ client: String, _ sequence: UInt64) -> String {
        "\(shard) \(client) \(sequence)"
    }

    var text: String {
        isClean
            ? "all \(readable(released)) released results are in the logs, the same, none twice"
            : "of \(readable(released)) released results \(lost) are lost, \(different) different; "
                + "\(doubled) commands are recorded twice"
                + (example.map { "; for example \($0)" } ?? "")
    }
}

/// `tally venue check`
struct VenueCheck: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check",
        abstract: "Hold the logs to the file that venue run --released has written.")

    @Argument(help: ArgumentHelp("The ledger's directory.", valueName: "dir"))
    var directory: String

    @Argument(help: "The file of released lines.")
    var released: String

    @OptionGroup var display: DisplayOptions

    func run() throws {
        let check = try ReleasedCheck(released, Ledger(directory))
        print(check.text)
        if !check.isClean { throw Exit.findings }
    }
}
