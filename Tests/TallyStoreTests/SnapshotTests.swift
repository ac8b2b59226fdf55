import Foundation
import TallyCore
import TallyStore
import Testing

@Suite("a snapshot")
struct SnapshotTests {
    /// A ledger with the sample in shard `a`, and snapshots at some offsets.
    private func withLedger(
        snapshots: [UInt64], _ body: (Ledger, LMDBLog) throws -> Void
    ) throws {
        try StoreFixture.withScratch { scratch in
            let ledger = try StoreFixture.ledger(scratch + "/ledger")
            let log = try ledger.openForReading(StoreFixture.shard)
            for offset in snapshots {
                try Snapshot.write(try folded(ledger, log, to: .offset(Offset(offset))), to: ledger)
            }
            try body(ledger, log)
        }
    }

    private func folded(
        _ ledger: Ledger, _ log: LMDBLog, to limit: ShardState<Counter>.Limit = .end
    ) throws -> ShardState<Counter> {
        var state = ShardState<Counter>(
            context: ledger.context(StoreFixture.shard), manifest: ledger.manifest)
        try state.fold(log, to: limit)
        return state
    }

    private func newest(
        _ ledger: Ledger, _ log: LMDBLog
    ) throws -> (state: ShardState<Counter>?, skipped: [String]) {
        var skipped: [String] = []
        let state = Snapshot.newest(
            Counter.self, in: ledger, of: StoreFixture.shard, log: log,
            skipped: { skipped.append($0) })
        return (state, skipped)
    }

    private func path(_ ledger: Ledger, _ offset: UInt64) -> String {
        let digits = "\(offset)"
        return ledger.snapshotsPath(of: StoreFixture.shard) + "/"
            + String(repeating: "0", count: 20 - digits.count) + digits + ".snapshot"
    }

    private func isEqual(_ left: ShardState<Counter>, _ right: ShardState<Counter>) -> Bool {
        left.messaging.encoded() == right.messaging.encoded()
            && Counter.encode(left.application) == Counter.encode(right.application)
            && left.position == right.position && left.eventCount == right.eventCount
            && left.commitCount == right.commitCount
    }

    @Test("plus the tail is the fold", arguments: [1, 3, 6, 10, 15])
    func tail(_ offset: UInt64) throws {
        try withLedger(snapshots: [offset]) { ledger, log throws in
            let found = try newest(ledger, log)
            #expect(found.skipped == [])
            var state = try #require(found.state)
            #expect(isEqual(state, try folded(ledger, log, to: .offset(Offset(offset)))))
            try state.fold(log, checksChain: true)
            #expect(isEqual(state, try folded(ledger, log)))
        }
    }

    @Test("is used when it is the newest one; two are kept")
    func newestFirst() throws {
        try withLedger(snapshots: [1, 10, 6]) { ledger, log throws in
            #expect(
                Snapshot.offsets(in: ledger, of: StoreFixture.shard) == [Offset(10), Offset(6)])
            #expect(try newest(ledger, log).state?.position.offset == Offset(10))
        }
    }

    @Test("is not there at first")
    func none() throws {
        try withLedger(snapshots: []) { ledger, log throws in
            let found = try newest(ledger, log)
            #expect(found.state == nil && found.skipped == [])
        }
    }

    @Test("with any byte changed or cut off is passed over for the one before")
    func damaged() throws {
        try withLedger(snapshots: [6, 10]) { ledger, log throws in
            let file = path(ledger, 10)
            let whole = try StoreFixture.bytes(file)
            for byte in whole.indices {
                var bytes = whole
                bytes[byte] ^= 0x20
                try StoreFixture.write(bytes, to: file)
                let found = try newest(ledger, log)
                #expect(found.state?.position.offset == Offset(6), "byte \(byte)")
                #expect(found.skipped.count == 1)
            }
            for length in [0, 1, 112, 113, whole.count - 1] {
                try StoreFixture.write(Array(whole[..<length]), to: file)
                let found = try newest(ledger, log)
                #expect(found.state?.position.offset == Offset(6), "length \(length)")
                #expect(found.skipped.first?.contains(file) == true)
            }
            try StoreFixture.write(whole, to: file)
            #expect(try newest(ledger, log).state?.position.offset == Offset(10))
        }
    }

    @Test("of another fold version is passed over, and that is said")
    func foldVersion() throws {
        try withLedger(snapshots: [6, 10]) { ledger, log throws in
            var skipped: [String] = []
            let state = Snapshot.newest(
                NewerCounter.self, in: ledger, of: StoreFixture.shard, log: log,
                skipped: { skipped.append($0) })
            #expect(state == nil)
            #expect(skipped.count == 2)
            #expect(skipped.allSatisfy { $0.contains("another fold version") })
            let opaque = Snapshot.newest(
                Opaque.self, in: ledger, of: StoreFixture.shard, log: log, skipped: { _ in })
            #expect(opaque == nil)
        }
    }

    @Test("whose bytes make no sense under a right checksum is passed over with the reason")
    func forged() throws {
        try withLedger(snapshots: [6, 10]) { ledger, log throws in
            let file = path(ledger, 10)
            let whole = Array(try StoreFixture.bytes(file).dropLast(4))
            // Behind the fixed part: the program's name, then the two states, each with its count.
            let name = 100 + Int(whole[96])
            #expect(Array(whole[100..<name]) == Array("counting".utf8))
            var cases: [(bytes: [UInt8], says: String)] = []
            func add(_ says: String, _ change: (inout [UInt8]) -> Void) {
                var bytes = whole
                change(&bytes)
                cases.append((bytes, says))
            }
            add("no snapshot of a format known here") { $0[0] ^= 1 }
            add("no snapshot of a format known here") { $0[4] = 2 }
            add("ends too early") { $0.removeLast() }
            add("ends too early") { $0.append(0) }
            add("of another program") { $0[100] ^= 1 }
            add("its state cannot be read") { $0[name + 8] ^= 0xFF }
            // Another offset than that of the state behind it.
            add("its state cannot be read") { $0[32] = 6 }
            for (bytes, says) in cases {
                var writer = ByteWriter()
                writer.write(Checksum.crc32c(bytes))
                try StoreFixture.write(bytes + writer.bytes, to: file)
                let found = try newest(ledger, log)
                #expect(found.state?.position.offset == Offset(6))
                #expect(found.skipped.count == 1)
                let line = found.skipped.first ?? ""
                #expect(line.contains(file) && line.contains(says), "\(line)")
            }
        }
    }

    @Test("that cannot be written or removed says so, with its place")
    func places() throws {
        try withLedger(snapshots: [6]) { ledger, log throws in
            let state = try folded(ledger, log)
            // A directory where the file belongs.
            let file = path(ledger, 15)
            for directory in [file + ".tmp", file] {
                try FileManager.default.createDirectory(
                    atPath: directory + "/in", withIntermediateDirectories: true)
                let error = #expect(throws: StoreError.self) {
                    try Snapshot.write(state, to: ledger)
                }
                #expect(error?.code == .system)
                #expect(error?.text.contains(file) == true, "\(error?.text ?? "")")
                if directory == file { break }
                StoreFixture.remove(directory)
            }
            let stuck = #expect(throws: StoreError.self) {
                try Snapshot.remove(in: ledger, of: StoreFixture.shard, keeping: 0)
            }
            #expect(stuck?.text.contains("cannot remove \(file)") == true, "\(stuck?.text ?? "")")
            // A file where their directory belongs.
            let folder = ledger.snapshotsPath(of: StoreFixture.shard)
            StoreFixture.remove(folder)
            try StoreFixture.write([1], to: folder)
            let error = #expect(throws: StoreError.self) { try Snapshot.write(state, to: ledger) }
            #expect(error?.text.contains("make the directory \(folder)") == true)
        }
    }

    @Test("of another shard or ledger is passed over")
    func otherShard() throws {
        try withLedger(snapshots: [6, 10]) { ledger, log throws in
            let bytes = try StoreFixture.bytes(path(ledger, 10))
            var other = try StoreFixture.manifest()
            other.id = Bytes16(low: 5, high: 6)
            let second = try Ledger.create(ledger.directory + "-2", other)
            try StoreFixture.writing(second) { try StoreFixture.appendSample(to: $0.log) }
            let state = try folded(second, try second.openForReading(StoreFixture.shard))
            try Snapshot.write(state, to: second)
            try StoreFixture.write(bytes, to: path(second, 15))
            let found = try newest(second, try second.openForReading(StoreFixture.shard))
            #expect(found.state == nil)
            #expect(found.skipped.first?.contains("another ledger or shard") == true)
            #expect(try newest(ledger, log).state?.position.offset == Offset(10))
        }
    }

    @Test("of a history that the log does not have is passed over")
    func otherLog() throws {
        try withLedger(snapshots: [6, 10]) { ledger, log throws in
            try log.close()
            // The same ledger, made again: the first commits are the same, the fourth is not.
            let again = try Ledger.create(ledger.directory + "-2", ledger.manifest)
            try StoreFixture.writing(again) { shard in
                for count in 1...3 {
                    let start = UInt8(count * (count - 1) / 2)
                    try StoreFixture.append(
                        (1...UInt8(count)).map { [start + $0, UInt8(count)] }, to: shard.log)
                }
                try StoreFixture.append([[0], [0], [0], [0]], to: shard.log)
            }
            try StoreFixture.copy(
                again.dataPath(of: StoreFixture.shard), to: ledger.dataPath(of: StoreFixture.shard))
            let found = try newest(ledger, try ledger.openForReading(StoreFixture.shard))
            #expect(found.state?.position.offset == Offset(6))
            #expect(found.skipped.count == 1)
            #expect(found.skipped.first?.contains("another log") == true)
        }
    }

    @Test("behind the log's end is passed over")
    func behindEnd() throws {
        try withLedger(snapshots: [6, 10]) { ledger, _ throws in
            let short = MemoryLog(name: "a", ledger: StoreFixture.id, shard: StoreFixture.shard)
            for payloads in [[[1, 1]], [[2, 2], [3, 2]]] as [[[UInt8]]] {
                try StoreFixture.append(payloads, to: short)
            }
            var skipped = 0
            let state = Snapshot.newest(
                Counter.self, in: ledger, of: StoreFixture.shard, log: short,
                skipped: { _ in skipped += 1 })
            #expect(state == nil && skipped == 2)
        }
    }

    @Test("is cut at a commit boundary only")
    func boundary() throws {
        try withLedger(snapshots: [6]) { ledger, log throws in
            let inside = try folded(ledger, log, to: .offset(Offset(8)))
            #expect(throws: StoreError.self) { try Snapshot.write(inside, to: ledger) }
            #expect(Snapshot.offsets(in: ledger, of: StoreFixture.shard) == [Offset(6)])
        }
    }
}
