import Foundation
import TallyCore
import TallyStore
import Testing

/// Whoever reads changes nothing, and needs no more rights than reading takes.
@Suite("Reading changes nothing")
struct ReadOnlyTests {
    /// Every verb that reads; what it makes lies elsewhere.
    static let verbs = [
        "info LEDGER", "log LEDGER", "show LEDGER trades-0@5",
        "trace LEDGER trades-0/collateral-0/1", "state LEDGER", "pending LEDGER",
        "orphans LEDGER", "replay LEDGER", "replay LEDGER --check", "verify LEDGER",
        "export LEDGER", "copy LEDGER OUT/copy", "recover plan LEDGER -o OUT/plan",
        "snapshot list LEDGER",
    ]

    private let scratch: Scratch

    init() throws {
        scratch = try Scratch()
        try scratch.clean("venue", "run", "ledger", "--trades", "60")
        try scratch.clean("snapshot", "create", "ledger")
    }

    /// Names, sizes, modes, times and bytes of every file and directory.
    private func census() throws -> [String] {
        let root = scratch("ledger")
        let names = FileManager.default.enumerator(atPath: root)?.compactMap { $0 as? String } ?? []
        return try ([""] + names.sorted()).map { name in
            let attributes = try FileManager.default.attributesOfItem(atPath: root + "/" + name)
            let bytes = FileManager.default.contents(atPath: root + "/" + name) ?? Data()
            let changed = attributes[.modificationDate] as? Date ?? .distantPast
            return "\(name) \(attributes[.size] ?? 0) \(attributes[.posixPermissions] ?? 0)"
                + " \(changed.timeIntervalSince1970) \(bytes.base64EncodedString())"
        }
    }

    private func arguments(_ verb: String) -> [String] {
        verb.replacing("LEDGER", with: "ledger").replacing("OUT", with: "out")
            .split(separator: " ").map(String.init)
    }

    private func makeOut() throws {
        try? scratch.remove("out")
        try FileManager.default.createDirectory(
            atPath: scratch("out"), withIntermediateDirectories: false,
            attributes: [.posixPermissions: 0o777])
        try FileManager.default.setAttributes(
            [.posixPermissions: 0o777], ofItemAtPath: scratch("out"))
    }

    @Test("no name, size, time or byte of a still ledger changes", arguments: verbs)
    func unchanged(_ verb: String) throws {
        try makeOut()
        let before = try census()
        let outcome = try scratch.tally(arguments(verb))
        #expect(outcome.status == 0, "\(outcome.error)")
        #expect(try census() == before)
    }

    /// `setpriv`, which makes somebody else of root.
    static let nobody = [
        "/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--",
    ]
    static let canBeNobody =
        getuid() == 0 && FileManager.default.isExecutableFile(atPath: nobody[0])
        && (try? Tally.Running(["--version"], in: "/", as: nobody).wait().status) == 0

    private func setModes(directories: Int, files: Int) throws {
        let root = scratch("ledger")
        let manager = FileManager.default
        for name in [""] + (manager.enumerator(atPath: root)?.compactMap { $0 as? String } ?? []) {
            let attributes = try manager.attributesOfItem(atPath: root + "/" + name)
            let isDirectory = attributes[.type] as? FileAttributeType == .typeDirectory
            try manager.setAttributes(
                [.posixPermissions: isDirectory ? directories : files],
                ofItemAtPath: root + "/" + name)
        }
    }

    @Test("somebody else reads a ledger that nobody may write", .enabled(if: canBeNobody))
    func otherUser() throws {
        try setModes(directories: 0o555, files: 0o444)
        let before = try census()
        for verb in Self.verbs {
            try makeOut()
            let outcome = try Tally.Running(arguments(verb), in: scratch.path, as: Self.nobody)
                .wait()
            #expect(outcome.status == 0, "\(verb): \(outcome.error)")
        }
        #expect(try census() == before)
    }

    @Test(
        "beside a writer of another user: an error that says why, never a read without a slot",
        .enabled(if: canBeNobody), arguments: [0o644, 0o600])
    func otherUserLive(_ writerMode: Int) throws {
        let running = try Tally.Running(
            ["venue", "run", "ledger", "--trades", "1000000", "--released", "released"],
            in: scratch.path)
        defer { running.kill() }
        try waitUntil("released results") { scratch.released() > 20 }
        try setModes(directories: 0o755, files: 0o644)
        for shard in ["trades-0", "trades-1", "collateral-0", "collateral-1"] {
            try FileManager.default.setAttributes(
                [.posixPermissions: writerMode],
                ofItemAtPath: scratch("ledger/shards/\(shard)/writer"))
        }
        for verb in ["info ledger", "verify ledger", "replay ledger"] {
            let outcome = try Tally.Running(arguments(verb), in: scratch.path, as: Self.nobody)
                .wait()
            #expect(outcome.status == 4, "\(verb): \(outcome.output) \(outcome.error)")
            #expect((outcome.error + outcome.output).contains("lock.mdb"), "\(outcome.error)")
        }
        let export = try Tally.Running(["export", "ledger"], in: scratch.path, as: Self.nobody)
            .wait()
        #expect(export.status == 3)
        #expect(export.output.isEmpty)
        #expect(export.error.contains("tally copy"), "\(export.error)")
        #expect(running.process.isRunning)
    }

    // MARK: A live ledger

    /// Runs a venue for some seconds while somebody reads, and kills it.
    private func bytesPerEvent(
        _ seconds: Double, _ read: (_ scratch: Scratch, _ end: Date) throws -> Void
    ) throws -> Double {
        let scratch = try Scratch()
        let running = try CopyTests.busy(scratch)
        defer { running.kill() }
        let end = Date(timeIntervalSinceNow: seconds)
        try read(scratch, end)
        while Date() < end { usleep(20_000) }
        #expect(running.process.isRunning)
        running.kill()
        _ = running.wait()
        let shards = try scratch.clean("info", "ledger", "--json").json["shards"]?.items ?? []
        var (bytes, events) = (0, 0)
        for shard in shards {
            let path = scratch("ledger/shards/\(shard["shard"]?.text ?? "")/data.mdb")
            let size = try FileManager.default.attributesOfItem(atPath: path)[.size] as? Int
            bytes += try #require(size)
            events += shard["offset"]?.count ?? 0
        }
        #expect(events > 1000)
        return Double(bytes) / Double(events)
    }

    @Test("readers do not make the file of a busy writer grow, not even one that stands still")
    func growth() throws {
        let alone = try bytesPerEvent(4) { _, _ in }
        let read = try bytesPerEvent(6) { scratch, end in
            // One reader stands still in the middle of a log while the others come and go.
            let opened = try Ledger(scratch("ledger"))
            let log = try opened.openForReading(ShardID(1))
            var reads = 0
            try log.forEachCommit(from: Offset(1)) { _ in
                while Date() < end {
                    for verb in ["verify", "replay", "orphans", "info"] where Date() < end {
                        let outcome = try scratch.tally(verb, "ledger")
                        #expect(outcome.status == 0, "\(verb): \(outcome.error)")
                        reads += 1
                    }
                }
                return false
            }
            #expect(reads > 1)
        }
        #expect(read < alone * 1.3, "\(read) bytes per event with readers, \(alone) without")
    }
}
