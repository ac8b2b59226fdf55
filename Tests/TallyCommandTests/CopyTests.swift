import Foundation
import Testing

@Suite("Copies")
struct CopyTests {
    /// Starts a venue that has far more to do than the test takes, and waits until it trades.
    static func busy(_ scratch: Scratch) throws -> Tally.Running {
        let running = try Tally.Running(
            ["venue", "run", "ledger", "--trades", "10000000", "--released", "released"],
            in: scratch.path)
        try waitUntil("released results") { scratch.released() > 200 }
        return running
    }

    /// Nothing half made lies beside the ledgers.
    private func expectNothingLeft(
        in scratch: Scratch, at location: SourceLocation = #_sourceLocation
    ) {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: scratch.path)) ?? []
        #expect(names.filter { $0.hasPrefix(".") } == [], sourceLocation: location)
    }

    @Test("a copy has the source's bytes and heads, is sealed, and leaves the source as it was")
    func still() throws {
        let scratch = try Scratch()
        try scratch.clean("venue", "run", "ledger", "--trades", "200", "--loss", "0.05")
        let before = scratch.bytes("ledger")
        let printed = try scratch.clean("copy", "ledger", "new")
        #expect(printed.lines.last?.hasPrefix("Copied ") == true)
        let end = "sealed against writing; verified through chain"
        #expect(printed.lines.last?.hasSuffix(end) == true)
        #expect(changes(before, scratch.bytes("ledger")) == [])
        expectNothingLeft(in: scratch)
        let lines = try scratch.clean("export", "ledger").output
        #expect(try scratch.clean("export", "new").output == lines)
        try scratch.clean("verify", "new")
        let refused = try scratch.tally("venue", "run", "new", "--trades", "1")
        #expect(refused.status == 2)
        #expect(refused.error.contains("evidence"))

        let report = try scratch.clean("copy", "new", "again", "--json").json
        let keys = [
            "ledger", "id", "made", "live", "sealed", "events", "shards", "verified", "findings",
            "notChecked", "behindMark",
        ]
        #expect(report.keys == keys)
        #expect(report["live"]?.truth == false)
        #expect(report["events"]?.count == lines.count { $0 == "\n" } - 1)
        let info = try scratch.clean("info", "ledger", "--json").json["shards"]?.items
        let heads = report["shards"]?.items.map { [$0["head"], $0["offset"], $0["time"]] }
        #expect(heads == info?.map { [$0["head"], $0["offset"], $0["time"]] })
        #expect(try scratch.clean("export", "again").output == lines)
    }

    @Test("copies of a ledger at full load are closed over its shards, and verify clean")
    func live() throws {
        let scratch = try Scratch()
        let running = try Self.busy(scratch)
        defer { running.kill() }
        for number in 1...4 {
            let copied = try scratch.clean("copy", "ledger", "copy-\(number)", "--json").json
            #expect(copied["live"]?.truth == true)
            #expect(copied["verified"]?.truth == true)
        }
        #expect(running.process.isRunning)
        running.kill()
        _ = running.wait()
        expectNothingLeft(in: scratch)
        var exports: [[String]] = []
        for number in 1...4 {
            try scratch.clean("verify", "copy-\(number)")
            let counts = try scratch.tally("orphans", "copy-\(number)", "--summary", "--json").json
            for channel in counts.keys {
                #expect(counts[channel]?["unsent"]?.count == 0, "\(channel)")
                #expect(counts[channel]?["unfounded"]?.count == 0, "\(channel)")
            }
            exports.append(try scratch.clean("export", "copy-\(number)").lines)
        }
        // Byte for byte what the ledger holds, as far as each copy goes, and each goes further.
        let whole = Set(try scratch.clean("export", "ledger").lines)
        #expect(exports.allSatisfy { $0.allSatisfy(whole.contains) })
        #expect(exports.map(\.count) == exports.map(\.count).sorted())
        #expect(Set(exports.map(\.count)).count == exports.count)
    }

    @Test("a writable copy goes on by itself, with the marks it came with")
    func writable() throws {
        let scratch = try Scratch()
        try scratch.clean("venue", "run", "ledger", "--trades", "30")
        try scratch.copy("ledger/shards/trades-0/data.mdb", to: "old")
        try scratch.clean("copy", "ledger", "clone", "--writable")
        let mark = "shards/trades-0/mark"
        #expect(
            try scratch.clean("info", "clone", "--json").json["shards"]
                == scratch.clean("info", "ledger", "--json").json["shards"])
        let opened = try scratch.clean("venue", "run", "clone", "--trades", "20")
        #expect(opened.error.isEmpty, "a missing mark would be said: \(opened.error)")
        try scratch.clean("verify", "clone")
        #expect(scratch.bytes("ledger")[mark] != scratch.bytes("clone")[mark])

        // A log behind its mark: the copy says so, and stays behind it.
        try scratch.clean("venue", "run", "ledger", "--trades", "30")
        try scratch.remove("ledger/shards/trades-0/data.mdb")
        try scratch.copy("old", to: "ledger/shards/trades-0/data.mdb")
        let behind = try scratch.tally("copy", "ledger", "stale", "--writable")
        #expect(behind.status == 1)
        #expect(behind.error.contains("tally recover accept"), "\(behind.error)")
        let refused = try scratch.tally("venue", "run", "stale", "--trades", "1")
        #expect(refused.status == 3)
        #expect(refused.error.contains("tally recover accept"))
    }

    @Test("a writable copy of a ledger that runs has no mark beyond its end")
    func writableOfLive() throws {
        let scratch = try Scratch()
        let running = try Self.busy(scratch)
        defer { running.kill() }
        try scratch.clean("copy", "ledger", "clone", "--writable")
        running.kill()
        _ = running.wait()
        let opened = try scratch.clean("venue", "run", "clone", "--trades", "5")
        #expect(opened.error.isEmpty, "\(opened.error)")
        try scratch.clean("verify", "clone")
    }

    @Test("what cannot be copied is named, and nothing is left")
    func refusals() throws {
        let scratch = try Scratch()
        try scratch.clean("venue", "run", "good", "--trades", "20")
        try scratch.clean("export", "good", "-o", "lines")
        try Mistake("copy good lines", 2, "lines exists already").expectRefused(in: scratch)
        try Mistake("copy good no/where", 2, "no directory no").expectRefused(in: scratch)
        try Mistake("copy nothing new", 3, "there is no nothing").expectRefused(in: scratch)
        let foreign = Scratch.text(scratch("lines")).replacing("\"native\":true,", with: "")
        try scratch.write(foreign, to: "foreign-lines")
        try scratch.clean("import", "foreign-lines", "foreign")
        try Mistake("copy foreign new --writable", 2, "foreign import").expectRefused(in: scratch)

        let path = "good/shards/collateral-0/data.mdb"
        let whole = try #require(FileManager.default.contents(atPath: scratch(path)))
        try whole.prefix(whole.count / 2).write(to: URL(fileURLWithPath: scratch(path)))
        try Mistake(
            "copy good new", 3, "collateral-0 is damaged", "nothing was copied", "tally verify good"
        ).expectRefused(in: scratch)
        // Pages that are whole, and a first commit that is not: found as it passes. Old copies of the
        // commit stand in pages that are in use no more, or again; one of the places is the commit.
        var found = false
        var rest = whole.startIndex..<whole.endIndex
        while !found, let commit = whole.range(of: Data("TLLY".utf8), in: rest) {
            rest = commit.upperBound..<whole.endIndex
            let isFirst = whole[(commit.lowerBound + 16)..<(commit.lowerBound + 24)]
                .elementsEqual([1, 0, 0, 0, 0, 0, 0, 0])
            guard isFirst else { continue }
            var changed = whole
            changed[commit.lowerBound + 60] ^= 1
            try changed.write(to: URL(fileURLWithPath: scratch(path)))
            let outcome = try scratch.tally("copy", "good", "new")
            if outcome.status == 0 { try scratch.remove("new") }
            guard outcome.error.contains("collateral-0@1: ") else { continue }
            found = true
            #expect(outcome.status == 3)
            #expect(outcome.error.contains("tally verify"))
        }
        #expect(found)
        expectNothingLeft(in: scratch)
    }

    @Test("a disk with too little room is refused before anything is written, with the need")
    func noRoom() throws {
        let scratch = try Scratch()
        try scratch.clean("venue", "run", "ledger", "--trades", "300")
        try FileManager.default.createDirectory(
            atPath: scratch("disk"), withIntermediateDirectories: false)
        guard Shell.run("mount", "-t", "tmpfs", "-o", "size=256k", "none", scratch("disk")) else {
            return
        }
        defer { _ = Shell.run("umount", "-l", scratch("disk")) }
        try Mistake("copy ledger disk/new", 3, "the copy needs ", " bytes, and disk has ", " left")
            .expectRefused(in: scratch)
        #expect(Shell.run("mount", "-o", "remount,size=64m", scratch("disk")))
        try scratch.clean("copy", "ledger", "disk/new")
    }
}

/// Commands of the system.
enum Shell {
    static func run(_ command: String...) -> Bool {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = command
        process.standardError = FileHandle.nullDevice
        guard (try? process.run()) != nil else { return false }
        process.waitUntilExit()
        return process.terminationStatus == 0
    }
}
