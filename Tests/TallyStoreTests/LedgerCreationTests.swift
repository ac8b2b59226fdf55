import Foundation
import TallyCore
import TallyStore
import Testing

@Suite("making a ledger")
struct LedgerCreationTests {
    struct Odd: Error {}

    @Test("gives the ledger that was asked for, with empty logs")
    func making() throws {
        try StoreFixture.withScratch { scratch in
            let manifest = try StoreFixture.manifest(["trades-0", "x", "0"])
            for path in [scratch + "/one", scratch + "/two/"] {
                let made = try Ledger.create(path, manifest)
                #expect(try Ledger(path).manifest == manifest)
                for shard in made.shards.all {
                    let log = try made.openForReading(shard, depth: .whole)
                    let seed = Hashing.seed(ledger: manifest.id, shard: shard)
                    #expect(
                        try log.end() == LogPosition(offset: .none, head: seed, timestamp: .none))
                }
            }
            #expect(StoreFixture.list(scratch) == ["one", "two"])
        }
    }

    @Test("leaves nothing behind when filling it fails, a log open or not")
    func failing() throws {
        try StoreFixture.withScratch { scratch in
            let path = scratch + "/ledger"
            #expect(throws: Odd.self) {
                try Ledger.create(path, try StoreFixture.manifest()) { _ in throw Odd() }
            }
            #expect(StoreFixture.list(scratch) == [])
            #expect(throws: Odd.self) {
                try Ledger.create(path, try StoreFixture.manifest()) { ledger in
                    try StoreFixture.writing(ledger) { try StoreFixture.appendSample(to: $0.log) }
                    let log = try ledger.openForReading(StoreFixture.shard)
                    _ = try log.end()
                    throw Odd()
                }
            }
            #expect(StoreFixture.list(scratch) == [])
            _ = try StoreFixture.ledger(path)
        }
    }

    @Test("keeps what filling it wrote")
    func filling() throws {
        try StoreFixture.withScratch { scratch in
            let path = scratch + "/ledger"
            var end: LogPosition?
            let ledger = try Ledger.create(path, try StoreFixture.manifest()) { ledger in
                #expect(!FileManager.default.fileExists(atPath: path))
                try StoreFixture.writing(ledger) { shard in
                    try StoreFixture.appendSample(to: shard.log)
                    end = try shard.log.end()
                }
            }
            #expect(ledger.directory == path)
            #expect(try ledger.openForReading(StoreFixture.shard).end() == end)
        }
    }

    @Test("takes an empty directory, and touches nothing else that is in the place")
    func places() throws {
        try StoreFixture.withScratch { scratch in
            let files = FileManager.default
            let manifest = try StoreFixture.manifest()
            try files.createDirectory(
                atPath: scratch + "/empty", withIntermediateDirectories: false)
            _ = try Ledger.create(scratch + "/empty", manifest)
            try files.createDirectory(atPath: scratch + "/full", withIntermediateDirectories: false)
            try StoreFixture.write([1], to: scratch + "/full/file")
            try StoreFixture.write([2], to: scratch + "/file")
            let before = try StoreFixture.census(scratch)
            for name in ["empty", "full", "file"] {
                let error = #expect(throws: StoreError.self) {
                    try Ledger.create(scratch + "/" + name, manifest)
                }
                #expect(error?.code == .exists)
                #expect(error?.text.contains(scratch + "/" + name) == true)
            }
            for name in ["none/ledger", "file/ledger"] {
                let error = #expect(throws: StoreError.self) {
                    try Ledger.create(scratch + "/" + name, manifest)
                }
                #expect(error?.text.contains(scratch) == true)
            }
            #expect(try StoreFixture.census(scratch) == before)
        }
    }
}
