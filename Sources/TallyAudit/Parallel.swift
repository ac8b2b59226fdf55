internal import Dispatch
internal import Synchronization

/// Runs independent work on as many threads as there are cores.
enum Parallel {
    /// The values of a closure for `0..<count`, in that order.
    ///
    /// The closure runs on several threads at once; each index must touch what is its own only.
    static func map<Value>(_ count: Int, _ body: (Int) -> Value) -> [Value] {
        guard count > 1 else { return count == 1 ? [body(0)] : [] }
        let results = Results<Value>(count)
        withoutActuallyEscaping(body) { body in
            let work = Work(body: body)
            DispatchQueue.concurrentPerform(iterations: count) { index in
                results.set(index, work.body(index))
            }
        }
        return results.all
    }
}

/// `@unchecked Sendable`: the caller of ``Parallel/map(_:_:)`` promises that calls keep apart.
private struct Work<Value>: @unchecked Sendable {
    let body: (Int) -> Value
}

/// `@unchecked Sendable`: the array is touched under the lock only.
private final class Results<Value>: @unchecked Sendable {
    private let lock = Mutex<Void>(())
    private var values: [Value?]

    init(_ count: Int) { values = Array(repeating: nil, count: count) }

    func set(_ index: Int, _ value: Value) {
        lock.withLock { _ in values[index] = value }
    }

    var all: [Value] { lock.withLock { _ in values.compactMap { $0 } } }
}

/// Adds up what several threads have done and tells one closure of it, one call at a time.
final class ProgressCounter: @unchecked Sendable {
    private let lock = Mutex<UInt64>(0)
    private let report: ((UInt64) -> Void)?

    init(_ report: ((UInt64) -> Void)?) { self.report = report }

    func add(_ count: UInt64) {
        guard let report, count > 0 else { return }
        lock.withLock { total in
            total += count
            report(total)
        }
    }
}
