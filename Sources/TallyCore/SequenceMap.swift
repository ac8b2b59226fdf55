/// What a ``SequenceMap`` holds: a small value with one state that means "nothing here".
public protocol Vacant: Sendable {
    /// The value that stands for none.
    static var vacant: Self { get }
    /// Whether this value stands for none.
    var isVacant: Bool { get }
}

/// A map from sequences to small values, dense where sequences are dense.
///
/// The newest sequences live in a ring indexed by sequence; what stays behind when the ring has to
/// move on (one message owed for a long time, say) lives aside in a sorted array of stragglers. So
/// memory follows what is held, not the distance between the oldest and the newest.
///
/// Invariants: every straggler lies below `base`; `base` is the lowest sequence in the ring when the
/// ring is not empty; the ring covers `base ..< base + capacity`; slots outside `base ... last` are
/// vacant. Bounds are inclusive, so that the greatest sequence there is needs no case of its own.
///
/// - Complexity: Access to the ring O(1), to a straggler O(log n). Inserting below the ring's reach
///   is O(stragglers), which only a hostile log does often.
public struct SequenceMap<Value: Vacant>: Sendable {
    private var ring: ContiguousArray<Value> = []
    private var base: UInt64 = 0
    private var last: UInt64 = 0
    private var ringCount = 0
    private var stragglerKeys: ContiguousArray<UInt64> = []
    private var stragglerValues: ContiguousArray<Value> = []
    private var stragglerHead = 0
    private var stragglerCount = 0

    /// Slots of the ring at most.
    static var capacityMax: Int { 1 << 16 }

    /// An empty map.
    public init() {}

    /// How many values it holds.
    public var count: Int { ringCount + stragglerCount }
    /// Whether it holds none.
    public var isEmpty: Bool { ringCount + stragglerCount == 0 }

    /// The lowest sequence held.
    public var lowest: SequenceNumber? {
        if stragglerCount > 0 { return SequenceNumber(stragglerKeys[stragglerHead]) }
        return ringCount > 0 ? SequenceNumber(base) : nil
    }

    @inline(__always)
    private func isInWindow(_ key: UInt64) -> Bool {
        ringCount > 0 && key >= base && key - base < UInt64(ring.count)
    }

    @inline(__always)
    private func slot(_ key: UInt64) -> Int { Int(truncatingIfNeeded: key) & (ring.count - 1) }

    private func straggler(_ key: UInt64) -> (index: Int, found: Bool) {
        var low = stragglerHead
        var high = stragglerKeys.count
        while low < high {
            let middle = (low + high) / 2
            if stragglerKeys[middle] < key { low = middle + 1 } else { high = middle }
        }
        return (low, low < stragglerKeys.count && stragglerKeys[low] == key)
    }

    /// The value of a sequence.
    public subscript(_ sequence: SequenceNumber) -> Value? {
        let key = sequence.rawValue
        if isInWindow(key) {
            let value = ring[slot(key)]
            return value.isVacant ? nil : value
        }
        guard stragglerCount > 0 else { return nil }
        let (index, found) = straggler(key)
        guard found, !stragglerValues[index].isVacant else { return nil }
        return stragglerValues[index]
    }

    /// Sets a value that is not vacant.
    public mutating func set(_ sequence: SequenceNumber, _ value: Value) {
        let key = sequence.rawValue
        if ringCount == 0 {
            if stragglerCount > 0, let last = stragglerKeys.last, key <= last {
                setStraggler(key, value)
                return
            }
            if ring.isEmpty { ring = ContiguousArray(repeating: .vacant, count: 16) }
            base = key
            last = key
            ringCount = 1
            ring[slot(key)] = value
            return
        }
        if key < base {
            extendDown(to: key, value)
            return
        }
        if key - base >= UInt64(ring.count) { extendUp(to: key) }
        let index = slot(key)
        if ringCount == 0 { base = key }
        if ring[index].isVacant { ringCount += 1 }
        ring[index] = value
        if key > last { last = key }
    }

    /// Removes a value.
    ///
    /// - Returns: What was there.
    @discardableResult
    public mutating func remove(_ sequence: SequenceNumber) -> Value? {
        let key = sequence.rawValue
        if isInWindow(key) {
            let index = slot(key)
            let value = ring[index]
            guard !value.isVacant else { return nil }
            ring[index] = .vacant
            ringCount -= 1
            if key == base { advanceBase() }
            return value
        }
        guard stragglerCount > 0 else { return nil }
        let (index, found) = straggler(key)
        guard found, !stragglerValues[index].isVacant else { return nil }
        let value = stragglerValues[index]
        stragglerValues[index] = .vacant
        stragglerCount -= 1
        tidyStragglers()
        return value
    }

    /// Removes every value up to and including a sequence that the closure does not want to keep.
    public mutating func removeThrough(
        _ sequence: SequenceNumber, unless keep: (Value) -> Bool
    ) {
        var kept: [(UInt64, Value)] = []
        while let low = lowest, low <= sequence {
            if let value = remove(low), keep(value) { kept.append((low.rawValue, value)) }
        }
        for (key, value) in kept { set(SequenceNumber(key), value) }
    }

    /// Visits every value in ascending order of sequence, until the closure returns false.
    public func forEach<E: Error>(
        _ body: (SequenceNumber, Value) throws(E) -> Bool
    ) throws(E) {
        var index = stragglerHead
        while index < stragglerKeys.count {
            if !stragglerValues[index].isVacant {
                guard try body(SequenceNumber(stragglerKeys[index]), stragglerValues[index])
                else { return }
            }
            index += 1
        }
        guard ringCount > 0 else { return }
        for key in base...last {
            let value = ring[slot(key)]
            if !value.isVacant {
                guard try body(SequenceNumber(key), value) else { return }
            }
        }
    }

    private mutating func advanceBase() {
        guard ringCount > 0 else { return }
        base += 1
        while ring[slot(base)].isVacant { base += 1 }
    }

    /// Makes room for a key at or above `base + capacity`: the ring grows while it may; then what is
    /// oldest in it goes aside.
    private mutating func extendUp(to key: UInt64) {
        while key - base >= UInt64(ring.count), ring.count < Self.capacityMax,
            (key - base) < UInt64(Self.capacityMax)
        {
            grow()
        }
        while ringCount > 0, key - base >= UInt64(ring.count) {
            let index = slot(base)
            stragglerKeys.append(base)
            stragglerValues.append(ring[index])
            stragglerCount += 1
            ring[index] = .vacant
            ringCount -= 1
            advanceBase()
        }
    }

    private mutating func extendDown(to key: UInt64, _ value: Value) {
        let isAboveStragglers =
            stragglerCount == 0 || (stragglerKeys.last.map { key > $0 } ?? true)
        guard isAboveStragglers, last - key < UInt64(Self.capacityMax) else {
            setStraggler(key, value)
            return
        }
        while last - key >= UInt64(ring.count) { grow() }
        base = key
        ring[slot(key)] = value
        ringCount += 1
    }

    private mutating func grow() {
        var larger = ContiguousArray<Value>(repeating: .vacant, count: ring.count * 2)
        let mask = larger.count - 1
        for key in base...last {
            let value = ring[slot(key)]
            if !value.isVacant { larger[Int(truncatingIfNeeded: key) & mask] = value }
        }
        ring = larger
    }

    private mutating func setStraggler(_ key: UInt64, _ value: Value) {
        let (index, found) = straggler(key)
        if found {
            if stragglerValues[index].isVacant { stragglerCount += 1 }
            stragglerValues[index] = value
        } else {
            stragglerKeys.insert(key, at: index)
            stragglerValues.insert(value, at: index)
            stragglerCount += 1
        }
    }

    private mutating func tidyStragglers() {
        if stragglerCount == 0 {
            stragglerKeys.removeAll(keepingCapacity: false)
            stragglerValues.removeAll(keepingCapacity: false)
            stragglerHead = 0
            return
        }
        while stragglerValues[stragglerHead].isVacant { stragglerHead += 1 }
        if stragglerHead > 64, stragglerHead > stragglerKeys.count / 2 {
            stragglerKeys.removeFirst(stragglerHead)
            stragglerValues.removeFirst(stragglerHead)
            stragglerHead = 0
        }
    }
}
