public import CoreMetrics
internal import Foundation
public import Logging
public import TallyCore
public import TallyStore

/// How a ledger is run.
public struct RuntimeOptions: Sendable {
    /// Limits and paces of each shard.
    public var machine = MachineOptions()
    /// What a released commit survives.
    public var durability = Durability.power
    /// Writer threads at most; shards share them when there are more shards.
    public var threadsMax = max(2, ProcessInfo.processInfo.activeProcessorCount)
    /// Events between two snapshots of a shard.
    public var snapshotEvery: UInt64 = 1_000_000
    /// A shard that appended fewer events than this is closed without a snapshot.
    public var snapshotAtCloseMin: UInt64 = 1000
    /// What may wait for a writer thread before envelopes are dropped, to be sent again by their origin.
    public var envelopesWaitingMax = 8192
    /// Address space per shard, in bytes.
    public var mapSize = LMDBLog.mapSizeDefault

    /// Told what an operator must see at level `warning`, sessions, snapshots and recovery at `debug`,
    /// every flush at `trace`; the key `shard` says which shard speaks.
    public var logger = Logger(label: "tallystick")
    /// Makes what a running shard counts with; `nil`: the process's own factory. Each metric has the
    /// dimensions `ledger` and `shard`; gauges are set once a second.
    ///
    ///     tally_commits                  counter  commits appended
    ///     tally_events                   counter  events appended
    ///     tally_flush                    timer    from a commit's sealing until it is durable
    ///     tally_pending                  gauge    messages sent and not settled
    ///     tally_owed                     gauge    messages applied and not answered
    ///     tally_oldest_pending_seconds   gauge    age of the oldest pending message
    ///     tally_reemissions              counter  messages sent again
    ///     tally_conflicts                counter  conflicts recorded
    ///     tally_refusals                 counter  commands refused, with the dimension `code`
    ///     tally_dropped_envelopes        counter  envelopes that found the mailbox full
    ///     tally_stopped                  gauge    1 once the shard serves no more
    public var metrics: (any MetricsFactory)?
    /// Gives the correlation of a command that is performed without one; called in the caller's task.
    public var correlation: @Sendable () -> Bytes16 = { .none }

    /// The defaults.
    public init() {}
}

/// The name of a command, so that whoever got no answer can ask again and gets the recorded result.
public struct CommandName: Hashable, Sendable {
    /// The client: sixteen bytes of its own choice.
    public var client: Bytes16
    /// The client's own count, from 1.
    public var sequence: SequenceNumber
    /// All its commands through this one will not be asked again.
    public var settledThrough: SequenceNumber

    /// Names a command.
    public init(
        client: Bytes16, sequence: SequenceNumber, settledThrough: SequenceNumber = .none
    ) {
        self.client = client
        self.sequence = sequence
        self.settledThrough = settledThrough
    }
}
