import Foundation
import TallyCore
import TallyStore
import Testing

@Suite("what cannot be read")
struct UnreadableTests {
    @Test("a mark that cannot be read is not taken for missing: the log may have been cut back")
    func mark() throws {
        try StoreFixture.withScratch { scratch in
            let ledger = try StoreFixture.ledger(scratch + "/ledger")
            let path = ledger.markPath(of: StoreFixture.shard)
            let ahead = Mark(
                position: LogPosition(offset: Offset(99), head: .none, timestamp: .none),
                epoch: Epoch(1), isClean: false)
            try MarkFile(path).write(ahead, isFlushed: false)
            // More than is ever read of a mark.
            let bytes = try StoreFixture.bytes(path) + [UInt8](repeating: 0, count: 70_000)
            try StoreFixture.write(bytes, to: path)
            let error = #expect(throws: StoreError.self) {
                try ledger.openForWriting(StoreFixture.shard, durability: .process)
            }
            #expect(error?.text.contains(path) == true)
            #expect(throws: StoreError.self) { try MarkFile(path) }
            #expect(try StoreFixture.bytes(path) == bytes)
        }
    }

    @Test("a log that the system will not show is called neither missing nor damaged")
    func log() throws {
        try StoreFixture.withScratch { scratch in
            let ledger = try StoreFixture.ledger(scratch + "/ledger")
            let path = ledger.dataPath(of: StoreFixture.shard)
            try FileManager.default.removeItem(atPath: path)
            try FileManager.default.createSymbolicLink(
                atPath: path, withDestinationPath: "data.mdb")
            for isWriter in [true, false] {
                let error = #expect(throws: StoreError.self) {
                    if isWriter {
                        _ = try ledger.openForWriting(StoreFixture.shard, durability: .process)
                    } else {
                        _ = try ledger.openForReading(StoreFixture.shard)
                    }
                }
                #expect(error?.code == .system)
                #expect(error?.text.contains(path) == true)
            }
        }
    }

    @Test("a place that the system will not show is not taken for free")
    func place() throws {
        try StoreFixture.withScratch { scratch in
            let path = scratch + "/ledger"
            try FileManager.default.createSymbolicLink(
                atPath: path, withDestinationPath: "ledger")
            for attempt in [
                { _ = try Ledger(path) },
                { _ = try Ledger.create(path, try StoreFixture.manifest()) },
            ] as [() throws -> Void] {
                let error = #expect(throws: StoreError.self) { try attempt() }
                #expect(error?.code == .system)
                #expect(error?.text.contains(path) == true)
            }
            #expect(try FileManager.default.contentsOfDirectory(atPath: scratch) == ["ledger"])
        }
    }

    @Test("a log that is taken away while it is written ends the writing, not the promises")
    func takenAway() throws {
        for way in ["removed", "replaced", "renamed"] {
            try StoreFixture.withScratch { scratch in
                let ledger = try StoreFixture.ledger(scratch + "/ledger")
                let path = ledger.dataPath(of: StoreFixture.shard)
                let shard = try ledger.openForWriting(StoreFixture.shard, durability: .process)
                try StoreFixture.append([[1]], to: shard.log)
                let bytes = try StoreFixture.bytes(path)
                switch way {
                case "removed": try FileManager.default.removeItem(atPath: path)
                case "replaced":
                    try StoreFixture.write(bytes, to: path + ".new")
                    #expect(unsafe rename(path + ".new", path) == 0)
                default:
                    #expect(unsafe rename(path, path + ".old") == 0)
                    try StoreFixture.write(bytes, to: path)
                }
                let error = #expect(throws: StoreError.self) {
                    try StoreFixture.append([[2]], to: shard.log)
                }
                #expect(error?.code == .missingShard, "\(way)")
                #expect(error?.text.contains(ledger.path(of: StoreFixture.shard)) == true)
                try shard.log.close()
            }
        }
    }

    @Test("a ledger whose whole directory is moved is written on")
    func moved() throws {
        try StoreFixture.withScratch { scratch in
            let ledger = try StoreFixture.ledger(scratch + "/ledger")
            let shard = try ledger.openForWriting(StoreFixture.shard, durability: .process)
            try StoreFixture.append([[1]], to: shard.log)
            #expect(unsafe rename(scratch + "/ledger", scratch + "/moved") == 0)
            let end = try StoreFixture.append([[2]], to: shard.log)
            try shard.log.close()
            let log = try Ledger(scratch + "/moved").openForReading(StoreFixture.shard)
            #expect(try log.end() == end)
        }
    }
}
