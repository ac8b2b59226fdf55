import Foundation
import TallyCore
import TallyStore
import Testing

/// A file copied while it was written holds pages of different moments. Whatever it holds, it is either
/// refused, or what is read of it was in the log.
@Suite("torn files")
struct TornFileTests {
    private static let pageSize = 4096

    /// The bytes of one shard's file at several moments, and the head of every commit there ever was.
    private struct History {
        var moments: [[UInt8]] = []
        var heads: [Offset: Digest] = [:]
    }

    private func history(_ ledger: Ledger) throws -> History {
        var history = History()
        let path = ledger.dataPath(of: StoreFixture.shard)
        try StoreFixture.writing(ledger) { shard in
            for round in 0..<6 {
                // A few commits apart, and many: the right edge is used again, and leaves split.
                for number in 0..<[1, 1, 40, 1, 200, 3][round] {
                    // Commits that share a leaf, and commits with pages of their own.
                    let payload = [UInt8](repeating: 7, count: number % 7 == 6 ? 9000 : 60)
                    let end = try StoreFixture.append([payload], to: shard.log)
                    history.heads[end.offset] = end.head
                }
                history.moments.append(try StoreFixture.bytes(path))
            }
        }
        history.moments.append(try StoreFixture.bytes(path))
        return history
    }

    private enum Outcome: Hashable { case refused, broken, read }

    /// Reads a file in the place of the shard's own.
    private func read(
        _ bytes: [UInt8], _ ledger: Ledger, _ heads: [Offset: Digest], _ story: Comment
    ) throws -> Outcome {
        try StoreFixture.write(bytes, to: ledger.dataPath(of: StoreFixture.shard))
        let log: LMDBLog
        do {
            log = try ledger.openForReading(StoreFixture.shard)
        } catch {
            let error = try #require(error as? StoreError, story)
            #expect([.damaged, .emptyData].contains(error.code), story)
            #expect(error.text.contains("shard a") || error.text.contains("data.mdb"), story)
            return .refused
        }
        defer { try? log.close() }
        var next = Offset(1)
        do {
            try log.forEachCommit(from: Offset(1)) { commit in
                #expect(commit.firstOffset == next, story)
                #expect(commit.head == heads[commit.lastOffset], story)
                next = Offset(commit.lastOffset.rawValue + 1)
                return true
            }
            let end = try log.end()
            #expect(end.offset.rawValue + 1 == next.rawValue, story)
            if end.offset != .none { #expect(end.head == heads[end.offset], story) }
            return .read
        } catch {
            #expect((error as? StoreError)?.code == .damaged, story)
            return .broken
        }
    }

    private func withHistory(_ body: (Ledger, History) throws -> Void) throws {
        try StoreFixture.withScratch { scratch in
            let ledger = try Ledger.create(scratch + "/ledger", try StoreFixture.manifest())
            try body(ledger, try history(ledger))
        }
    }

    @Test("pages of one moment behind pages of another: refused, or a log that there was")
    func spliced() throws {
        try withHistory { ledger, history throws in
            var outcomes: [Outcome: Int] = [:]
            for early in history.moments.indices {
                for late in history.moments.indices where late != early {
                    let (first, second) = (history.moments[early], history.moments[late])
                    let pages = second.count / Self.pageSize
                    for page in Set([1, 2, 3, 5, 8, 13, pages / 2, pages - 2, pages - 1])
                    where page > 0 && page * Self.pageSize <= min(first.count, second.count) {
                        let cut = page * Self.pageSize
                        let outcome = try read(
                            Array(first[..<cut]) + second[cut...], ledger, history.heads,
                            "moment \(early) through page \(page), then \(late)")
                        outcomes[outcome, default: 0] += 1
                    }
                }
            }
            #expect(outcomes[.refused, default: 0] > 50, "\(outcomes)")
            #expect(outcomes[.read, default: 0] > 5, "\(outcomes)")
        }
    }

    @Test("cut short anywhere: refused; nothing is read past the end of the file")
    func cutShort() throws {
        try withHistory { ledger, history throws in
            let whole = try #require(history.moments.last)
            for length in stride(from: 0, to: whole.count, by: Self.pageSize * 3 + 512) {
                let outcome = try read(
                    Array(whole[..<length]), ledger, history.heads, "\(length) bytes")
                #expect(outcome == .refused, "\(length) of \(whole.count) bytes")
            }
            #expect(try read(whole, ledger, history.heads, "whole") == .read)
        }
    }

    @Test("a page of zeros, or of another moment: refused, broken, or not in use")
    func pages() throws {
        try withHistory { ledger, history throws in
            let whole = try #require(history.moments.last)
            let old = history.moments[4]
            var outcomes: [Outcome: Int] = [:]
            for page in 0..<(whole.count / Self.pageSize) {
                let range = page * Self.pageSize..<(page + 1) * Self.pageSize
                var zeroed = whole
                zeroed.replaceSubrange(range, with: repeatElement(0, count: Self.pageSize))
                let outcome = try read(zeroed, ledger, history.heads, "page \(page) zeroed")
                outcomes[outcome, default: 0] += 1
                guard range.upperBound <= old.count else { continue }
                var mixed = whole
                mixed.replaceSubrange(range, with: old[range])
                _ = try read(mixed, ledger, history.heads, "page \(page) of moment 4")
            }
            #expect(outcomes[.refused, default: 0] > 10, "\(outcomes)")
            #expect(outcomes[.broken, default: 0] > 10, "\(outcomes)")
        }
    }

    @Test("a log opened beside a writer is read in pages, and shows what one read shows")
    func livePages() throws {
        try withHistory { ledger, history throws in
            func firsts(_ access: LMDBLog.Access, _ from: UInt64, _ max: Int) throws -> [Digest] {
                let log = try LMDBLog(
                    directory: ledger.path(of: StoreFixture.shard), name: "a",
                    ledger: StoreFixture.id, shard: StoreFixture.shard, access: access)
                defer { try? log.close() }
                var heads: [Digest] = []
                try log.forEachCommit(from: Offset(from)) { commit in
                    heads.append(commit.head)
                    return heads.count < max
                }
                return heads
            }
            // Far more than one page holds.
            #expect((history.moments.last?.count ?? 0) > 400_000)
            for from: UInt64 in [0, 1, 2, 100, 245, 246, 247, .max] {
                for max in [1, 2, 30, 1000] {
                    #expect(try firsts(.readLive, from, max) == firsts(.readStill, from, max))
                }
            }
            #expect(try firsts(.readLive, 1, 1000).count == history.heads.count)
        }
    }
}
