internal import TallyCore

/// A set of sequences that is mostly contiguous: sorted intervals that do not touch.
struct SequenceIntervals {
    private var intervals: [ClosedRange<UInt64>] = []

    /// The interval that begins at or before a sequence: its index, or -1.
    private func index(of key: UInt64) -> Int {
        var low = 0
        var high = intervals.count
        while low < high {
            let middle = (low + high) / 2
            if intervals[middle].lowerBound <= key { low = middle + 1 } else { high = middle }
        }
        return low - 1
    }

    func contains(_ sequence: SequenceNumber) -> Bool {
        let index = index(of: sequence.rawValue)
        return index >= 0 && intervals[index].contains(sequence.rawValue)
    }

    /// - Complexity: O(log intervals); O(intervals) when one begins or ends in the middle.
    mutating func insert(_ sequence: SequenceNumber) {
        let key = sequence.rawValue
        let index = index(of: key)
        if index >= 0, intervals[index].contains(key) { return }
        let touchesBelow = index >= 0 && intervals[index].upperBound &+ 1 == key
        let above = index + 1
        let touchesAbove = above < intervals.count && intervals[above].lowerBound == key &+ 1
        switch (touchesBelow, touchesAbove) {
        case (true, true):
            intervals[index] = intervals[index].lowerBound...intervals[above].upperBound
            intervals.remove(at: above)
        case (true, false): intervals[index] = intervals[index].lowerBound...key
        case (false, true): intervals[above] = key...intervals[above].upperBound
        case (false, false): intervals.insert(key...key, at: above)
        }
    }
}
