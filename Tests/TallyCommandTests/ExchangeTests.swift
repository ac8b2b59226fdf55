import Foundation
import Testing

@Suite("Export and import")
struct ExchangeTests {
    @Test("export, import, export gives the same bytes, and the copy replays to the same digests")
    func roundTrip() throws {
        let scratch = try Scratch()
        try scratch.clean(
            "venue", "run", "ledger", "--trades", "200", "--loss", "0.05", "--delay", "2")
        try scratch.clean("export", "ledger", "-o", "first")
        try scratch.clean("import", "first", "copy")
        let second = try scratch.clean("export", "copy")
        #expect(Data(second.output.utf8) == FileManager.default.contents(atPath: scratch("first")))
        func shards(_ ledger: String) throws -> OrderedJSON? {
            try scratch.clean("replay", ledger, "--json").json["shards"]
        }
        #expect(try shards("ledger") == shards("copy"))
        try scratch.clean("verify", "copy")
        let report = try scratch.clean("import", "first", "other", "--json").json
        #expect(report.keys == ["ledger", "events", "commits", "shards"])
        #expect(report["events"]?.count == second.lines.count - 1)
    }

    // MARK: The recorded messages of a public chain

    /// 935 messages between 17 shards; lies beside the repository, if at all.
    static let recorded =
        URL(fileURLWithPath: Tally.repository).deletingLastPathComponent().path
        + "/shared/data/ton/messages.jsonl"
    static var isRecorded: Bool { FileManager.default.fileExists(atPath: recorded) }

    /// What is told of one event of the recording.
    private struct Half: Decodable {
        var shard: String
        var kind: String
        var peer: String
        var sequence: UInt64
        var payload: String

        var isSend: Bool { kind == "sent" }
        var channel: String { isSend ? "\(shard)/\(peer)" : "\(peer)/\(shard)" }
        var message: String { "\(channel)/\(sequence)" }
    }

    @Test("of 935 recorded messages all are matched and nothing else", .enabled(if: isRecorded))
    func recordedWhole() throws {
        let scratch = try Scratch()
        try scratch.clean("import", Self.recorded, "ton")
        let replayed = try scratch.clean("replay", "ton", "--json").json
        #expect(replayed["shards"]?.items.count == 17)
        #expect(replayed["shards"]?.items.allSatisfy { $0["stateDigest"] == .null } == true)
        let summary = try scratch.clean("orphans", "ton", "--summary", "--json").json
        var sums: [String: Int] = [:]
        for channel in summary.keys {
            #expect(summary[channel]?.keys == Shape.channel)
            for name in Shape.channel {
                sums[name, default: 0] += summary[channel]?[name]?.count ?? -1
            }
        }
        let expected = ["sent": 935, "received": 935, "matched": 935]
        #expect(sums.filter { $0.value != 0 } == expected)
        #expect(try scratch.clean("orphans", "ton").output == "No orphans.\n")
        try scratch.clean("verify", "ton")
    }

    @Test(
        "with the end of one shard gone, orphans are what counting by other means says",
        .enabled(if: isRecorded), arguments: ["ton-a", "ton-0"])
    func recordedCut(_ shard: String) throws {
        let scratch = try Scratch()
        var lines = Scratch.text(Self.recorded).split(separator: "\n").map(String.init)
        let header = lines.removeFirst()
        let decoder = JSONDecoder()
        var halves = try lines.map { try decoder.decode(Half.self, from: Data($0.utf8)) }
        let tail = Set(halves.indices.filter { halves[$0].shard == shard }.suffix(20))
        lines = lines.indices.filter { !tail.contains($0) }.map { lines[$0] }
        halves = halves.indices.filter { !tail.contains($0) }.map { halves[$0] }
        let sends = halves.filter(\.isSend)
        let receipts = halves.filter { !$0.isSend }
        let sent = Set(sends.map(\.message))
        let undelivered = sends.filter { send in
            !receipts.contains { $0.message == send.message && $0.payload == send.payload }
        }
        let unsent = receipts.filter { !sent.contains($0.message) }
        #expect(undelivered.count + unsent.count == 20)

        let body = lines.joined(separator: "\n") + "\n"
        try scratch.write(header + "\n" + body, to: "cut")
        try scratch.clean("import", "cut", "ledger")
        let listed = try scratch.tally("orphans", "ledger", "--json")
        #expect(listed.status == 1)
        let orphans = try listed.jsonLines
        #expect(orphans.allSatisfy { $0["class"]?.text == "undelivered" })
        #expect(
            orphans.compactMap { $0["message"]?.text }.sorted()
                == undelivered.map(\.message).sorted())
        let summary = try scratch.tally("orphans", "ledger", "--summary", "--json").json
        for channel in summary.keys {
            let counts = try #require(summary[channel])
            #expect(counts["undelivered"]?.count == undelivered.count { $0.channel == channel })
            #expect(counts["unsent"]?.count == unsent.count { $0.channel == channel })
            #expect(counts["outside"]?.count == 0)
            let matched =
                sends.count { $0.channel == channel }
                - undelivered.count { $0.channel == channel }
            #expect(counts["matched"]?.count == matched)
        }

        // The same, and the header says where the log ends: nobody can tell.
        let end = halves.count { $0.shard == shard }
        let bounded = header.dropLast() + ",\"windows\":{\"\(shard)\":[1,\(end)]}}"
        try scratch.write(bounded + "\n" + body, to: "bounded")
        try scratch.clean("import", "bounded", "window")
        let outside = try scratch.clean("orphans", "window", "--summary", "--json").json
        for channel in outside.keys {
            let counts = try #require(outside[channel])
            #expect(counts["undelivered"]?.count == 0)
            #expect(counts["unsent"]?.count == 0)
            #expect(
                counts["outside"]?.count
                    == (undelivered + unsent).count { $0.channel == channel }, "\(channel)")
        }
        #expect(try scratch.clean("orphans", "window").output.contains("20 outside"))
    }
}

@Suite("Files that a verb is told to write")
struct OutputFileTests {
    /// A device that was named with `-o` was once exchanged for a file of its name.
    @Test("a device, a pipe or a link is written into and stays what it is")
    func notExchanged() throws {
        let scratch = try Scratch()
        try scratch.clean("venue", "run", "ledger", "--trades", "20")
        try scratch.write("old, and longer than a line of what comes\n", to: "real")
        try FileManager.default.createSymbolicLink(
            atPath: scratch("link"), withDestinationPath: "real")
        for verb in [["export", "ledger"], ["recover", "plan", "ledger"]] {
            let device = try scratch.tally(verb + ["-o", "/dev/null"])
            #expect(device.status == 0, "\(device.error)")
            let type = try FileManager.default.attributesOfItem(atPath: "/dev/null")[.type]
            #expect(type as? FileAttributeType == .typeCharacterSpecial)
            #expect(try scratch.tally(verb + ["-o", "link"]).status == 0)
            let link = try FileManager.default.attributesOfItem(atPath: scratch("link"))[.type]
            #expect(link as? FileAttributeType == .typeSymbolicLink)
            #expect(try scratch.tally(verb + ["-o", "fresh"]).status == 0)
            #expect(Scratch.text(scratch("real")) == Scratch.text(scratch("fresh")))
            #expect(Scratch.text(scratch("fresh")).hasPrefix("{"))
        }
    }

    @Test("what cannot be written is said with the system's reason")
    func refused() throws {
        let scratch = try Scratch()
        try scratch.clean("venue", "run", "ledger", "--trades", "20")
        for verb in [["export", "ledger"], ["recover", "plan", "ledger"]] {
            let nowhere = try scratch.tally(verb + ["-o", "no/where"])
            #expect(nowhere.status == 3)
            #expect(
                nowhere.error.contains("cannot write no/where: No such file or directory; name"))
            let isLinux = FileManager.default.fileExists(atPath: "/dev/full")
            guard isLinux else { continue }
            let full = try scratch.tally(verb + ["-o", "/dev/full"])
            #expect(full.status == 3)
            #expect(full.error.contains("cannot write /dev/full: No space left on device; what"))
        }
    }
}
