import ArgumentParser
internal import Synchronization
import TallyAudit
import TallyCore
import TallyStore

#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#else
    internal import Darwin
#endif

/// `tally log --follow`: what there is, and then what comes.
struct Following {
    /// Events printed first when neither a filter nor a limit says how many.
    static let limitDefault = 10
    /// Milliseconds between two looks at the logs.
    static let pauseMilliseconds: Int32 = 100

    var query: EventQuery
    var hasFilters: Bool

    /// Set by the first Ctrl-C; the second one ends the process at once.
    private static let isInterrupted = Atomic<Bool>(false)

    func run(
        _ ledger: Ledger, _ audit: AuditLedger, _ write: (RecordedEvent, inout Output) -> Void
    ) throws {
        Self.catchInterrupt()
        var output = Output()
        let problems = try printHistory(audit, write, &output)
        output.flush()
        for (_, problem) in problems { Console.notRead(problem.text) }
        var isPartial = !problems.isEmpty
        if ledger.manifest.isSealed {
            Console.note(
                "\(ledger.directory) is evidence (an import or a copy) that nobody writes: nothing"
                    + " will follow")
        } else {
            let follower = EventFollower(query, audit)
            var told = 0
            while follower.isFollowing, !Self.isInterrupted.load(ordering: .relaxed) {
                for event in follower.poll(now: Self.now) { write(event, &output) }
                output.flush()
                for (_, problem) in follower.problems.dropFirst(told) {
                    Console.notRead(problem.text)
                }
                told = follower.problems.count
                if !follower.isBehind, !Self.pause() { break }
            }
            for event in follower.drain() { write(event, &output) }
            output.flush()
            isPartial = isPartial || told > 0
        }
        if isPartial { throw Exit.partial }
    }

    /// What the logs held when they were opened.
    private func printHistory(
        _ audit: AuditLedger, _ write: (RecordedEvent, inout Output) -> Void, _ output: inout Output
    ) throws -> [(shard: ShardID, problem: StoreError)] {
        guard let limit = query.limit ?? (hasFilters ? nil : Self.limitDefault) else {
            return try query.run(audit) { event in
                write(event, &output)
                return !Self.isInterrupted.load(ordering: .relaxed)
            }
        }
        var last = query
        (last.limit, last.isReverse) = (limit, true)
        var events: [RecordedEvent] = []
        let problems = try last.run(audit) { event in
            events.append(event)
            return !Self.isInterrupted.load(ordering: .relaxed)
        }
        for event in events.reversed() { write(event, &output) }
        return problems
    }

    /// Waits until it is time to look again, or something ends the following.
    ///
    /// - Returns: False when nobody reads the output any more.
    private static func pause() -> Bool {
        // No events are asked for: a pipe whose reader is gone says so all the same.
        var output = pollfd(fd: STDOUT_FILENO, events: 0, revents: 0)
        guard unsafe poll(&output, 1, pauseMilliseconds) > 0 else { return true }
        return Int32(output.revents) & (POLLERR | POLLHUP | POLLNVAL) == 0
    }

    private static var now: UInt64 {
        var time = timespec()
        unsafe clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }

    private static func catchInterrupt() {
        signal(SIGINT) { _ in
            Following.isInterrupted.store(true, ordering: .relaxed)
            signal(SIGINT, SIG_DFL)
        }
    }
}
