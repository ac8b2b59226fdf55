public import TallyCore

/// Carries envelopes between shards. It may lose, repeat, delay and reorder them; it must not
/// block its caller.
public protocol Transport: Sendable {
    /// Names the receiver for a shard's envelopes; the closure only queues.
    func attach(_ shard: ShardID, _ receive: @escaping @Sendable ([UInt8]) -> Void)

    /// Takes an envelope in its byte form.
    func send(_ envelope: [UInt8], to shard: ShardID)

    /// Carries nothing any more.
    func close()
}

/// What an in-process transport does to envelopes, for tests and demonstrations.
public struct TransportFaults: Sendable {
    /// Probability that an envelope is lost.
    public var loss = 0.0
    /// Probability that an envelope arrives twice; the second time later.
    public var repetition = 0.0
    /// Nanoseconds of delay at most; each envelope draws its own, so that they overtake each other.
    public var delayMax: UInt64 = 0
    /// The seed of the faults.
    public var seed: UInt64 = 1

    /// Faults as given; none unless given.
    public init(
        loss: Double = 0, repetition: Double = 0, delayMax: UInt64 = 0, seed: UInt64 = 1
    ) {
        self.loss = loss
        self.repetition = repetition
        self.delayMax = delayMax
        self.seed = seed
    }

    var isNone: Bool { loss == 0 && repetition == 0 && delayMax == 0 }
}
