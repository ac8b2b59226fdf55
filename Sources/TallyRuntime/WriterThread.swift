internal import Foundation
internal import Synchronization
internal import TallyCore

/// Slots on their way to the thread that will own them.
struct SlotBox<P: Program>: @unchecked Sendable {
    // Sound: a slot is made by one thread, handed over once, and used by the other thread only.
    let slots: [ShardSlot<P>]
}

/// One writer thread with the shards pinned to it.
final class WriterThread<P: Program>: Sendable {
    let shards: [ShardID]
    let mailbox = Mailbox<(ShardID, Work<P>)>()
    private let box: SlotBox<P>
    private struct Closing {
        /// Nothing is posted any more.
        var isClosed = false
        /// The shards are free.
        var isOver = false
        var waiting: [CheckedContinuation<Void, Never>] = []
    }
    private let closing = Mutex(Closing())

    init(_ box: SlotBox<P>) {
        self.box = box
        shards = box.slots.map(\.shard)
    }

    func start() {
        let thread = Thread { [self] in run() }
        thread.name = "tally-writer"
        thread.stackSize = 8 << 20
        thread.start()
    }

    func post(_ shard: ShardID, _ work: Work<P>) -> Bool {
        closing.withLock { closing in
            guard !closing.isClosed else { return false }
            return mailbox.post((shard, work))
        }
    }

    private func run() {
        let slots = Dictionary(uniqueKeysWithValues: box.slots.map { ($0.shard, $0) })
        var now = SystemClock.now()
        for slot in box.slots { slot.open(now: now) }
        while true {
            let items = mailbox.take(waitingAtMost: wait(now: SystemClock.now()))
            now = SystemClock.now()
            var closes = false
            for (shard, work) in items {
                if case .close = work { closes = true }
                slots[shard]?.handle(work, now: now)
            }
            for slot in box.slots { slot.flush(now: now) }
            if closes { break }
        }
        closing.withLock { $0.isClosed = true }
        let rest = mailbox.take(waitingAtMost: 0)
        now = SystemClock.now()
        for (shard, work) in rest { slots[shard]?.handle(work, now: now) }
        for slot in box.slots { slot.close(now: now) }
        let waiting = closing.withLock { closing in
            closing.isOver = true
            return closing.waiting
        }
        for continuation in waiting { continuation.resume() }
    }

    /// Nanoseconds until one of the shards has something to do by itself.
    private func wait(now: Now) -> UInt64 {
        var next = now.ticks &+ 1_000_000_000
        for slot in box.slots {
            if let wake = slot.nextWake { next = min(next, wake) }
        }
        return next > now.ticks ? next - now.ticks : 0
    }

    /// Has the thread end once everything posted so far is done; waits for nothing.
    func end() {
        let isClosed = closing.withLock { $0.isClosed }
        // A thread without shards has to end, too.
        if !isClosed { mailbox.post((shards.first ?? ShardID(0), .close)) }
    }

    /// Ends the thread once everything posted so far is done, and waits for that.
    func close() async {
        await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
            let isOver = closing.withLock { closing in
                guard !closing.isOver else { return true }
                closing.waiting.append(continuation)
                // A thread without shards has to end, too.
                mailbox.post((shards.first ?? ShardID(0), .close))
                return false
            }
            if isOver { continuation.resume() }
        }
    }
}
