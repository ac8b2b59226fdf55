public import TallyCore
public import TallyStore

/// What every ``TallyStore/LogStore`` promises, asked of one that somebody wrote.
///
/// ```swift
/// try LogStoreConformance.check(
///     make: { name, ledger, shard in try MyLog(new: directory, name, ledger, shard) },
///     reopen: { _ in try MyLog(existing: directory) })
/// ```
///
/// What is broken is reported with the promise it breaks, all of it, not the first.
public enum LogStoreConformance {
    /// Makes a new, empty log for a shard of a ledger; called once for each group of promises, the logs
    /// made before are closed by then.
    public typealias Make = (
        _ name: String, _ ledger: Bytes16, _ shard: ShardID
    ) throws -> any LogStore

    /// Opens the log that the last `make` made, or that was reopened since, again; it was flushed and
    /// closed.
    public typealias Reopen = (_ closed: any LogStore) throws -> any LogStore

    /// Checks a store.
    ///
    /// - Parameters:
    ///   - make: Makes a new, empty log.
    ///   - reopen: `nil` for a store that does not survive being closed.
    ///   - largestPayload: Bytes of the largest payload that is stored.
    ///   - seed: Of the sizes of the commits.
    /// - Throws: ``ConformanceFailure``.
    public static func check(
        make: Make, reopen: Reopen? = nil,
        largestPayload: Int = CommitFormat.payloadLengthMax, seed: UInt64 = 1
    ) throws(ConformanceFailure) {
        var promises = Promises()
        func with(
            _ promise: String, _ body: (inout Promises, inout StoreUnderTest) throws -> Void
        ) {
            promises.run(promise) { promises in
                var store = StoreUnderTest(
                    log: try make(
                        StoreUnderTest.name, StoreUnderTest.ledger, StoreUnderTest.shard))
                defer { try? store.log.close() }
                try body(&promises, &store)
            }
        }
        with("an empty log ends at offset 0 and has the seed of its ledger and shard as its head") {
            try empty(&$0, $1.log)
        }
        with("append returns the new end: offset, head, time") { try append(&$0, &$1) }
        with("forEachCommit reads from any offset, in order, until it is told to stop") {
            try reading(&$0, &$1)
        }
        with("append is refused when the log has moved on, and nothing is written") {
            try moved(&$0, &$1)
        }
        with("the log keeps every byte") {
            try bytes(&$0, &$1, largestPayload: largestPayload, seed)
        }
        with("a call sees one consistent end") { try consistent(&$0, &$1) }
        if let reopen {
            with("what was flushed is there when the log is opened again") {
                try reopened(&$0, &$1, reopen, seed)
            }
        }
        try promises.finish()
    }

    private static func empty(_ promises: inout Promises, _ log: any LogStore) throws {
        let promise = "an empty log ends at offset 0, with the seed of its ledger and shard as head"
        let expected = LogPosition(
            offset: .none,
            head: Hashing.seed(ledger: StoreUnderTest.ledger, shard: StoreUnderTest.shard),
            timestamp: .none)
        let end = try log.end()
        promises.expect(end == expected, promise, "its end is \(end), expected \(expected)")
        promises.expect(
            log.name == StoreUnderTest.name, "a log has the shard's name",
            "it is called \"\(log.name)\", expected \"\(StoreUnderTest.name)\"")
        for offset: UInt64 in [0, 1, 2, .max] {
            let seen = try StoreUnderTest.firsts(log, from: offset)
            promises.expect(
                try seen.isEmpty && log.record(at: Offset(offset)) == nil,
                "an empty log holds nothing", "read from \(offset) it shows \(seen)")
        }
        try log.flush()
        let after = try log.end()
        promises.expect(
            after == expected, "flush changes nothing that is read",
            "the end of an empty log is \(after) behind a flush")
    }

    private static func append(
        _ promises: inout Promises, _ store: inout StoreUnderTest
    ) throws {
        for count in 1...4 {
            let sealed = try store.seal(count: count)
            let expected = LogPosition(
                offset: sealed.lastOffset, head: Hashing.digest(sealed.bytes),
                timestamp: sealed.timestamp)
            let returned = try store.log.append(sealed, expecting: store.end.head)
            store.accept(sealed)
            promises.expect(
                returned == expected, "append returns the new end: offset, head, time",
                "commit \(count) returned \(returned), expected \(expected)")
            let end = try store.log.end()
            promises.expect(
                end == expected, "end is the end of what was appended",
                "behind commit \(count) it is \(end), expected \(expected)")
            try store.log.flush()
            let flushed = try store.log.end()
            promises.expect(
                flushed == expected, "flush changes nothing that is read",
                "behind commit \(count) it makes the end \(flushed), expected \(expected)")
        }
        var previous = Hashing.seed(ledger: StoreUnderTest.ledger, shard: StoreUnderTest.shard)
        try store.log.forEachCommit(from: Offset(1)) { commit in
            promises.expect(
                commit.previousHead == previous, "heads are chained",
                "the commit at \(commit.firstOffset.rawValue) names another head before it")
            previous = commit.head
            return true
        }
        promises.expect(
            previous == store.end.head, "heads are chained",
            "the last commit read has another head than the log's end")
    }

    private static func reading(
        _ promises: inout Promises, _ store: inout StoreUnderTest
    ) throws {
        for count in [1, 2, 3, 4, 5] { try store.append(count: count) }
        let starts: [UInt64] = [1, 2, 4, 7, 11]
        for offset: UInt64 in Array(0...17) + [1_000, .max] {
            let holds = starts.lastIndex { $0 <= max(1, offset) } ?? 0
            let expected = offset > 15 ? [] : Array(starts[holds...])
            let seen = try StoreUnderTest.firsts(store.log, from: offset)
            promises.expect(
                seen == expected,
                "forEachCommit begins at the commit that holds the offset and visits every one"
                    + " behind it, in order",
                "from \(offset) it visits the commits at \(seen), expected \(expected)")
        }
        var seen = 0
        try store.log.forEachCommit(from: Offset(1)) { _ in
            seen += 1
            return seen < 2
        }
        promises.expect(
            seen == 2, "forEachCommit stops when the closure returns false",
            "told to stop at the second commit it went on to \(seen)")
        struct Odd: Error {}
        do {
            try store.log.forEachCommit(from: Offset(5)) { _ in throw Odd() }
            promises.expect(
                false, "forEachCommit hands on what the closure throws", "nothing was thrown")
        } catch {
            promises.expect(
                error is Odd, "forEachCommit hands on what the closure throws",
                "\(error) was thrown")
        }
        try store.append(count: 1)
        for (index, payload) in store.payloads.enumerated() {
            let record = try store.log.record(at: Offset(UInt64(index + 1)))
            promises.expect(
                record?.payload == payload && record?.event == Event(.noted)
                    && record?.timestamp == store.times[index],
                "record(at:) gives the event at its offset",
                "at \(index + 1) it is \(record.map { "\($0)" } ?? "nothing")")
        }
        for offset: UInt64 in [0, 17, .max] {
            let record = try store.log.record(at: Offset(offset))
            promises.expect(
                record == nil, "record(at:) gives nothing where the log does not reach",
                "at \(offset) there is \(record.map { "\($0)" } ?? "nothing")")
        }
    }

    private static func moved(_ promises: inout Promises, _ store: inout StoreUnderTest) throws {
        let start = store.end
        let stale = try store.seal(count: 1)
        for count in 1...3 { try store.append(count: count) }
        let (end, payloads) = (store.end, store.payloads)
        let next = try store.seal(count: 1)
        let gap = try store.seal(count: 1, at: end.offset.rawValue + 2)
        let overlap = try store.seal(count: 1, at: end.offset.rawValue)
        let cases: [(what: String, commit: CommitBuilder, head: Digest)] = [
            ("a commit made on an earlier end", stale, start.head),
            ("a commit with an offset that is taken", stale, end.head),
            ("a commit that overlaps the end", overlap, end.head),
            ("a commit that leaves a gap", gap, end.head),
            ("the right commit with a stale `expecting`", next, start.head),
            ("the right commit with an empty `expecting`", next, .none),
        ]
        for one in cases {
            let promise = "append is refused as moved, and nothing is written"
            do {
                _ = try store.log.append(one.commit, expecting: one.head)
                promises.expect(false, promise, "\(one.what) was accepted")
                return
            } catch let error as StoreError {
                promises.expect(
                    error.code == .moved, promise, "\(one.what) was refused as \(error.code)")
                promises.expect(
                    error.text.contains(StoreUnderTest.name), "a refusal names the shard",
                    "it says \"\(error.text)\"")
            }
            let (now, seen) = (try store.log.end(), try StoreUnderTest.payloads(store.log))
            promises.expect(
                now == end && seen == payloads, promise,
                "\(one.what) was refused and left the log at \(now), it was at \(end)")
        }
        try store.append(count: 2)
        promises.expect(
            try StoreUnderTest.payloads(store.log) == store.payloads,
            "a log goes on behind a refused append", "the next commit is not read back")
    }

    private static func bytes(
        _ promises: inout Promises, _ store: inout StoreUnderTest, largestPayload: Int,
        _ seed: UInt64
    ) throws {
        var command = Event(.commanded)
        command.sequence = SequenceNumber(1)
        let large = [UInt8](repeating: 0xA5, count: largestPayload)
        var commit = CommitBuilder()
        commit.open(firstOffset: Offset(1), timestamp: Timestamp(1), epoch: Epoch(1))
        for (payload, result) in [([], []), (large, large), ([], [9])] {
            commit.append(command, payload: payload, result: result)
        }
        commit.seal(previousHead: store.end.head)
        _ = try store.log.append(commit, expecting: store.end.head)
        store.accept(commit)
        var random = SplitMix64(seed: seed)
        for _ in 0..<200 { try store.append(count: 1 + Int(random.next() % 20)) }
        var index = 0
        try store.log.forEachCommit(from: Offset(1)) { view in
            let seen = view.withBytes { $0.copied }
            let isSame = index < store.sealed.count && seen == store.sealed[index]
            promises.expect(
                isSame, "the log keeps every byte",
                "the commit at \(view.firstOffset.rawValue) has other bytes than were appended")
            index += 1
            return isSame
        }
        promises.expect(
            index == store.sealed.count, "the log keeps every commit",
            "\(index) are read back, \(store.sealed.count) were appended")
        for _ in 0..<200 {
            let offset = 4 + random.next() % (store.end.offset.rawValue - 3)
            let record = try store.log.record(at: Offset(offset))
            let expected = store.payloads[Int(offset) - 4]
            promises.expect(
                record?.payload == expected, "record(at:) gives the event at its offset",
                "at \(offset) there are other bytes")
        }
    }

    private static func consistent(
        _ promises: inout Promises, _ store: inout StoreUnderTest
    ) throws {
        for _ in 0..<3 { try store.append(count: 2) }
        let end = store.end
        var last = Offset.none
        try store.log.forEachCommit(from: Offset(1)) { commit in
            if commit.firstOffset == Offset(1) { try store.append(count: 1) }
            last = commit.lastOffset
            return true
        }
        promises.expect(
            last == end.offset, "a call sees one consistent end",
            "forEachCommit went on to \(last.rawValue), which was appended while it ran; the end"
                + " was \(end.offset.rawValue)")
        promises.expect(
            try StoreUnderTest.payloads(store.log) == store.payloads, "a call sees one end",
            "what was appended meanwhile is not read by the next call")
    }

    private static func reopened(
        _ promises: inout Promises, _ store: inout StoreUnderTest, _ reopen: Reopen,
        _ seed: UInt64
    ) throws {
        let promise = "what was flushed is there when the log is opened again"
        var random = SplitMix64(seed: seed)
        let empty = store.end
        for round in 0..<4 {
            let stale = store.end
            for _ in 0..<(round * 5) { try store.append(count: 1 + Int(random.next() % 5)) }
            try store.log.flush()
            try store.log.close()
            store.log = try reopen(store.log)
            let end = try store.log.end()
            promises.expect(
                end == store.end, promise, "the end is \(end), it was \(store.end)")
            let seen = try StoreUnderTest.payloads(store.log)
            promises.expect(
                seen == store.payloads, promise,
                "\(seen.count) events are read back, \(store.payloads.count) were flushed, or"
                    + " their bytes differ")
            guard end == store.end else { return }
            guard stale != store.end || round == 0 else { continue }
            let next = try store.seal(count: 1)
            let head = round == 0 ? Digest.none : stale == store.end ? empty.head : stale.head
            do {
                _ = try store.log.append(next, expecting: head)
                promises.expect(
                    false, "append is refused as moved, and nothing is written",
                    "a stale `expecting` was accepted once the log was opened again")
                return
            } catch let error as StoreError {
                promises.expect(
                    error.code == .moved, "append is refused as moved, and nothing is written",
                    "opened again, it was refused as \(error.code)")
            }
        }
        try store.append(count: 3)
        promises.expect(
            try StoreUnderTest.payloads(store.log) == store.payloads,
            "a log goes on once it is opened again", "the next commit is not read back")
    }
}
