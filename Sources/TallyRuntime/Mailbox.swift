internal import Dispatch
internal import Synchronization

/// Where work for a writer thread waits: posted from anywhere, taken in whole batches, so that what
/// arrives while one commit flushes is collected by the next one.
final class Mailbox<Item: Sendable>: Sendable {
    private struct State {
        var items: [Item] = []
        var isSignalled = false
    }

    private let state = Mutex(State())
    private let signal = DispatchSemaphore(value: 0)

    /// Queues an item.
    ///
    /// - Parameter limit: At most so many items may wait; beyond, this one is dropped.
    /// - Returns: Whether the item was queued.
    @discardableResult
    func post(_ item: Item, limit: Int = .max) -> Bool {
        let (isQueued, wakes) = state.withLock { state -> (Bool, Bool) in
            guard state.items.count < limit else { return (false, false) }
            state.items.append(item)
            defer { state.isSignalled = true }
            return (true, !state.isSignalled)
        }
        if wakes { signal.signal() }
        return isQueued
    }

    /// Waits for items, at most until the given number of nanoseconds has passed.
    func take(waitingAtMost nanoseconds: UInt64) -> [Item] {
        if nanoseconds > 0 {
            _ = signal.wait(timeout: .now() + .nanoseconds(Int(min(nanoseconds, 1 << 40))))
        }
        return state.withLock { state in
            state.isSignalled = false
            let items = state.items
            state.items = []
            return items
        }
    }
}
