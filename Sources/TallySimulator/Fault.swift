/// What a simulation may do to shards, disks, clocks and the network; the words are those of
/// `tally simulate --only`.
public enum Fault: String, CaseIterable, Sendable {
    // The network.
    /// An envelope is lost.
    case drop
    /// An envelope arrives more than once.
    case `repeat`
    /// An envelope takes up to minutes.
    case delay
    /// Envelopes overtake each other.
    case reorder
    /// Two groups of shards hear nothing of each other for a while.
    case partition
    /// A link carries nothing in one direction for a while.
    case oneWay = "one-way"
    /// An envelope of long ago arrives again, from sessions that have ended, too.
    case oldCopy = "old-copy"
    /// An envelope arrives without its end.
    case truncate
    /// An envelope arrives at another shard than it was meant for.
    case misroute

    // The process.
    /// A process dies; what it had appended stays.
    case kill
    /// A process stands still for a while and goes on as if nothing had been.
    case pause
    /// A shard is closed in good order and opened again.
    case reopen

    // The disk.
    /// Power fails: what was not flushed is lost, wholly or from some commit on.
    case power
    /// Power fails in the middle of an append, a flush or the writing of the mark.
    case tornWrite = "torn-write"
    /// An append fails, and nothing of it is on the disk.
    case appendError = "append-error"
    /// An append or a flush fails, although it did its work.
    case errorAfterEffect = "error-after-effect"
    /// A flush fails.
    case flushError = "flush-error"
    /// The disk fills up, and is given room again.
    case full
    /// Flushes take up to ten seconds.
    case slowDisk = "slow-disk"
    /// Flushes return and have done nothing.
    case lyingFlush = "lying-flush"
    /// An older copy of the log is put into place, the mark with it or not.
    case restore
    /// The mark is lost.
    case lostMark = "lost-mark"
    /// A shard starts from a snapshot and the tail; some snapshots are damaged.
    case snapshot

    // The clocks.
    /// A wall clock jumps, backwards too.
    case clockJump = "clock-jump"
    /// A wall clock stands still.
    case clockFreeze = "clock-freeze"
    /// Wall clocks run at different rates.
    case clockRate = "clock-rate"
    /// A wall clock runs ahead by more than its peers follow.
    case clockAhead = "clock-ahead"

    // The load and the operator.
    /// Many commands at once.
    case burst
    /// Most commands go to one shard, and from it.
    case hotShard = "hot-shard"
    /// A client asks again for what it has asked before.
    case askAgain = "ask-again"
    /// An operator recovers by a plan in the middle of everything.
    case plan
    /// An operator times messages out without evidence.
    case force
    /// Places in the production code that act unusually, yet lawfully.
    case buggify
}
