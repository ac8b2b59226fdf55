// swift-format-ignore-file: NeverForceUnwrap

import TallyCore
import Testing

private struct Item: Vacant, Equatable {
    var value: UInt64
    static var vacant: Item { Item(value: 0) }
    var isVacant: Bool { value == 0 }
}

/// The map against a plain dictionary.
@Suite("Sequence map")
struct SequenceMapTests {
    private struct Pair {
        var map = SequenceMap<Item>()
        var model: [UInt64: UInt64] = [:]

        mutating func set(_ key: UInt64, _ value: UInt64) {
            map.set(SequenceNumber(key), Item(value: value))
            model[key] = value
        }

        mutating func remove(_ key: UInt64) {
            let removed = map.remove(SequenceNumber(key))
            #expect(removed?.value == model.removeValue(forKey: key))
        }

        mutating func removeThrough(_ key: UInt64, keepingOdd: Bool) {
            map.removeThrough(SequenceNumber(key)) { keepingOdd && $0.value % 2 == 1 }
            model = model.filter { $0.key > key || (keepingOdd && $0.value % 2 == 1) }
        }

        func check(_ probes: [UInt64]) {
            #expect(map.count == model.count)
            #expect(map.isEmpty == model.isEmpty)
            #expect(map.lowest?.rawValue == model.keys.min())
            for key in probes { #expect(map[SequenceNumber(key)]?.value == model[key]) }
        }

        func checkOrder() {
            var visited: [UInt64] = []
            var values: [UInt64] = []
            map.forEach { sequence, item in
                visited.append(sequence.rawValue)
                values.append(item.value)
                return true
            }
            #expect(visited == model.keys.sorted())
            #expect(values == visited.map { model[$0]! })
        }
    }

    @Test("dense, sparse, far and backward keys behave as in a dictionary", arguments: 1...60)
    func againstDictionary(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        func below(_ bound: UInt64) -> UInt64 { random.next() % bound }
        var pair = Pair()
        var next: UInt64 = seed % 3 == 0 ? 1 : 1 << 40
        for step in 0..<400 {
            var key = next
            switch below(20) {
            case 0..<9: next += 1
            case 9..<11: next += below(40)
            case 11: next += below(1 << 18)
            case 12: next += 1 << (10 + below(30))
            case 13: key = below(next + 2)
            case 14: key = next - min(next, below(100_000))
            default: key = pair.model.keys.sorted().randomElement(using: &random) ?? next
            }
            switch below(10) {
            case 0..<6: pair.set(key, below(1000) + 1)
            case 6..<9: pair.remove(key)
            default: pair.removeThrough(key, keepingOdd: below(2) == 0)
            }
            pair.check([key, key &+ 1, key &- 1, next, 0, .max])
            if step % 20 == 0 { pair.checkOrder() }
        }
        pair.checkOrder()
    }

    @Test("a window that slides leaves one straggler behind, and finds it again")
    func sliding() {
        var pair = Pair()
        for key in 1...100_000 as ClosedRange<UInt64> {
            pair.map.set(SequenceNumber(key), Item(value: key))
            // The message at 50 is owed for ever.
            if key > 100, key != 150 { pair.map.remove(SequenceNumber(key - 100)) }
        }
        #expect(pair.map.count == 101)
        #expect(pair.map.lowest == SequenceNumber(50))
        #expect(pair.map.remove(SequenceNumber(50))?.value == 50)
        #expect(pair.map.lowest == SequenceNumber(99_901))
    }

    @Test("the ends of the range of sequences behave like any other")
    func ends() {
        for keys: [UInt64] in [
            [.max, .max - 1, 0, 1], [.max - 1, .max], [0, .max], [.max, .max - 70_000, .max],
            [.max - 20, .max, .max - 10],
        ] {
            var pair = Pair()
            for (index, key) in keys.enumerated() {
                pair.set(key, UInt64(index) + 1)
                pair.check(keys)
                pair.checkOrder()
            }
            for key in keys {
                pair.remove(key)
                pair.check(keys)
                pair.checkOrder()
            }
        }
    }

    @Test("a visit ends when the closure says so")
    func visitEnds() {
        var map = SequenceMap<Item>()
        for key: UInt64 in [1, 2, 500_000, 500_001] { map.set(SequenceNumber(key), Item(value: 7)) }
        for limit in 1...4 {
            var seen = 0
            map.forEach { _, _ in
                seen += 1
                return seen < limit
            }
            #expect(seen == limit)
        }
    }
}
