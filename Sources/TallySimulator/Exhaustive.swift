/// Every interleaving of a few shards and a few messages, over the production `ShardMachine`.
///
/// A state is everything that can influence what happens next: the machines, what is appended and
/// durable of each log, the envelopes that may still arrive, the clocks, the crashes that are left.
/// From each state every possible step is taken; a state that was met before is not taken up again.
/// It is known again by 128 bits over everything in it: among 10^8 states two share them by chance
/// with a probability below 10^-22. When nothing is left to take up, the exploration is *complete*.
///
/// **The network.** Every item that ever left may arrive at any time, any number of times, or
/// never: so loss, repetition, delay and reordering are not faults that are counted, but what
/// always may happen. A joined envelope is taken apart, because its items may just as well travel
/// alone.
///
/// **Crashes** are counted. A shard may die at any time, and behind each step once its commit is
/// durable and before anything leaves. Where commits and flushes are separate steps
/// (``Options/unflushedMax``), any prefix of what is appended may be flushed, and a crash keeps any
/// prefix of the rest. Where they are one, a commit that a crash takes is left out on purpose:
/// nothing outside a shard can see it before its flush, so such a crash is one before the step.
///
/// **Time** is a choice. A deadline passes, for all shards or (``Options/hasOwnClocks``) at each
/// alone, up to ``Options/deadlinesPassMax`` times; a machine's timers fall due in their order, one
/// by one or all at once. All pauses of a machine are set alike and as short as can be, so how far
/// a back-off has gone makes no difference.
///
/// **What a state leaves out, and why nothing is lost by it.** Nonces are counted, not drawn, so
/// that equal histories give equal sessions. Offsets count by their rank among those that are still
/// named: the protocol does nothing but compare them. Times count by the number of deadlines before
/// them: each input has its own commit, so that nothing but deadlines is compared with them; under
/// one clock every commit has the present time, and only deadlines count. Heads, digests, attempts
/// and counters do not count: no decision rests on them, and a law compares each digest as it
/// leaves. Items for a session that has ended are one and the same to whom they reach: not heard.
/// So are questions whose statement is not their sender's present one (no reply to them counts),
/// and the replies to them; a `confirmed` for a session that has ended does nothing, and is
/// forgotten. Copies of a message that its destination holds are alike whatever they call settled;
/// so are those at or below its floor, and answers to what is settled.
///
/// **What is really left out.** Of items alike but for the durable end that they name, the first
/// stays. The jitter of a pause (one part in four) is not part of a state, and timers count by
/// their order: of states that differ in their lengths alone the first is taken up. Several inputs
/// never share a commit. No old copy of a log is put into place, and no operator forces anything:
/// those are for the random simulation and for the model.
///
/// **Liveness.** From each state (or each n-th, ``Options/settlesEach``) a continuation is run in
/// which nothing fails: what is under way is lost, what is down starts, what is said anew arrives,
/// what is owed is answered. Within a bound every message must settle, then one more of each shard
/// to each other one, and both sides must agree on all of them.
public enum Exploration {
    /// What is explored.
    public struct Options: Sendable {
        /// A word for it.
        public var name: String
        /// Shards, at most 4.
        public var shards = 2
        /// What commands send, each shard its own in this order.
        public var messages: [Errand]
        /// Whether each shard sends all of its messages by one command, instead of one each.
        public var sendsAtOnce = false
        /// Whether channels deliver in order.
        public var isOrdered = true
        /// Crashes of all shards together at most.
        public var crashesMax = 1
        /// Deadlines that pass on a wall clock at most.
        public var deadlinesPassMax: UInt64 = 1
        /// Whether each shard has a wall clock of its own: a deadline passes at one of them first.
        public var hasOwnClocks = false
        /// Commits of a shard that wait for their flush at most; 0: each is flushed at once.
        public var unflushedMax = 0
        /// Whether the shards hear each other in the beginning.
        public var isConnected = true
        /// States after which it ends without being complete.
        public var statesMax = 4_000_000
        /// Each n-th state is continued fairly.
        public var settlesEach: UInt64 = 1
        /// Whether the newest state is taken up first: less memory, longer histories.
        public var isDepthFirst = false
        /// What is broken on purpose.
        package var planted: Planted?

        /// Makes options.
        public init(_ name: String, _ messages: [Errand]) {
            self.name = name
            self.messages = messages
        }
    }

    /// A fault of the world around the machine that the protocol cannot bear: each must be found.
    package enum Planted: CaseIterable, Sendable {
        /// What is said does not wait for the flush.
        case speaksFirst
        /// A crash takes a commit that was durable.
        case losesDurable
        /// A shard believes every session.
        case forgesSession
        /// A wake-up times out what is pending, without evidence.
        case timesOutAlone
        /// A restart does not see the last durable commit, and writes over it.
        case startsEarlier
    }

    /// What an exploration came to.
    public struct Report: Sendable {
        /// A law that does not hold, and how it came to that.
        public struct Violation: Sendable {
            /// Which law.
            public var law: Law
            /// In which way.
            public var text: String
            /// The steps from the beginning, one line each; the fewest there are when breadth came
            /// first.
            public var history: [String]

            init(_ breach: Breach, _ history: [String]) {
                law = breach.law
                text = breach.text
                self.history = history
            }
        }
        /// The word of its options.
        public var name: String
        /// Different states.
        public var states: UInt64
        /// Steps taken.
        public var transitions: UInt64
        /// Steps from the beginning to the farthest state.
        public var depth: Int
        /// Whether nothing was left to take up.
        public var isComplete: Bool
        /// Fair continuations run.
        public var continuations: UInt64
        /// Rounds that the longest of them took.
        public var roundsMax: Int
        /// How often each situation was reached.
        public var goals: [(goal: Goal, count: Int)]
        /// The first law that was found broken.
        public var violation: Violation?
    }

    /// Explores.
    ///
    /// - Parameters:
    ///   - options: What is explored.
    ///   - progress: Is told now and then how far it is.
    /// - Returns: What was found; `nil` when the options name a shard that there is not.
    /// - Complexity: O(steps), some 5 microseconds each; some 100 bytes for each state, and several
    ///   thousand for each that waits to be taken up.
    public static func run(
        _ options: Options, progress: @escaping (Report) -> Void = { _ in }
    ) -> Report? {
        guard let setting = Setting(options) else { return nil }
        return Search(setting, progress).run()
    }

    /// The goals that none of some explorations has reached.
    public static func missing(in reports: [Report]) -> [Goal] {
        var missing = Set(Goal.allCases)
        for report in reports {
            for (goal, count) in report.goals where count > 0 { missing.remove(goal) }
        }
        return Goal.allCases.filter { missing.contains($0) }
    }
}
