internal import TallyCore
internal import TallyVenue

/// The commands of a run, drawn from its seed.
protocol Load {
    associatedtype Program: TallyCore.Program
    /// The next command and the shard it is for; `nil` at the end.
    mutating func next() -> (shard: ShardID, command: [UInt8])?
    /// The command that makes a shard answer what it owes; `nil` for a shard that never owes.
    func answerOwed(_ context: ShardContext) -> [UInt8]?
}

/// The storm's load: each command sends a few messages anywhere.
struct StormLoad: Load {
    typealias Program = Storm
    private var random: SplitMix64
    private var left: Int
    private let shards: Int
    private let deadline: UInt64?
    /// Most commands go to this shard, and its messages come back to it.
    private let hot: ShardID?

    init(seed: UInt64, messages: Int, shards: Int, deadline: UInt64?, hasHotShard: Bool) {
        random = SplitMix64(seed: seed)
        left = messages
        self.shards = shards
        self.deadline = deadline
        hot = hasHotShard ? ShardID(1) : nil
    }

    private mutating func shard() -> ShardID {
        if let hot, random.next() % 4 != 0 { return hot }
        return ShardID(UInt32(random.next() % UInt64(shards)) + 1)
    }

    mutating func next() -> (shard: ShardID, command: [UInt8])? {
        guard left > 0 else { return nil }
        var writer = ByteWriter(capacity: 128)
        if random.next() % 32 == 0 {
            writer.write(3 as UInt8)
            writer.write(random.next())
            return (shard(), writer.bytes)
        }
        let count = min(left, 1 + Int(random.next() % 4))
        left -= count
        writer.write(1 as UInt8)
        writer.write(UInt8(count))
        for _ in 0..<count {
            writer.write(shard().rawValue)
            let isShort = deadline != nil && random.next() % 8 == 0
            writer.write(isShort ? (deadline ?? 0) : 0 as UInt64)
            writer.write(counted: Storm.Message(drawnFrom: &random, depth: 3).bytes)
        }
        return (shard(), writer.bytes)
    }

    func answerOwed(_ context: ShardContext) -> [UInt8]? { [2] }
}

/// The venue's own workload.
struct VenueLoad: Load {
    typealias Program = Venue
    private var workload: VenueWorkload

    /// A trade leads to about one message and four fifths, by its closing and by transfers.
    init(directory: ShardDirectory, seed: UInt64, messages: Int, deadline: UInt64?) {
        workload = VenueWorkload(
            directory: directory, seed: seed, trades: max(1, messages * 5 / 9),
            deadline: deadline)
    }

    mutating func next() -> (shard: ShardID, command: [UInt8])? {
        workload.next().map { ($0.shard, $0.command.encode()) }
    }

    func answerOwed(_ context: ShardContext) -> [UInt8]? {
        context.name.hasPrefix("collateral") ? VenueCommand.settle.encode() : nil
    }
}
