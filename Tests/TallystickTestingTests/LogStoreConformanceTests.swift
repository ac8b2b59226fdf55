import TallyCore
import TallyStore
import TallystickTesting
import Testing

/// A log in memory with a fault on demand.
private final class FaultyLog: LogStore {
    enum Fault: CaseIterable {
        case none, losesLastCommitAtReopening, wrongHead, acceptsStale, ignoresStop,
            reachesBeyondEnd, writesRefused, alters
    }

    let name: String
    let fault: Fault
    private var log: VolatileLog
    private var heads: [Digest] = []

    init(_ name: String, _ ledger: Bytes16, _ shard: ShardID, _ fault: Fault) {
        self.name = name
        self.fault = fault
        log = VolatileLog(name: name, ledger: ledger, shard: shard)
    }

    func reopened() throws -> FaultyLog {
        if fault == .losesLastCommitAtReopening, log.end().offset != .none {
            try log.lose(after: Offset(log.end().offset.rawValue - 1))
        }
        return self
    }

    func end() -> LogPosition {
        var end = log.end()
        if fault == .wrongHead, end.offset > Offset(3) { end.head.words.3 ^= 1 }
        return end
    }

    func forEachCommit(from offset: Offset, _ body: (CommitView) throws -> Bool) throws {
        switch fault {
        case .ignoresStop:
            try log.forEachCommit(from: offset) { commit in
                _ = try body(commit)
                return true
            }
        case .reachesBeyondEnd:
            var next = offset
            while next <= log.end().offset {
                var goesOn = false
                try log.forEachCommit(from: next) { commit in
                    goesOn = try body(commit)
                    next = Offset(commit.lastOffset.rawValue + 1)
                    return false
                }
                if !goesOn { return }
            }
        default:
            try log.forEachCommit(from: offset, body)
        }
    }

    func append(_ commit: borrowing CommitBuilder, expecting head: Digest) throws -> LogPosition {
        if fault == .acceptsStale, heads.contains(head), head != log.end().head {
            return try log.append(commit, expecting: log.end().head)
        }
        if fault == .alters, commit.eventCount > 4 {
            var other = CommitBuilder()
            other.open(
                firstOffset: commit.firstOffset, timestamp: commit.timestamp, epoch: commit.epoch)
            for index in 0..<commit.eventCount {
                commit.withEvent(index) { view in
                    var payload = view.payload
                    if index == 4 { payload[0] ^= 1 }
                    other.append(view.event, payload: payload, result: view.result)
                }
            }
            other.seal(previousHead: head)
            return try log.append(other, expecting: head)
        }
        heads.append(head)
        do {
            return try log.append(commit, expecting: head)
        } catch {
            if fault == .writesRefused, commit.firstOffset == log.end().offset.next {
                var other = CommitBuilder()
                other.open(
                    firstOffset: commit.firstOffset, timestamp: commit.timestamp,
                    epoch: commit.epoch)
                other.append(Event(.noted))
                other.seal(previousHead: log.end().head)
                _ = try log.append(other, expecting: log.end().head)
            }
            throw error
        }
    }

    func flush() throws { try log.flush() }
    func close() {}
}

extension Offset {
    fileprivate var next: Offset { Offset(rawValue + 1) }
}

@Suite("The suite for stores")
struct LogStoreConformanceTests {
    private func broken(_ fault: FaultyLog.Fault) -> [String] {
        do {
            try LogStoreConformance.check(
                make: { FaultyLog($0, $1, $2, fault) },
                reopen: { try ($0 as? FaultyLog)?.reopened() ?? $0 }, largestPayload: 1_000)
            return []
        } catch {
            return error.broken
        }
    }

    @Test("a store that is sound passes")
    func sound() throws {
        #expect(broken(.none) == [])
        try LogStoreConformance.check(
            make: { VolatileLog(name: $0, ledger: $1, shard: $2) }, reopen: { $0 },
            largestPayload: 1_000)
    }

    @Test("a store that breaks a promise is told which, and how")
    func caught() {
        func says(_ fault: FaultyLog.Fault, _ words: String) {
            let found = broken(fault)
            #expect(found.contains { $0.contains(words) }, "\(fault): \(found)")
        }
        says(
            .losesLastCommitAtReopening,
            "what was flushed is there when the log is opened again: the end is")
        says(.wrongHead, "end is the end of what was appended: behind commit")
        says(.acceptsStale, "with a stale `expecting` was accepted")
        says(.ignoresStop, "forEachCommit stops when the closure returns false")
        says(.reachesBeyondEnd, "a call sees one consistent end: forEachCommit went on to 7")
        says(.writesRefused, "and left the log at")
        says(.alters, "the log keeps every byte")
    }

    @Test("a store that cannot be made is reported for every promise")
    func unmakeable() {
        do {
            try LogStoreConformance.check(make: { _, _, _ in throw StoreError(.system, "no disk") })
            Issue.record("it passed")
        } catch {
            #expect(error.broken.count == 6)
            #expect(error.broken.allSatisfy { $0.hasSuffix("kept from being checked by no disk") })
        }
    }

    @Test("what was not flushed is apart, and can be lost")
    func volatile() throws {
        let log = VolatileLog(name: "a", ledger: Bytes16(low: 1, high: 1), shard: ShardID(1))
        func append(_ note: UInt8) throws {
            var commit = CommitBuilder()
            let end = log.end()
            commit.open(
                firstOffset: end.offset.next, timestamp: end.timestamp.advanced(byNanoseconds: 1),
                epoch: Epoch(1))
            commit.append(Event(.noted), payload: [note])
            commit.seal(previousHead: end.head)
            _ = try log.append(commit, expecting: end.head)
        }
        try append(1)
        #expect(log.durable.end().offset == .none && log.end().offset == Offset(1))
        try log.flush()
        let flushed = log.end()
        log.holdsFlushes = true
        try append(2)
        try log.flush()
        #expect(log.unflushedCount == 1 && log.durable.end() == flushed)
        #expect(try log.record(at: Offset(2))?.payload == [2])
        log.lose()
        #expect(log.end() == flushed && log.durable.end() == flushed)
        for note: UInt8 in 3...5 { try append(note) }
        try log.keep()
        #expect(log.durable.end().offset == Offset(4) && log.unflushedCount == 0)
        try log.lose(after: Offset(1))
        #expect(log.end() == flushed && log.durable.end() == flushed)
    }
}
