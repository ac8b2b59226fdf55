import TallyCore
import Testing

/// The commit's bytes: what is written is read, what is damaged is refused.
@Suite("Commit format")
struct CommitVectorTests {
    private func code(_ bytes: [UInt8], key: Offset? = nil) -> CommitError.Code? {
        do {
            try unsafe bytes.span.bytes.withCommit(key: key) { _ in }
            return nil
        } catch let error as CommitError {
            #expect(!error.description.isEmpty)
            return error.code
        } catch { return nil }
    }

    @Test("the test vectors are what this code makes")
    func vectors() {
        Fixtures.compare(
            Samples.commits, with: "commit-vectors.txt",
            about:
                "Commits of format 1, one for each kind of event with every field set, one mixed;"
                + " made by Samples.swift, recorded with TALLY_RECORD=1 swift test")
    }

    @Test("every field is read back as it was written")
    func fields() throws {
        for kind in EventKind.allCases {
            let bytes = Samples.commit([kind])
            try unsafe bytes.span.bytes.withCommit(key: Offset(0x51)) { commit in
                #expect(commit.eventCount == 1 && commit.length == bytes.count)
                #expect(commit.firstOffset == Offset(0x51) && commit.lastOffset == Offset(0x51))
                #expect(commit.timestamp == Timestamp(0x52) && commit.epoch == Epoch(0x53))
                #expect(commit.previousHead == Samples.digest(0x54))
                #expect(commit.withBytes { $0.copied } == bytes)
                commit.forEach { view in
                    #expect(view.event == Samples.event(kind), "\(kind)")
                    #expect(view.offset == Offset(0x51))
                    #expect(view.payload == (Samples.hasPayload(kind) ? Samples.payload : []))
                    #expect(view.result == (kind == .commanded ? Samples.result : []))
                }
            }
        }
    }

    @Test("a commit has room for what stays below its limit, and for nothing more")
    func room() {
        var builder = CommitBuilder()
        builder.open(firstOffset: Offset(1), timestamp: Timestamp(1), epoch: .none)
        #expect(builder.hasRoom(events: 1, payloadBytes: CommitFormat.commitLengthMax - 1024))
        #expect(!builder.hasRoom(events: 1, payloadBytes: CommitFormat.commitLengthMax))
        builder.append(Samples.event(.noted), payload: [UInt8](repeating: 0xAA, count: 4096))
        #expect(!builder.hasRoom(events: 1, payloadBytes: CommitFormat.commitLengthMax - 1024))
    }

    @Test("payloads of every length keep the events aligned and whole")
    func lengths() throws {
        var builder = CommitBuilder()
        builder.open(firstOffset: Offset(1), timestamp: Timestamp(1), epoch: .none)
        for length in 0..<40 {
            builder.append(Samples.event(.noted), payload: [UInt8](repeating: 0xAA, count: length))
        }
        builder.seal(previousHead: .none)
        #expect(builder.bytes.count % 8 == 0)
        var seen = 0
        try unsafe builder.bytes.span.bytes.withCommit(key: Offset(1)) { commit in
            commit.forEach { view in
                #expect(view.payload == [UInt8](repeating: 0xAA, count: seen))
                #expect(view.offset.rawValue == UInt64(seen + 1))
                seen += 1
            }
        }
        #expect(seen == 40)
        for index in 0..<40 { builder.withEvent(index) { #expect($0.payload.count == index) } }
    }

    @Test("every single flipped bit is refused")
    func flips() {
        for (name, bytes) in Samples.commits {
            for bit in 0..<bytes.count * 8 {
                var flipped = bytes
                flipped[bit / 8] ^= 1 << UInt8(bit % 8)
                if code(flipped) == nil { Issue.record("\(name): bit \(bit) is not covered") }
            }
        }
    }

    @Test("a commit cut off at any byte is refused, and so is one with bytes behind it")
    func truncation() {
        for (name, bytes) in Samples.commits {
            for count in 0..<bytes.count {
                #expect(code(Array(bytes[..<count])) == .length, "\(name) \(count)")
                // Even when its length and checksum say that it was meant.
                var shorter = Array(bytes[..<count])
                guard count >= 80 else { continue }
                shorter.put(UInt32(count), at: 8)
                if code(shorter.resealed) == nil { Issue.record("\(name) cut at \(count)") }
            }
            #expect(code(bytes + [0]) == .length)
            #expect(code(bytes + [UInt8](repeating: 0, count: 8)) == .length)
            var longer = bytes + [UInt8](repeating: 0, count: 8)
            longer.put(UInt32(longer.count), at: 8)
            #expect(code(longer.resealed) == .events)
        }
    }

    @Test("a malformed header with a right checksum is refused by its code")
    func headers() {
        let changes: [(String, CommitError.Code, (inout [UInt8]) -> Void)] = [
            ("magic", .magic, { $0[0] ^= 1 }),
            ("version 0", .version, { $0.put(0 as UInt16, at: 4) }),
            ("version 2", .version, { $0.put(2 as UInt16, at: 4) }),
            ("reserved 6", .header, { $0[7] = 1 }),
            ("reserved 72", .header, { $0[72] = 1 }),
            ("length", .length, { $0.put(UInt32($0.count + 8), at: 8) }),
            ("no events", .offset, { $0.put(0 as UInt32, at: 12) }),
            ("too many events", .events, { $0.put(2 as UInt32, at: 12) }),
            ("very many events", .events, { $0.put(UInt32.max, at: 12) }),
            ("offset 0", .offset, { $0.put(0 as UInt64, at: 16) }),
            ("offset 2^63", .offset, { $0.put(1 << 63 as UInt64, at: 16) }),
            ("offset 2^64-1", .offset, { $0.put(UInt64.max, at: 16) }),
            ("timestamp 0", .timestamp, { $0.put(0 as UInt64, at: 24) }),
            ("timestamp 2^63", .timestamp, { $0.put(1 << 63 as UInt64, at: 24) }),
        ]
        for (what, expected, change) in changes {
            var bytes = Samples.commit([.sent])
            change(&bytes)
            #expect(code(bytes.resealed) == expected, "\(what)")
        }
        #expect(code(Samples.commit([.sent]), key: Offset(0x52)) == .offset)
        #expect(code(Samples.commit([.sent], first: UInt64(Int64.max))) == nil)
        #expect(code(Samples.commit([.sent, .sent], first: UInt64(Int64.max))) == .offset)
        var mixed = Samples.commit([.sent, .sent])
        mixed.put(1 as UInt32, at: 12)
        #expect(code(mixed.resealed) == .events)
        var bytes = Samples.commit([.sent])
        bytes[100] ^= 1
        #expect(code(bytes) == .checksum)
        bytes = Samples.commit([.sent])
        bytes.put(0 as UInt64, at: 32)
        #expect(code(bytes.resealed) == nil, "epoch 0 is an import's")
    }
}
