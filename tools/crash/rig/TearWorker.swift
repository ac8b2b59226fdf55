import TallyCore
import TallyStore

/// Tears meta pages at will: each of the words that LMDB writes holds its old value, its new one, or
/// something else. What was released before has to be there, or the opening has to refuse.
///
/// That is more than a disk does: a tear at any eight bytes is among the images of ``PowerWorker``.
enum TearWorker {
    /// `tears-worker WORKLOAD RECORD ROOT SHARE SHARES --count N`: tears N metas in all.
    static func run(_ arguments: [String]) throws -> Int32 {
        let arguments = try Arguments(arguments, options: ["--count", "--disk"])
        var walk = try RecordWalk(arguments)
        let count = try arguments.number("--count", default: 40_000)
        let metas = walk.entries.filter {
            if case .write(_, _, _, true) = $0 { true } else { false }
        }
        let portions = max(1, metas.count) * Int(walk.shares)
        let each = (count + portions - 1) / portions
        var random = SplitMix64(seed: 0x7EA2 &+ walk.share)
        var tally = Tally()
        for entry in walk.entries {
            try walk.take(entry)
            guard case .write(let file, _, _, true) = entry else { continue }
            if let shard = walk.shard(ofLog: file) {
                let scope = try CrashScope(walk.model, RecordWalk.path(shard))
                if let page = scope.pages.firstIndex(where: { $0.file == file && $0.page < 2 }) {
                    for _ in 0..<each {
                        try tear(scope, page, shard, walk, &random, &tally)
                    }
                }
            }
            walk.flushed(file)
        }
        tally.say()
        return tally.counts.keys.contains { $0.hasPrefix("SILENT") } ? 1 : 0
    }

    private static func tear(
        _ scope: CrashScope, _ index: Int, _ shard: String, _ walk: RecordWalk,
        _ random: inout SplitMix64, _ tally: inout Tally
    ) throws {
        let page = scope.pages[index]
        var image = scope.all
        // The mark of the release before is in memory; it is on the disk, or an older one is.
        let isMarkLost = random.next() & 1 == 1
        if isMarkLost {
            for other in scope.pages.indices where other != index { image.versions[other] = 0 }
        }
        image.torn = (index, mixture(page, &random))
        let ledger = try walk.hold(
            scope.contents(image, variant: random.next()), of: shard)
        try walk.disk.write(
            Array("a torn meta of \(shard) in \(walk.workload.rawValue)".utf8),
            to: walk.disk.root + ".last")
        guard let id = ledger.shards.id(of: shard) else { return }
        let verdict = Examination.judge(id, of: ledger, walk.promises, isWhole: false)
        let mark = isMarkLost ? "the flushed mark" : "the last mark"
        if let refusal = verdict.refusal as? StoreError, verdict.findings.lines.isEmpty {
            tally.add("refused, \(refusal.code.rawValue), beside \(mark)")
        } else if !verdict.lines.isEmpty {
            tally.add("SILENT, beside \(mark)")
            for line in verdict.lines.prefix(2) { Lines.say("finding \(line)") }
        } else {
            tally.add("harmless, beside \(mark)")
        }
    }

    /// The words that the meta's write covers, each old, new or neither.
    private static func mixture(
        _ page: CrashScope.Page, _ random: inout SplitMix64
    ) -> [UInt8] {
        let old = page.versions[page.versions.count - 2]
        var bytes = page.versions[page.versions.count - 1]
        guard let range = page.small else { return bytes }
        let kind = random.next() % 4
        let words = stride(from: range.lowerBound, to: range.upperBound, by: 8).map { $0 }
        // Old and new in any mixture; a quarter of the images only that.
        for word in words where kind < 3 && random.next() & 1 == 1 {
            bytes.replaceSubrange(word..<word + 8, with: old[word..<word + 8])
        }
        switch kind {
        case 1:
            // Words that are neither.
            for _ in 0...random.next() % 2 {
                let word = words[Int(random.next() % UInt64(words.count))]
                for place in word..<word + 8 {
                    bytes[place] = UInt8(truncatingIfNeeded: random.next())
                }
            }
        case 2:
            for _ in 0...random.next() % 4 {
                let place = range.lowerBound + Int(random.next() % UInt64(range.count))
                bytes[place] ^= 1 << UInt8(random.next() % 8)
            }
        case 3:
            // A run of zeros or ones, as memory that was never written shows.
            let first = Int(random.next() % UInt64(words.count))
            let last = first + Int(random.next() % UInt64(words.count - first))
            let value: UInt8 = random.next() & 1 == 1 ? 0xFF : 0
            for word in words[first...last] {
                for place in word..<word + 8 { bytes[place] = value }
            }
        default: break
        }
        return bytes
    }
}
