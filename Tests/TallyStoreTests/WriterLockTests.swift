import Foundation
import TallyCore
import TallyStore
import Testing

@Suite("the writer lock")
struct WriterLockTests {
    private var me: String { "process \(ProcessInfo.processInfo.processIdentifier)" }

    @Test("is held once, names its holder, and is let go with its object")
    func exclusive() throws {
        try StoreFixture.withScratch { scratch in
            let path = scratch + "/writer"
            #expect(WriterLock.holder(path) == nil)
            var lock: WriterLock? = try WriterLock(path, shard: "a")
            #expect(lock != nil)
            #expect(WriterLock.holder(path) == me)
            let error = #expect(throws: StoreError.self) { try WriterLock(path, shard: "a") }
            #expect(error?.code == .held)
            #expect(error?.text.contains(me) == true)
            #expect(error?.text.contains("shard a") == true)
            #expect(error?.text.contains { $0.isNewline } == false)
            // Asking took nothing away, and neither did the attempt.
            #expect(WriterLock.holder(path) == me)
            lock = nil
            #expect(WriterLock.holder(path) == nil)
            lock = try WriterLock(path, shard: "a")
            #expect(WriterLock.holder(path) == me)
        }
    }

    @Test("keeps a second writer of a ledger out, and says who writes")
    func ledger() throws {
        try StoreFixture.withScratch { scratch in
            let ledger = try StoreFixture.ledger(scratch + "/ledger")
            #expect(ledger.writer(of: StoreFixture.shard) == nil)
            try StoreFixture.writing(ledger) { _ throws in
                #expect(ledger.writer(of: StoreFixture.shard) == me)
                #expect(ledger.writer(of: ShardID(2)) == nil)
                let error = #expect(throws: StoreError.self) {
                    try ledger.openForWriting(StoreFixture.shard, durability: .process)
                }
                #expect(error?.code == .held)
                #expect(error?.text.contains(me) == true)
            }
            #expect(ledger.writer(of: StoreFixture.shard) == nil)
        }
    }

    @Test("of a process that was killed is free, whatever the file says")
    func stale() throws {
        try StoreFixture.withScratch { scratch in
            let path = scratch + "/writer"
            try StoreFixture.write(Array("process 1\n".utf8), to: path)
            #expect(WriterLock.holder(path) == nil)
            let lock = try WriterLock(path, shard: "a")
            #expect(WriterLock.holder(path) == me)
            withExtendedLifetime(lock) {}
        }
    }

    @Test("an opening that fails lets the lock go")
    func failing() throws {
        try StoreFixture.withScratch { scratch in
            let ledger = try StoreFixture.ledger(scratch + "/ledger")
            let mark = Mark(
                position: LogPosition(offset: Offset(99), head: .none, timestamp: .none),
                epoch: Epoch(1), isClean: false)
            try MarkFile(ledger.markPath(of: StoreFixture.shard)).write(mark, isFlushed: false)
            #expect(throws: StoreError(.behindMark, "")) {
                try ledger.openForWriting(StoreFixture.shard, durability: .process)
            }
            #expect(ledger.writer(of: StoreFixture.shard) == nil)
            try StoreFixture.writing(ledger, acceptsBehindMark: true) { _ in }
        }
    }
}
