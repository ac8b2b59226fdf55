/// What happens when: a binary heap by time, and among equal times by the order in which it was put
/// in, so that nothing depends on anything else.
struct Agenda<Item> {
    // Items stay where they are; the heap moves numbers.
    private var heap: [(time: UInt64, order: UInt64, slot: Int)] = []
    private var items: [Item?] = []
    private var free: [Int] = []
    private var count: UInt64 = 0

    var nextTime: UInt64? { heap.first?.time }

    private func isBefore(_ left: Int, _ right: Int) -> Bool {
        heap[left].time != heap[right].time
            ? heap[left].time < heap[right].time : heap[left].order < heap[right].order
    }

    mutating func add(_ item: Item, at time: UInt64) {
        let slot: Int
        if let last = free.popLast() {
            slot = last
            items[slot] = item
        } else {
            slot = items.count
            items.append(item)
        }
        heap.append((time, count, slot))
        count += 1
        var child = heap.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard isBefore(child, parent) else { return }
            heap.swapAt(child, parent)
            child = parent
        }
    }

    mutating func pop() -> (time: UInt64, item: Item)? {
        guard let first = heap.first, let item = items[first.slot] else { return nil }
        items[first.slot] = nil
        free.append(first.slot)
        let last = heap.removeLast()
        if !heap.isEmpty {
            heap[0] = last
            var parent = 0
            while true {
                var least = parent
                let left = 2 * parent + 1
                if left < heap.count, isBefore(left, least) { least = left }
                if left + 1 < heap.count, isBefore(left + 1, least) { least = left + 1 }
                guard least != parent else { break }
                heap.swapAt(parent, least)
                parent = least
            }
        }
        return (first.time, item)
    }
}
