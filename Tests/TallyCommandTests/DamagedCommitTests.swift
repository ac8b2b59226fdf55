import Foundation
import Testing

/// A commit whose bytes changed, in a file whose pages hang together: only its checksum tells.
@Suite("A damaged commit")
struct DamagedCommitTests {
    private let scratch: Scratch
    private static let data = "ledger/shards/trades-1/data.mdb"

    init() throws {
        scratch = try Scratch()
        try scratch.clean("venue", "run", "ledger", "--trades", "60", "--released", "released")
        // A snapshot behind the damage would be a way round it.
        try scratch.clean("snapshot", "remove", "ledger")
    }

    /// Changes a byte of one commit of `trades-1`, wherever a copy of it stands in the file.
    ///
    /// - Parameter choose: Picks it among the first offsets of all commits.
    /// - Returns: Its first offset.
    private func spoil(_ choose: ([UInt64]) throws -> UInt64) throws -> UInt64 {
        var bytes = Array(try Data(contentsOf: URL(fileURLWithPath: scratch(Self.data))))
        let magic = Array("TLLY".utf8)
        func first(_ place: Int) -> UInt64 {
            bytes[(place + 16)..<(place + 24)].reversed().reduce(0) { $0 << 8 | UInt64($1) }
        }
        let places = bytes.indices.dropLast(80).filter {
            bytes[$0] == magic[0] && Array(bytes[$0..<($0 + 4)]) == magic
        }
        let chosen = try choose(Set(places.map(first)).sorted())
        for place in places where first(place) == chosen { bytes[place + 60] ^= 1 }
        try Data(bytes).write(to: URL(fileURLWithPath: scratch(Self.data)))
        return chosen
    }

    /// Runs a reading verb, which changes nothing, shows something, and names the place.
    private func expect(
        _ verb: String, _ statuses: Set<Int32>, _ says: [String],
        at location: SourceLocation = #_sourceLocation
    ) throws {
        let before = scratch.bytes("ledger")
        let outcome = try scratch.tally(verb.split(separator: " ").map(String.init))
        #expect(statuses.contains(outcome.status), "\(verb): \(outcome)", sourceLocation: location)
        #expect(!outcome.output.isEmpty, "\(verb)", sourceLocation: location)
        for part in says {
            #expect(
                outcome.error.contains(part), "\(verb): \(outcome.error)", sourceLocation: location)
        }
        #expect(changes(before, scratch.bytes("ledger")) == [], sourceLocation: location)
    }

    @Test("in the middle: what stands before it is shown, and every verb names it")
    func middle() throws {
        let offset = try spoil { $0[$0.count / 2] }
        let place = "trades-1@\(offset)"
        let says = ["not read: \(place): ", "checksum", "tally verify"]
        for verb in [
            "log ledger", "log ledger --reverse", "replay ledger", "replay ledger --check",
            "pending ledger", "state ledger", "trace ledger trades-0/trades-1/1",
        ] {
            try expect(verb, [4], says)
        }
        // What its messages came to cannot be told.
        try expect("orphans ledger", [1, 4], says)
        let shown = try scratch.tally("log", "ledger", "--shard", "trades-1", "--json").jsonLines
        #expect(shown.count == Int(offset) - 1)
        let stop = [place, "checksum"]
        try Mistake(["show", "ledger", place], 3, stop).expectRefused(in: scratch)
        try Mistake(["export", "ledger"], 3, stop).expectStopped(in: scratch)
        try Mistake(["export", "ledger", "-o", "lines"], 3, stop + ["lines holds what stands"])
            .expectStopped(in: scratch, but: ["lines"])
        try Mistake("venue check ledger released", 3, place, "checksum", "tally verify")
            .expectRefused(in: scratch)
        try Mistake(["copy", "ledger", "copy"], 3, stop).expectRefused(in: scratch)
        try Mistake(["state", "ledger", "--at", place], 3, stop).expectRefused(in: scratch)
        try scratch.clean("show", "ledger", "trades-1@\(offset - 1)")
        try scratch.clean("info", "ledger")

        let made = try scratch.tally("snapshot", "create", "ledger")
        #expect(made.status == 4 && made.lines.count == 3, "\(made)")
        #expect(made.error.contains("not read: \(place)"), "\(made.error)")
        #expect(made.error.split(separator: "\n").count == 1)

        let verified = try scratch.tally("verify", "ledger")
        #expect(verified.status == 1)
        let line = try #require(verified.lines.first { $0.hasPrefix("damaged-commit") })
        #expect(line.hasPrefix("damaged-commit  \(place)  the commit's checksum"), "\(line)")
        #expect(!line.contains("run: tally verify"), "\(line)")
        #expect(line.components(separatedBy: place).count == 2, "its place once: \(line)")
        #expect(verified.output.contains("not checked: trades-1: chain and above, because"))
    }

    @Test("at the end: nobody knows where the log ends, and that is said")
    func end() throws {
        let offset = try spoil { try #require($0.last) }
        let says = ["not read: ", "trades-1", "checksum", "tally verify"]
        for verb in ["info", "log", "log --reverse", "replay", "replay --check", "snapshot list"] {
            let words = verb.split(separator: " ", maxSplits: 1)
            let line =
                words[0] == "snapshot"
                ? "snapshot list ledger" : words[0] + " ledger " + (words.dropFirst().first ?? "")
            try expect(String(line), [4], says)
        }
        try expect("log ledger --reverse --until 2200-01-01T00:00:00Z", [4], says)
        try Mistake("copy ledger copy", 3, "trades-1", "checksum", "nothing was copied")
            .expectRefused(in: scratch)
        try Mistake("venue run ledger", 3, "trades-1", "checksum", "tally verify")
            .expectRefused(in: scratch)
        try Mistake("venue check ledger released", 3, "trades-1", "checksum", "tally verify")
            .expectRefused(in: scratch)
        let verified = try scratch.tally("verify", "ledger")
        #expect(verified.status == 1)
        #expect(verified.output.contains("damaged-commit  trades-1@\(offset)  the commit's"))
    }

    @Test("a peer's log that cannot be read is named by accept, and nothing is accepted of it")
    func accept() throws {
        let offset = try spoil { $0[$0.count / 2] }
        let before = try scratch.clean("log", "ledger", "--shard", "trades-0").output
        for _ in 1...2 {
            let accepted = try scratch.tally(
                "recover", "accept", "ledger", "trades-0", "--reason", "the disk died")
            #expect(accepted.status == 4, "\(offset): \(accepted)")
            #expect(accepted.error.hasPrefix("not read: the logs of trades-1; "))
            #expect(accepted.error.contains("accept again once they are at hand"))
            #expect(accepted.output.contains("nothing was changed"))
            #expect(try scratch.clean("log", "ledger", "--shard", "trades-0").output == before)
            // The same without the file.
            if scratch.bytes()[Self.data] != nil { try scratch.remove(Self.data) }
        }
    }

    @Test("following ends at once when there is no log to follow")
    func follow() throws {
        try scratch.remove(Self.data)
        let followed = try scratch.tally("log", "ledger", "-f", "--shard", "trades-1")
        #expect(followed.status == 4)
        #expect(followed.error.hasPrefix("not read: shard trades-1 is missing"))
        #expect(followed.output.isEmpty)
    }
}

extension Mistake {
    /// A verb that has shown something before it met what stopped it.
    fileprivate func expectStopped(in scratch: Scratch, but made: [String] = []) throws {
        let before = scratch.bytes()
        let outcome = try scratch.tally(arguments)
        #expect(outcome.status == status, "\(outcome.error)")
        #expect(outcome.errorLines.count == 1)
        #expect(outcome.error.hasPrefix("error: "))
        for part in says { #expect(outcome.error.contains(part), "\(outcome.error)") }
        #expect(changes(before, scratch.bytes()) == made)
    }
}
