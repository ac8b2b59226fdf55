import Foundation
import Testing

/// Ledgers that are not whole: what can be read is shown, and what cannot is said.
@Suite("Damaged ledgers")
struct DamageTests {
    private let scratch: Scratch

    init() throws {
        scratch = try Scratch()
        try scratch.clean("venue", "run", "ledger", "--trades", "30")
    }

    static let data = "ledger/shards/trades-1/data.mdb"

    /// A reading verb shows the other shards, names what it could not read, and ends with 4.
    private func expectPartial(_ verb: [String], _ says: [String]) throws {
        let before = scratch.bytes()
        let outcome = try scratch.tally(verb)
        #expect(outcome.status == 4, "\(verb): \(outcome.error)")
        #expect(!outcome.output.isEmpty, "\(verb)")
        for part in says {
            #expect((outcome.error + outcome.output).contains(part), "\(verb): \(outcome.error)")
        }
        #expect(changes(before, scratch.bytes()) == [], "\(verb)")
    }

    private func expectPartial(_ says: String...) throws {
        for verb in ["info", "log", "state", "pending", "replay", "orphans"] {
            try expectPartial([verb, "ledger"], ["not read: "] + says)
        }
        try expectPartial(["info", "ledger"], ["trades-0", "collateral-0", "collateral-1"])
        try expectPartial(
            ["trace", "ledger", "trades-1/collateral-0/1"],
            ["unknown", "received  trades-1/collateral-0/1"])
        try scratch.clean("show", "ledger", "trades-0@1")
        try scratch.clean("trace", "ledger", "trades-0/collateral-0/1")
        try Mistake(["show", "ledger", "trades-1@1"], 3, says).expectRefused(in: scratch)
        try Mistake(["export", "ledger"], 3, says).expectRefused(in: scratch)
        try Mistake(["venue", "run", "ledger"], 3, says).expectRefused(in: scratch)
        let replayed = try scratch.tally("replay", "ledger", "--json")
        #expect(replayed.status == 4)
        let shards = try replayed.json["shards"]?.items ?? []
        #expect(shards.map { $0["events"]?.count == 0 } == [false, true, false, false])
        #expect(shards.allSatisfy { $0.keys == Shape.replayShard })
    }

    @Test("a missing shard: the others are shown, nobody writes")
    func missing() throws {
        try scratch.remove("ledger/shards/trades-1")
        try expectPartial("shard trades-1 is missing", Self.data, "bring it back from a copy")
        try expectPartial(["verify", "ledger"], ["shard trades-1 is missing", "not checked: "])
    }

    @Test("an empty data.mdb is never taken for a new log")
    func empty() throws {
        try scratch.write("", to: Self.data)
        try expectPartial(Self.data, "is empty", "bring it back from a copy")
    }

    @Test("a data.mdb of garbage is a finding with its page, and nobody writes")
    func garbage() throws {
        var generator = SeededGenerator(state: 7)
        let bytes = (0..<40_960).map { _ in UInt8.random(in: 0...255, using: &generator) }
        try Data(bytes).write(to: URL(fileURLWithPath: scratch(Self.data)))
        try expectPartial("shard trades-1 is damaged", Self.data, "page 0")
        let verified = try scratch.tally("verify", "ledger", "--json")
        #expect(verified.status == 1)
        let findings = try verified.json["findings"]?.items ?? []
        #expect(findings.count == 1)
        #expect(findings.first?.keys == Shape.finding)
        #expect(findings.first?["shard"]?.text == "trades-1")
        #expect(findings.first?["text"]?.text?.contains("page 0") == true)
    }

    @Test("a byte changed in a log is found, wherever it is, and the shard is named")
    func changedByte() throws {
        let path = scratch(Self.data)
        let whole = try #require(FileManager.default.contents(atPath: path))
        // In every commit: which of the copies in the file is the one in use is LMDB's affair.
        var changed = whole
        var rest = whole.startIndex..<whole.endIndex
        while let commit = whole.range(of: Data("TLLY".utf8), in: rest) {
            changed[commit.lowerBound + 60] ^= 1
            rest = commit.upperBound..<whole.endIndex
        }
        #expect(changed != whole)
        try changed.write(to: URL(fileURLWithPath: path))
        let verified = try scratch.tally("verify", "ledger", "--json")
        #expect(verified.status == 1)
        #expect(verified.error.isEmpty)
        let report = try verified.json
        #expect(report["clean"]?.truth == false)
        #expect(report["findings"]?.items.first?["shard"]?.text == "trades-1")
    }

    @Test("a manifest that cannot be used is named, and nothing is touched")
    func manifest() throws {
        let path = "ledger/ledger.json"
        let text = Scratch.text(scratch(path))
        let verbs = ["info", "venue run", "verify", "export"]
        func expect(_ says: String...) throws {
            for verb in verbs {
                let arguments = verb.split(separator: " ").map(String.init) + ["ledger"]
                try Mistake(arguments, 3, [path] + says).expectRefused(in: scratch)
            }
        }
        try scratch.write(text.replacing("\"version\":1", with: "\"version\":9"), to: path)
        try expect("format version 9", "reads 1", "newer tally")
        try scratch.write(String(text.prefix(40)), to: path)
        try expect("cannot be used", "bring it back from a copy")
        try scratch.write(text.replacing("trades-1", with: "trades-0"), to: path)
        try expect("cannot be used", "its shard names")
        try scratch.write("", to: path)
        try expect("cannot be used")
        try scratch.remove(path)
        try FileManager.default.createDirectory(
            atPath: scratch(path), withIntermediateDirectories: false)
        try expect("cannot be read", "Is a directory")
        try scratch.remove(path)
        for verb in verbs {
            let arguments = verb.split(separator: " ").map(String.init) + ["ledger"]
            try Mistake(arguments, 3, ["ledger is not a ledger", "ledger.json"])
                .expectRefused(in: scratch)
        }
    }

    @Test("a log behind its mark is not served until an operator accepts it")
    func behindMark() throws {
        try scratch.copy("ledger/shards/trades-0/data.mdb", to: "old")
        try scratch.clean("venue", "run", "ledger", "--trades", "20")
        try scratch.remove("ledger/shards/trades-0/data.mdb")
        try scratch.copy("old", to: "ledger/shards/trades-0/data.mdb")
        let refused = try scratch.tally("venue", "run", "ledger", "--trades", "5")
        #expect(refused.status == 3)
        #expect(refused.output.isEmpty)
        #expect(refused.errorLines.count == 1)
        for part in ["trades-0", "mark", "tally recover accept", "--reason"] {
            #expect(refused.error.contains(part), "\(refused.error)")
        }
        #expect(try scratch.tally("verify", "ledger").status == 1)
        let accepted = try scratch.clean(
            "recover", "accept", "ledger", "trades-0", "--reason", "the disk died")
        #expect(accepted.output.contains("trades-0: accepted"))
        try scratch.clean("venue", "run", "ledger", "--trades", "20")
        let log = try scratch.clean("log", "ledger", "--kind", "intervened").output
        #expect(log.contains("the disk died"))
        // What was lost stays said, and is nothing that anybody has to act on.
        let orphans = try scratch.clean("orphans", "ledger").output
        #expect(orphans.hasPrefix("No orphans.\n"))
        #expect(orphans.contains(" lost"))
    }

    // MARK: A full disk

    private static func run(_ command: String...) -> Bool {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = command
        process.standardError = FileHandle.nullDevice
        guard (try? process.run()) != nil else { return false }
        process.waitUntilExit()
        return process.terminationStatus == 0
    }

    @Test("a full disk ends the run with 3; with room again it goes on, and nothing is lost")
    func fullDisk() throws {
        let disk = scratch("disk")
        try FileManager.default.createDirectory(
            atPath: disk, withIntermediateDirectories: false)
        guard Self.run("mount", "-t", "tmpfs", "-o", "size=3m", "none", disk) else { return }
        defer { _ = Self.run("umount", "-l", disk) }
        let full = try scratch.tally(
            "venue", "run", "disk/ledger", "--trades", "20000", "--released", "released")
        #expect(full.status == 3, "\(full.error)")
        #expect(full.output.isEmpty)
        #expect(full.errorLines.last?.hasPrefix("error: ") == true, "\(full.error)")
        #expect(full.error.contains("No space left") || full.error.contains("nearly full"))
        try scratch.clean("verify", "disk/ledger")
        try scratch.clean("venue", "check", "disk/ledger", "released")
        let again = try scratch.tally("venue", "run", "disk/ledger", "--trades", "5")
        #expect(again.status == 3, "\(again.error)")
        #expect(again.errorLines.last?.hasPrefix("error: ") == true)
        let exported = try scratch.tally("export", "disk/ledger", "-o", "disk/lines")
        #expect(exported.status == 3)
        #expect(exported.error.hasPrefix("error: cannot write disk/lines: "), "\(exported.error)")
        #expect(exported.error.contains("free some space or name another file"))
        try scratch.remove("disk/lines")
        let copied = try scratch.tally("copy", "disk/ledger", "disk/copy")
        #expect(copied.status == 3 && copied.error.hasPrefix("error: the copy needs "))
        #expect(copied.error.contains("free some space or choose another place"))

        #expect(Self.run("mount", "-o", "remount,size=64m", disk))
        try scratch.clean("venue", "run", "disk/ledger", "--trades", "50")
        try scratch.clean("verify", "disk/ledger")
        try scratch.clean("venue", "check", "disk/ledger", "released")
        #expect(try scratch.clean("orphans", "disk/ledger").output == "No orphans.\n")
    }
}
