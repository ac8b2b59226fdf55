internal import Dispatch
internal import Synchronization
internal import TallyAudit
internal import TallyCore
internal import TallyStore

/// What readers beside the writer see of a running shard's log: its durable part, in order, until the
/// shard closes.
///
/// `@unchecked Sendable`: all state is under the mutex, and of the log only `forEachCommit` is called
/// from other threads, which touches nothing but immutable parts and LMDB's own thread-safe functions.
final class LogFeed: @unchecked Sendable {
    fileprivate struct State {
        var durable: Offset
        var isClosed = false
        /// Why nothing more will come, although the log is open still.
        var stop: (any Error)?
        var readers = 0
        var waiting: [Waiter<Void>] = []
    }

    private let shard: ShardID
    private let log: any LogReading
    private let state: Mutex<State>
    private let readersGone = DispatchSemaphore(value: 0)

    /// Events and bytes of one page at most; a single larger event still makes a page.
    static let pageEvents = 1024
    static let pageBytes = 1 << 20

    init(_ shard: ShardID, _ log: any LogReading, durable: Offset) {
        self.shard = shard
        self.log = log
        state = Mutex(State(durable: durable))
    }

    /// Makes what became durable visible.
    func advance(to durable: Offset) {
        let waiting = state.withLock { state -> [Waiter<Void>] in
            guard state.durable < durable else { return [] }
            state.durable = durable
            return state.takeWaiting()
        }
        for waiter in waiting { waiter.resume(returning: ()) }
    }

    /// Nothing more will come; what is there can be read still.
    func stop(_ error: any Error) {
        let waiting = state.withLock { state -> [Waiter<Void>] in
            if state.stop == nil { state.stop = error }
            return state.takeWaiting()
        }
        for waiter in waiting { waiter.resume(returning: ()) }
    }

    /// Ends every reading; returns when none is under way, so that the log can be closed.
    func close() {
        let (waiting, isBusy) = state.withLock { state in
            state.isClosed = true
            return (state.takeWaiting(), state.readers > 0)
        }
        for waiter in waiting { waiter.resume(returning: ()) }
        if isBusy { readersGone.wait() }
    }

    private enum Standing {
        case read(through: Offset)
        case wait
        case end
        case fail(any Error)
    }

    /// The events from an offset, at least one and at most a page of them; waits while there are none.
    ///
    /// - Returns: `nil` once the shard has closed.
    /// - Throws: Why the shard stopped, behind its last event; ``TallyStore/StoreError``;
    ///   `CancellationError`.
    func page(from first: Offset) async throws -> [RecordedEvent]? {
        while true {
            try Task.checkCancellation()
            let standing = state.withLock { state -> Standing in
                if state.isClosed { return .end }
                if first <= state.durable {
                    state.readers += 1
                    return .read(through: state.durable)
                }
                return state.stop.map { .fail($0) } ?? .wait
            }
            switch standing {
            case .end: return nil
            case .fail(let error): throw error
            case .wait:
                try await Waiter<Void>.value { waiter in
                    let isLate = state.withLock { state in
                        if state.isClosed || state.stop != nil || first <= state.durable {
                            return true
                        }
                        state.waiting.removeAll { $0.isDone }
                        state.waiting.append(waiter)
                        return false
                    }
                    if isLate { waiter.resume(returning: ()) }
                }
            case .read(let through):
                defer { leave() }
                return try read(from: first, through: through)
            }
        }
    }

    private func leave() {
        let isLast = state.withLock { state in
            state.readers -= 1
            return state.isClosed && state.readers == 0
        }
        if isLast { readersGone.signal() }
    }

    private func read(from first: Offset, through: Offset) throws -> [RecordedEvent] {
        var events: [RecordedEvent] = []
        var bytes = 0
        try log.forEachCommit(from: first) { commit in
            guard commit.firstOffset <= through else { return false }
            commit.forEach { view in
                guard view.offset >= first, events.count < Self.pageEvents, bytes < Self.pageBytes
                else { return }
                let event = RecordedEvent(view, of: commit, in: shard)
                bytes += event.record.payload.count + event.record.result.count
                events.append(event)
            }
            return events.count < Self.pageEvents && bytes < Self.pageBytes
        }
        return events
    }
}

extension LogFeed.State {
    fileprivate mutating func takeWaiting() -> [Waiter<Void>] {
        defer { waiting = [] }
        return waiting
    }
}
