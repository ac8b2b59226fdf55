import Foundation
import LMDB
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
        Case(
            "a channel that is none", .manifest,
            edited(#""shards":"#, #""unordered":["a/x"],"shards":"#)),
        Case(
            "a window of a shard that is none", .manifest,
            edited(#""shards":"#, #""windows":{"x":[1,2]},"shards":"#)),
        Case(
            "a window that ends before it begins", .manifest,
            edited(#""shards":"#, #""windows":{"a":[2,1]},"shards":"#)),
        Case("a manifest that is too large", .manifest) { ledger in
            try StoreFixture.write(
                [UInt8](repeating: 0x20, count: 16 << 20 + 1), to: ledger.directory + "/ledger.json"
            )
        },
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

    @Test("a page that an opening does not read is found by the structure check, with its place")
    func innerPage() throws {
        try StoreFixture.withScratch { scratch in
            let ledger = try StoreFixture.ledger(scratch + "/ledger")
            try StoreFixture.writing(ledger) { shard in
                for number in 0..<400 {
                    try StoreFixture.append(
                        [[UInt8](repeating: 7, count: 300 + number)], to: shard.log)
                }
            }
            let path = ledger.dataPath(of: StoreFixture.shard)
            let whole = try StoreFixture.bytes(path)
            #expect(try ledger.checkStructure(StoreFixture.shard) > 20)
            var inner = 0
            for page in stride(from: 8192, to: whole.count, by: 4096) {
                var bytes = whole
                // The page's own flags.
                bytes[page + 10] ^= 0x40
                try StoreFixture.write(bytes, to: path)
                guard (try? ledger.check(StoreFixture.shard)) != nil else { continue }
                guard let error = Self.error({ _ = try ledger.checkStructure(StoreFixture.shard) })
                else { continue }
                inner += 1
                check(error, .damaged, names: path)
                #expect(error.text.contains("shard a is damaged"), "\(error.text)")
                #expect(error.text.contains("page \(page / 4096), byte "), "\(error.text)")
                // The same before a still log is opened.
                #expect(
                    Self.error { _ = try ledger.openForReading(StoreFixture.shard) } == error)
            }
            #expect(inner > 10)
        }
    }

    private static func error(_ body: () throws -> Void) -> StoreError? {
        do {
            try body()
            return nil
        } catch {
            return error as? StoreError
        }
    }

    @Test("a directory in the place of a shard's small file is named")
    func smallFiles() throws {
        try StoreFixture.withScratch { scratch in
            for name in ["writer", "mark", "lock.mdb"] {
                let ledger = try Ledger.create(scratch + "/" + name, try StoreFixture.manifest())
                let path = ledger.path(of: StoreFixture.shard) + "/" + name
                StoreFixture.remove(path)
                try FileManager.default.createDirectory(
                    atPath: path, withIntermediateDirectories: false)
                let error = Self.error {
                    _ = try ledger.openForWriting(StoreFixture.shard, durability: .process)
                }
                check(error, .system, names: ledger.path(of: StoreFixture.shard))
                let text = error?.text ?? ""
                #expect(text.contains(name) && text.contains("Is a directory"), "\(text)")
            }
        }
    }

    @Test("a directory that holds no log is named by whoever opens it as one")
    func noLog() throws {
        try StoreFixture.withScratch { scratch in
            func open() -> StoreError? {
                Self.error {
                    _ = try LMDBLog(
                        directory: scratch, name: "a", ledger: StoreFixture.id,
                        shard: StoreFixture.shard, access: .readStill)
                }
            }
            let missing = open()
            check(missing, .missingShard, names: scratch)
            // A database of somebody else.
            do {
                let environment = try Environment(path: scratch, options: .init(access: .readWrite))
                let transaction = try environment.beginWrite()
                _ = try transaction.openTable(name: "other", create: true)
                try transaction.commit()
                try environment.close()
            }
            let other = open()
            check(other, .damaged, names: scratch)
            #expect(other?.text.contains("is no shard of a ledger") == true)
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
                _ = Snapshot.newest(
                    Counter.self, in: read, of: shard, log: log, skipped: { _ in })
                try log.close()
            }
            #expect(try StoreFixture.census(scratch) == before)
        }
    }
}
