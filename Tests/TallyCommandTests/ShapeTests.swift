import Foundation
import Testing

@Suite("JSON shapes and reading verbs")
struct ShapeTests {
    private let scratch: Scratch

    init() throws {
        scratch = try Scratch()
        try scratch.clean("venue", "run", "ledger", "--trades", "30")
    }

    private func isHexadecimal(_ value: OrderedJSON?) -> Bool {
        guard let text = value?.text else { return false }
        return text.count == 64 && text.allSatisfy { "0123456789abcdef".contains($0) }
    }

    @Test("replay --json is what issue 2 prints: keys, their order, their types")
    func replay() throws {
        let json = try scratch.clean("replay", "ledger", "--json").json
        #expect(json.keys == Shape.replay)
        #expect(json["ledger"]?.text == "ledger")
        #expect(json["seconds"]?.real != nil)
        var events = 0
        let shards = json["shards"]?.items ?? []
        for shard in shards {
            #expect(shard.keys == Shape.replayShard)
            #expect(shard["events"]?.count == shard["offset"]?.count)
            #expect((shard["commits"]?.count ?? 0) > 0)
            for name in ["head", "messagingDigest", "stateDigest"] {
                #expect(isHexadecimal(shard[name]), "\(name)")
            }
            #expect(shard["anomalies"]?.count == 0)
            events += shard["events"]?.count ?? 0
        }
        #expect(
            shards.compactMap { $0["shard"]?.text }
                == ["trades-0", "trades-1", "collateral-0", "collateral-1"])
        #expect(json["events"]?.count == events)
        let again = try scratch.clean("replay", "ledger", "--json").json
        #expect(again["shards"] == json["shards"])
        let checked = try scratch.clean("replay", "ledger", "--check")
        #expect(checked.output.contains("the same, event for event"))
    }

    @Test("verify --json begins with what issue 2 prints and has further keys only behind it")
    func verify() throws {
        let json = try scratch.clean("verify", "ledger", "--json").json
        #expect(Array(json.keys.prefix(3)) == Shape.verify)
        #expect(json["clean"]?.truth == true)
        #expect(json["findings"] == .array([]))
        let levels = json["levels"]?.items ?? []
        #expect(levels.compactMap { $0["level"]?.text } == Shape.levels)
        for level in levels {
            #expect(level.keys == Shape.verifyLevel)
            #expect(level["checked"]?.truth == true)
            #expect((level["items"]?.count ?? 0) > 0)
            #expect(level["findings"]?.count == 0)
        }
        let lower = try scratch.clean("verify", "ledger", "--level", "chain", "--json").json
        #expect(
            lower["levels"]?.items.compactMap { $0["level"]?.text }
                == ["structure", "commits", "chain"])
    }

    @Test("info, state and pending have stable keys")
    func others() throws {
        let info = try scratch.clean("info", "ledger", "--json").json
        #expect(info.keys == ["ledger", "id", "program", "answers", "ordered", "sealed", "shards"])
        for shard in info["shards"]?.items ?? [] {
            #expect(shard.keys == ["shard", "offset", "head", "time", "released"])
            #expect(shard["released"]?.count == shard["offset"]?.count)
        }
        // An OrderedJSON refuses a key that stands twice.
        for state in try scratch.clean("state", "ledger", "--json").jsonLines {
            #expect(state.keys == ["shard", "offset", "messaging", "state"])
            #expect(state["messaging"]?["owed"]?.text == "0")
            #expect(state["state"]?["owed"]?.text == "0")
        }
        try scratch.clean("import", GoldenTests.small, "small")
        let pending = try scratch.clean("pending", "small", "--json").jsonLines
        #expect(pending.count == 4)
        for message in pending {
            #expect(
                message.keys.filter { $0 != "deadline" }
                    == ["message", "since", "ageSeconds", "overdue", "event"])
        }
    }

    @Test("log --json and show --json are the lines of export")
    func interchange() throws {
        let lines = try scratch.clean("export", "ledger").lines.dropFirst()
        #expect(lines.count > 100)
        for shard in ["trades-0", "trades-1", "collateral-0", "collateral-1"] {
            let exported = lines.filter { $0.hasPrefix("{\"shard\":\"\(shard)\"") }
            let log = try scratch.clean("log", "ledger", "--shard", shard, "--json")
            #expect(log.lines == exported)
            let reverse = try scratch.clean(
                "log", "ledger", "--shard", shard, "--json", "--reverse", "--limit", "3")
            #expect(reverse.lines == exported.suffix(3).reversed())
            for offset in [1, 5, exported.count] {
                let show = try scratch.clean("show", "ledger", "\(shard)@\(offset)", "--json")
                #expect(show.lines == [exported[offset - 1]])
            }
        }
        let whole = try scratch.clean("log", "ledger", "--json").lines
        #expect(whole.sorted() == lines.sorted())
        let times = try whole.map { try OrderedJSON($0)["time"]?.text ?? "" }
        #expect(times == times.sorted())
    }

    static let readings = [
        ["info"], ["info", "--json"], ["log"], ["log", "--json"], ["show", "trades-0@5"],
        ["trace", "trades-0/collateral-0/1"], ["state"], ["state", "--at", "trades-0@9"],
        ["replay"],
        ["replay", "--json"], ["replay", "--check"], ["pending"], ["orphans"],
        ["orphans", "--summary", "--json"], ["verify"], ["verify", "--json"], ["export"],
    ]

    /// Every reading verb on a ledger under another name of it.
    private func read(
        _ ledger: String, in directory: String, as runner: [String] = []
    ) throws -> [String] {
        try Self.readings.map { verb in
            let arguments = [verb[0], ledger] + verb.dropFirst()
            let outcome = try Tally.Running(arguments, in: directory, as: runner).wait()
            #expect(outcome.status == 0, "\(arguments): \(outcome.error)")
            #expect(outcome.error.isEmpty, "\(arguments): \(outcome.error)")
            // The time that it took is another one each time.
            return outcome.lines.filter { !$0.contains(" events in ") }
                .map { $0.replacing(/"seconds":[0-9.]+/, with: "") }.joined(separator: "\n")
        }
    }

    @Test("reading verbs change no byte, from wherever and under whichever name")
    func unchanged() throws {
        let before = scratch.bytes()
        let plain = try read("ledger", in: scratch.path)
        #expect(changes(before, scratch.bytes()) == [])
        let other = try read(scratch("ledger") + "/", in: "/")
        #expect(other == plain)
        #expect(try read("../ledger", in: scratch("ledger")) == plain)
        #expect(changes(before, scratch.bytes()) == [])
    }

    @Test("reading verbs need no right to write")
    func readOnly() throws {
        let plain = try read("ledger", in: scratch.path)
        let root = scratch("ledger")
        let manager = FileManager.default
        for path in manager.enumerator(atPath: root)?.compactMap({ $0 as? String }) ?? [] {
            let place = root + "/" + path
            let isDirectory = (try? manager.contentsOfDirectory(atPath: place)) != nil
            try manager.setAttributes(
                [.posixPermissions: isDirectory ? 0o555 : 0o444], ofItemAtPath: place)
        }
        try manager.setAttributes([.posixPermissions: 0o555], ofItemAtPath: root)
        let before = scratch.bytes()
        // Rights mean nothing to root: then somebody else reads, where that is possible.
        let nobody = [
            "/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--",
        ]
        let canBeNobody =
            getuid() == 0 && manager.isExecutableFile(atPath: nobody[0])
            && (try? Tally.Running(["--version"], in: "/", as: nobody).wait().status) == 0
        #expect(try read("ledger", in: scratch.path, as: canBeNobody ? nobody : []) == plain)
        #expect(changes(before, scratch.bytes()) == [])
    }
}
