import TallyCore
import TallyStore
import Testing

@Suite("the mark")
struct MarkTests {
    private func mark(_ offset: UInt64, clean: Bool = false) -> Mark {
        Mark(
            position: LogPosition(
                offset: Offset(offset), head: Digest((offset, 2, 3, 4)),
                timestamp: Timestamp(offset * 10)),
            epoch: Epoch(offset + 100), isClean: clean)
    }

    private func isSame(_ read: Mark?, _ mark: Mark) -> Bool {
        read?.position == mark.position && read?.epoch == mark.epoch
            && read?.isClean == mark.isClean
    }

    @Test("is what was written last, through reopenings")
    func latest() throws {
        try StoreFixture.withScratch { scratch in
            let path = scratch + "/mark"
            #expect(Mark.read(path) == nil)
            for round: UInt64 in 0..<3 {
                let file = try MarkFile(path)
                for offset in round * 10 + 1...round * 10 + 7 {
                    let written = mark(offset, clean: offset % 2 == 0)
                    try file.write(written, isFlushed: offset % 3 == 0)
                    #expect(isSame(Mark.read(path), written))
                }
            }
        }
    }

    @Test("falls back to the other slot when one is torn, at every byte", arguments: [7, 8])
    func torn(_ count: UInt64) throws {
        try StoreFixture.withScratch { scratch in
            let path = scratch + "/mark"
            let file = try MarkFile(path)
            for offset in 1...count { try file.write(mark(offset), isFlushed: false) }
            let whole = try StoreFixture.bytes(path)
            let slot = Int(count % 2) * 512
            for byte in 0..<84 {
                var torn = whole
                torn[slot + byte] ^= 0x10
                try StoreFixture.write(torn, to: path)
                #expect(isSame(Mark.read(path), mark(count - 1)), "byte \(byte)")
                torn[512 - slot + byte] ^= 0x10
                try StoreFixture.write(torn, to: path)
                #expect(Mark.read(path) == nil, "byte \(byte)")
            }
            for length in [0, 10, 83, 500, 595] {
                try StoreFixture.write(Array(whole[..<min(length, whole.count)]), to: path)
                let kept = length >= 84 ? mark(count % 2 == 0 ? count : count - 1) : nil
                #expect(kept.map { isSame(Mark.read(path), $0) } ?? (Mark.read(path) == nil))
            }
            // The next one does not overwrite the slot that is left.
            var torn = whole
            torn[slot] ^= 1
            try StoreFixture.write(torn, to: path)
            try MarkFile(path).write(mark(50), isFlushed: true)
            #expect(isSame(Mark.read(path), mark(50)))
            let after = try StoreFixture.bytes(path)
            #expect(
                after[(512 - slot)..<(512 - slot + 84)] == whole[(512 - slot)..<(512 - slot + 84)])
        }
    }

    // MARK: The mark and its log

    private func position(_ ledger: Ledger, at offset: UInt64) throws -> LogPosition {
        let log = try ledger.openForReading(StoreFixture.shard)
        var position = try log.end()
        try log.forEachCommit(from: Offset(offset)) { commit in
            position = LogPosition(
                offset: Offset(offset), head: commit.head, timestamp: commit.timestamp)
            return false
        }
        try log.close()
        return position
    }

    private func write(_ position: LogPosition, _ ledger: Ledger, clean: Bool = false) throws {
        try MarkFile(ledger.markPath(of: StoreFixture.shard)).write(
            Mark(position: position, epoch: Epoch(1), isClean: clean), isFlushed: true)
    }

    @Test("is made anew when it is missing, and that is said")
    func missing() throws {
        try StoreFixture.withScratch { scratch in
            let ledger = try StoreFixture.ledger(scratch + "/ledger")
            try StoreFixture.writing(ledger) { shard throws in
                #expect(shard.wasClean && shard.warnings.isEmpty && shard.refusedMark == nil)
            }
            StoreFixture.remove(ledger.markPath(of: StoreFixture.shard))
            try StoreFixture.writing(ledger) { shard throws in
                #expect(!shard.wasClean)
                #expect(shard.warnings.count == 1)
                #expect(shard.warnings.first?.contains("no mark") == true)
            }
            let empty = try ledger.openForWriting(ShardID(2), durability: .process)
            #expect(empty.warnings.isEmpty)
            try empty.log.close()
        }
    }

    @Test("of a log that went on without it is no error")
    func ahead() throws {
        try StoreFixture.withScratch { scratch in
            let ledger = try StoreFixture.ledger(scratch + "/ledger")
            try write(try position(ledger, at: 6), ledger, clean: true)
            try StoreFixture.writing(ledger) { shard throws in
                #expect(shard.end.offset == Offset(15))
                #expect(!shard.wasClean)
            }
        }
    }

    @Test("of a log that was cut back refuses a writer, names both ends, and can be overridden")
    func behind() throws {
        try StoreFixture.withScratch { scratch in
            let ledger = try StoreFixture.ledger(scratch + "/ledger")
            let backup = scratch + "/backup"
            let data = ledger.dataPath(of: StoreFixture.shard)
            try StoreFixture.copy(data, to: backup)
            try StoreFixture.writing(ledger) { shard throws in
                let end = try StoreFixture.append([[1], [2]], to: shard.log)
                try write(end, ledger)
            }
            try StoreFixture.copy(backup, to: data)
            let before = try StoreFixture.bytes(ledger.markPath(of: StoreFixture.shard))
            let error = #expect(throws: StoreError.self) {
                try ledger.openForWriting(StoreFixture.shard, durability: .process)
            }
            #expect(error?.code == .behindMark)
            for part in ["a@15", "a@17", "tally recover accept DIR a --reason"] {
                #expect(error?.text.contains(part) == true, "\(part)")
            }
            #expect(error?.text.contains { $0.isNewline } == false)
            #expect(try StoreFixture.bytes(ledger.markPath(of: StoreFixture.shard)) == before)
            // A reader may read.
            let reader = try ledger.openForReading(StoreFixture.shard)
            #expect(try reader.end().offset == Offset(15))
            try reader.close()
            try StoreFixture.writing(ledger, acceptsBehindMark: true) { shard in
                #expect(shard.end.offset == Offset(15))
                #expect(shard.refusedMark?.position.offset == Offset(17))
                #expect(!shard.wasClean)
            }
        }
    }

    @Test("of another history refuses a writer, names both heads", arguments: [15, 10, 12])
    func forked(_ offset: UInt64) throws {
        try StoreFixture.withScratch { scratch in
            let ledger = try StoreFixture.ledger(scratch + "/ledger")
            var other = try position(ledger, at: offset)
            // Inside a commit there is no released end, whatever the head says.
            if offset != 12 { other.head.words.0 ^= 1 }
            try write(other, ledger)
            let error = #expect(throws: StoreError.self) {
                try ledger.openForWriting(StoreFixture.shard, durability: .process)
            }
            #expect(error?.code == .behindMark)
            #expect(error?.text.contains("a@\(offset)") == true)
            #expect(error?.text.contains(other.head.description) == true)
        }
    }
}
