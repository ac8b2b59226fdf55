import Foundation
import Testing

@Suite("Snapshot verbs")
struct SnapshotVerbTests {
    private let scratch: Scratch

    init() throws {
        scratch = try Scratch()
        try scratch.clean("venue", "run", "ledger", "--trades", "40")
        // What the run itself has made is not what is tested here.
        try scratch.clean("snapshot", "remove", "ledger")
    }

    private func listed(_ more: String...) throws -> [OrderedJSON] {
        try scratch.tally(["snapshot", "list", "ledger", "--json"] + more).jsonLines
    }

    @Test("made at each log's end, listed, used, kept and removed")
    func life() throws {
        #expect(try scratch.clean("snapshot", "list", "ledger").output == "No snapshots.\n")
        let made = try scratch.clean("snapshot", "create", "ledger", "--json").jsonLines
        #expect(
            made.map(\.keys) == Array(repeating: ["shard", "offset", "head", "made"], count: 4))
        let info = try scratch.clean("info", "ledger", "--json").json["shards"]?.items ?? []
        #expect(
            made.map { [$0["shard"], $0["offset"], $0["head"]] }
                == info.map { [$0["shard"], $0["offset"], $0["head"]] })
        #expect(made.allSatisfy { $0["made"]?.truth == true })
        let again = try scratch.clean("snapshot", "create", "ledger")
        #expect(again.lines.allSatisfy { $0.hasSuffix("there is a snapshot already") })

        let list = try listed()
        #expect(list.count == 4)
        let keys = ["shard", "offset", "time", "foldVersion", "bytes", "counts"]
        #expect(list.allSatisfy { $0.keys == keys && $0["counts"]?.truth == true })
        #expect(list.map { $0["time"] } == info.map { $0["time"] })
        // The level fold compares them with what the log folds to.
        #expect(try scratch.clean("verify", "ledger").output.contains("snapshot") == false)

        try scratch.clean("venue", "run", "ledger", "--trades", "20")
        try scratch.clean("snapshot", "create", "ledger", "--shard", "trades-0")
        #expect(try listed("--shard", "trades-0").count == 2)
        let removed = try scratch.clean("snapshot", "remove", "ledger", "--keep", "1")
        #expect(removed.lines.contains { $0.hasPrefix("trades-0@") })
        #expect(try listed("--shard", "trades-0").map { $0["counts"]?.truth } == [true])
        #expect(try scratch.clean("replay", "ledger").error.isEmpty)
        try scratch.clean("snapshot", "remove", "ledger", "--json")
        #expect(try listed().isEmpty)
    }

    @Test("one that does not count is listed with the reason")
    func reasons() throws {
        try scratch.clean("snapshot", "create", "ledger")
        let folder = scratch("ledger/shards/trades-0/snapshots")
        let name = try #require(try FileManager.default.contentsOfDirectory(atPath: folder).first)
        var bytes = try #require(FileManager.default.contents(atPath: folder + "/" + name))
        bytes[bytes.count - 9] ^= 1
        try bytes.write(to: URL(fileURLWithPath: folder + "/" + name))
        try Data("nothing".utf8).write(
            to: URL(fileURLWithPath: folder + "/00000000000000000003.snapshot"))
        let list = try listed("--shard", "trades-0")
        #expect(list.map { $0["counts"]?.truth } == [false, false])
        #expect(list.map { $0["reason"]?.text } == ["its checksum is wrong", "it is too short"])
        #expect(list.last?["offset"]?.count == 3)
        #expect(try scratch.clean("snapshot", "list", "ledger").output.contains("no: its checksum"))
    }

    @Test("beside a running writer: made from what was read, and good for the log later")
    func live() throws {
        let running = try CopyTests.busy(scratch)
        defer { running.kill() }
        for _ in 1...3 { try scratch.clean("snapshot", "create", "ledger") }
        #expect(running.process.isRunning)
        running.kill()
        _ = running.wait()
        let list = try listed()
        #expect(list.count >= 4)
        #expect(list.allSatisfy { $0["counts"]?.truth == true })
        try scratch.clean("verify", "ledger")
        #expect(try scratch.clean("venue", "run", "ledger", "--trades", "5").error.isEmpty)
    }

    @Test("evidence keeps the files it has; a program that is not here makes none")
    func refusals() throws {
        try scratch.clean("copy", "ledger", "sealed")
        try Mistake("snapshot create sealed", 2, "evidence", "tally copy --writable")
            .expectRefused(in: scratch)
        try Mistake("snapshot remove sealed", 2, "evidence").expectRefused(in: scratch)
        try Mistake("snapshot remove ledger --keep -1", 2, "--keep").expectRefused(in: scratch)
        try Mistake("snapshot list ledger --shard x", 2, "no shard", "trades-0")
            .expectRefused(in: scratch)
        try scratch.clean("init", "other", "--shards", "a,b", "--program", "elsewhere")
        try Mistake("snapshot create other", 2, "elsewhere is not in this tool")
            .expectRefused(in: scratch)
    }
}
