internal import Synchronization

/// Who waits for one result: resumed once, by whoever comes first, from any thread. The waiting task's
/// cancellation comes first, too.
final class Waiter<Value: Sendable>: Sendable {
    private enum State {
        case idle
        case waiting(CheckedContinuation<Value, any Error>)
        case done
    }

    private let state = Mutex(State.idle)

    /// Waits until somebody resumes.
    ///
    /// - Parameter start: Hands the waiter to who will resume it.
    /// - Throws: What it is resumed with; `CancellationError` when the task is cancelled before.
    static func value(
        _ start: @Sendable (Waiter<Value>) -> Void
    ) async throws -> Value {
        try Task.checkCancellation()
        let waiter = Waiter<Value>()
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                let isCancelled = waiter.state.withLock { state in
                    if case .done = state { return true }
                    state = .waiting(continuation)
                    return false
                }
                if isCancelled {
                    continuation.resume(throwing: CancellationError())
                } else {
                    start(waiter)
                }
            }
        } onCancel: {
            waiter.resume(throwing: CancellationError())
        }
    }

    /// Whether nobody waits any more.
    var isDone: Bool {
        state.withLock { state in
            if case .done = state { return true }
            return false
        }
    }

    func resume(returning value: Value) { take()?.resume(returning: value) }
    func resume(throwing error: any Error) { take()?.resume(throwing: error) }

    private func take() -> CheckedContinuation<Value, any Error>? {
        state.withLock { state in
            defer { state = .done }
            if case .waiting(let continuation) = state { return continuation }
            return nil
        }
    }
}
