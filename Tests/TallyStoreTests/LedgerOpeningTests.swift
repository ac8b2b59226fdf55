import Foundation
import TallyCore
import TallyStore
import Testing

@Suite("opening a ledger that is not right")
struct LedgerOpeningTests {
    /// A way to spoil a ledger, and what is said of it.
    struct Case: CustomTestStringConvertible, Sendable {
        var testDescription: String
        var code: StoreError.Code
        var spoil: @Sendable (Ledger) throws -> Void

        init(
            _ name: String, _ code: StoreError.Code,
            _ spoil: @escaping @Sendable (Ledger) throws -> Void
        ) {
            (testDescription, self.code, self.spoil) = (name, code, spoil)
        }
    }

    static func manifest(_ text: String) -> @Sendable (Ledger) throws -> Void {
        { try StoreFixture.write(Array(text.utf8), to: $0.directory + "/ledger.json") }
    }

    /// The manifest with one text replaced by another.
    static func edited(_ old: String, _ new: String) -> @Sendable (Ledger) throws -> Void {
        { ledger in
            let path = ledger.directory + "/ledger.json"
            let text = String(decoding: try StoreFixture.bytes(path), as: UTF8.self)
            #expect(text.contains(old))
            try StoreFixture.write(Array(text.replacing(old, with: new).utf8), to: path)
        }
    }

    static func data(_ bytes: @escaping @Sendable ([UInt8]) -> [UInt8])
        -> @Sendable (Ledger) throws
        -> Void
    {
        { ledger in
            let path = ledger.dataPath(of: StoreFixture.shard)
            try StoreFixture.write(bytes(try StoreFixture.bytes(path)), to: path)
        }
    }

    static let spoiltManifests: [Case] = [
        Case("no manifest", .notALedger) { StoreFixture.remove($0.directory + "/ledger.json") },
        Case("nothing at all", .notALedger) { StoreFixture.remove($0.directory) },
        Case("an unreadable manifest", .manifest) { ledger in
            StoreFixture.remove(ledger.directory + "/ledger.json")
            try FileManager.default.createDirectory(
                atPath: ledger.directory + "/ledger.json", withIntermediateDirectories: false)
        },
        Case("an empty manifest", .manifest, manifest("")),
        Case("a manifest that is no JSON", .manifest, manifest("{")),
        Case("a manifest that is no object", .manifest, manifest("[]")),
        Case("a manifest of another format", .manifest, edited("tally-ledger", "other")),
        Case("a newer manifest", .newerFormat, edited("\"version\":1", "\"version\":2")),
        Case(
            "a newer manifest of another shape", .newerFormat,
            manifest(#"{"format":"tally-ledger","version":7,"logs":{}}"#)),
        Case("a manifest without shards", .manifest, edited(#"["a","b"]"#, "[]")),
        Case("a shard name that leads elsewhere", .manifest, edited(#"["a","b"]"#, #"["../a"]"#)),
        Case("a bad id", .manifest, edited(StoreFixture.id.description, "12")),
        Case("a key that is missing", .manifest, edited(#""sealed":false,"#, "")),
    ]

    static let spoiltShards: [Case] = [
        Case("a shard's directory is missing", .missingShard) { ledger in
            StoreFixture.remove(ledger.path(of: StoreFixture.shard))
        },
        Case("data.mdb is missing", .missingShard) { ledger in
            StoreFixture.remove(ledger.dataPath(of: StoreFixture.shard))
        },
        Case("data.mdb is empty", .emptyData, data { _ in [] }),
        Case("data.mdb is text", .damaged, data { _ in Array("not a database\n".utf8) }),
        Case(
            "data.mdb is noise", .damaged,
            data { bytes in
                bytes.indices.map { UInt8(truncatingIfNeeded: ($0 &* 2_654_435_761) >> 13) }
            }),
        Case("data.mdb is zeros", .damaged, data { $0.map { _ in 0 } }),
        Case("data.mdb is half of what it was", .damaged, data { Array($0[..<($0.count / 2)]) }),
        Case(
            "both metas are spoilt", .damaged,
            data { bytes in
                var bytes = bytes
                for page in [0, 4096] { bytes[page + 16] ^= 0xFF }
                return bytes
            }),
    ]

    private func spoilt(_ refusal: Case, _ body: (Ledger) throws -> Void) throws {
        try StoreFixture.withScratch { scratch in
            let ledger = try StoreFixture.ledger(scratch + "/ledger")
            try refusal.spoil(ledger)
            let before = try StoreFixture.census(scratch)
            try body(ledger)
            #expect(try StoreFixture.census(scratch) == before)
        }
    }

    private func check(_ error: StoreError?, _ code: StoreError.Code, names path: String) {
        #expect(error?.code == code, "\(error?.text ?? "no error")")
        #expect(error?.text.contains(path) == true, "\(error?.text ?? "")")
        #expect(error?.text.contains { $0.isNewline } == false, "\(error?.text ?? "")")
    }

    @Test(
        "its manifest: the code, the place, one line, nothing changed", arguments: spoiltManifests)
    func manifests(_ refusal: Case) throws {
        try spoilt(refusal) { ledger throws in
            let error = #expect(throws: StoreError.self) { try Ledger(ledger.directory) }
            check(error, refusal.code, names: ledger.directory)
        }
    }

    @Test("a shard of it: the code, the place, one line, nothing changed", arguments: spoiltShards)
    func shards(_ refusal: Case) throws {
        try spoilt(refusal) { ledger throws in
            let path = ledger.path(of: StoreFixture.shard)
            for depth in [Ledger.StructureCheckDepth.edges, .whole] {
                let error = #expect(throws: StoreError.self) {
                    try ledger.openForReading(StoreFixture.shard, depth: depth)
                }
                check(error, refusal.code, names: path)
            }
            let structure = #expect(throws: StoreError.self) {
                try ledger.checkStructure(StoreFixture.shard)
            }
            check(structure, refusal.code, names: path)
            let error = #expect(throws: StoreError.self) {
                try ledger.openForWriting(StoreFixture.shard, durability: .power)
            }
            check(error, refusal.code, names: path)
            // The other shard is as good as ever.
            #expect(try ledger.openForReading(ShardID(2)).end().offset == .none)
        }
    }

    @Test(
        "a shard that was never written to is refused without a trace, too", arguments: spoiltShards
    )
    func untouched(_ refusal: Case) throws {
        try StoreFixture.withScratch { scratch in
            let ledger = try Ledger.create(scratch + "/ledger", try StoreFixture.manifest())
            try refusal.spoil(ledger)
            let before = try StoreFixture.census(scratch)
            let error = #expect(throws: StoreError.self) {
                try ledger.openForWriting(StoreFixture.shard, durability: .power)
            }
            check(error, refusal.code, names: ledger.path(of: StoreFixture.shard))
            #expect(try StoreFixture.census(scratch) == before)
        }
    }

    @Test("a file that is no ledger's log is refused")
    func otherDatabase() throws {
        try StoreFixture.withScratch { scratch in
            let ledger = try StoreFixture.ledger(scratch + "/ledger")
            let made = try Ledger.create(scratch + "/other", try StoreFixture.manifest())
            // The log of shard b stands in for that of shard a.
            try StoreFixture.copy(
                made.dataPath(of: ShardID(2)), to: ledger.dataPath(of: StoreFixture.shard))
            let error = #expect(throws: StoreError.self) {
                try ledger.openForReading(StoreFixture.shard)
            }
            #expect(error?.code == .damaged)
            #expect(error?.text.contains("shard a") == true)
        }
    }

    @Test("a sealed ledger is never opened for writing, and not touched")
    func sealed() throws {
        try StoreFixture.withScratch { scratch in
            var manifest = try StoreFixture.manifest()
            manifest.isSealed = true
            let ledger = try Ledger.create(scratch + "/ledger", manifest)
            let before = try StoreFixture.census(scratch)
            let error = #expect(throws: StoreError.self) {
                try ledger.openForWriting(
                    StoreFixture.shard, durability: .power, acceptsBehindMark: true)
            }
            check(error, .sealed, names: ledger.directory)
            #expect(try StoreFixture.census(scratch) == before)
        }
    }

    @Test("reading a still ledger changes no byte and makes no file", arguments: [false, true])
    func still(_ isReadOnly: Bool) throws {
        try StoreFixture.withScratch { scratch in
            let ledger = try StoreFixture.ledger(scratch + "/ledger")
            StoreFixture.remove(ledger.path(of: StoreFixture.shard) + "/lock.mdb")
            StoreFixture.remove(ledger.writerPath(of: StoreFixture.shard))
            if isReadOnly {
                StoreFixture.setModes(of: ledger.directory, directories: 0o555, files: 0o444)
            }
            let before = try StoreFixture.census(scratch)
            let read = try Ledger(ledger.directory)
            for shard in read.shards.all {
                #expect(read.writer(of: shard) == nil)
                _ = try read.checkStructure(shard)
                let log = try read.openForReading(shard, depth: .whole)
                var state = ShardState<Counter>(
                    context: read.context(shard), manifest: read.manifest)
                try state.fold(log, checksChain: true)
                #expect(state.eventCount == (shard == StoreFixture.shard ? 15 : 0))
                _ = Mark.read(read.markPath(of: shard))
                _ = try Snapshot.newest(
                    Counter.self, in: read, of: shard, log: log, skipped: { _ in })
                try log.close()
            }
            #expect(try StoreFixture.census(scratch) == before)
        }
    }
}
