import TallyAudit
import TallyCore
import TallyStore
import Testing

@Suite("mutated lines")
struct InterchangeMutationTests {
    /// SplitMix64: the same numbers for the same seed.
    private struct Generator: RandomNumberGenerator {
        var state: UInt64
        mutating func next() -> UInt64 {
            state &+= 0x9E37_79B9_7F4A_7C15
            var mixed = state
            mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
            mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
            return mixed ^ (mixed >> 31)
        }
    }

    private static let pieces = [
        "\"", "\\", "{", "}", "[", "]", ",", ":", "0", "18446744073709551615", "null", "true",
        "\\u0000", "\\ud83d", "\u{FF}", "-", "1e9", "\"head\":", "\"peer\":\"shard-#0\",",
        "\"offset\":0,", "\"time\":\"2262-04-11T23:47:16.999999999Z\",", "\r", "\n", "\u{0}",
    ]

    private static func mutate(_ line: [UInt8], _ generator: inout Generator) -> [UInt8] {
        var line = line
        for _ in 0...Int.random(in: 0...2, using: &generator) {
            let at = Int.random(in: 0..<max(1, line.count), using: &generator)
            guard at < line.count else { continue }
            let end = min(line.count, at + Int.random(in: 0...12, using: &generator))
            switch Int.random(in: 0..<6, using: &generator) {
            case 0: line[at] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
            case 1: line[at] = UInt8.random(in: 0...255, using: &generator)
            case 2: line.removeSubrange(at..<end)
            case 3: line.insert(contentsOf: line[at..<end], at: at)
            case 4:
                let piece = pieces[Int.random(in: 0..<pieces.count, using: &generator)]
                line.insert(contentsOf: Array(piece.utf8), at: at)
            default: line.removeSubrange(at...)
            }
        }
        return line
    }

    @Test("two thousand of them never trap, and leave a ledger or nothing", arguments: 1...4)
    func mutated(_ seed: UInt64) throws {
        let scratch = try InterchangeFixture.scratch()
        defer { InterchangeFixture.remove(scratch) }
        let full = EventKind.allCases.map { InterchangeFixture.record($0) }
        let ledger = try InterchangeFixture.ledger(
            scratch + "/original", InterchangeFixture.manifest(["a", "b"]),
            [
                [
                    InterchangeFixture.Commit(time: 7, epoch: 1, records: full),
                    InterchangeFixture.Commit(time: 9, epoch: 1, records: [full[2]]),
                ], [],
            ])
        let text = try InterchangeFixture.export(ledger)
        // Half of them without heads, so that more than the first check is reached.
        let lines = text.split(separator: UInt8(ascii: "\n")).map(Array.init)
        let headless = lines.map { line -> [UInt8] in
            guard let start = line.firstRange(of: Array(",\"head\"".utf8)) else { return line }
            return line[..<start.lowerBound] + [UInt8(ascii: "}")]
        }
        var generator = Generator(state: seed)
        var accepted = 0
        for round in 0..<500 {
            var changed = round % 2 == 0 ? lines : headless
            let index = Int.random(in: 0..<changed.count, using: &generator)
            changed[index] = Self.mutate(changed[index], &generator)
            let joined = Array(changed.joined(separator: [UInt8(ascii: "\n")]))
            do {
                let report = try InterchangeFixture.importing(joined, in: scratch)
                let again = try InterchangeFixture.export(report.ledger)
                accepted += 1
                let copy = try InterchangeFixture.importing(again, in: scratch, as: "second")
                #expect(try InterchangeFixture.export(copy.ledger) == again)
                InterchangeFixture.remove(scratch + "/copy")
                InterchangeFixture.remove(scratch + "/second")
            } catch let error as StoreError {
                #expect(error.text.hasPrefix("line "), "seed \(seed), round \(round): \(error)")
                #expect(!error.text.contains { $0.isNewline })
            }
            #expect(InterchangeFixture.list(scratch) == ["original"])
        }
        #expect(accepted > 0 && accepted < 250)
    }
}
