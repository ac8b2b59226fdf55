public import TallyCore

/// A deterministic sequence of commands: the same directory, seed, number of trades and deadline give
/// the same commands, on every machine.
///
/// It opens ``accountCount`` accounts with deposits, some of them too small, and then mixes trades,
/// transfers, closes of earlier trades and `settle`; it ends with a `settle` at each collateral shard.
/// It knows nothing of outcomes: a close may come before its trade is confirmed, or after it was
/// rejected, and a transfer may ask for more than there is. Such commands are refused, which is part
/// of the load (``mayBeRefused(_:)``).
///
/// Trade numbers are the low 32 bits of the seed, then an index from 1 in 32 bits. So a second run on
/// the same ledger needs another seed, and only that.
public struct VenueWorkload: Sendable {
    /// Accounts that get a deposit, numbered from 1. A few numbers above are named by transfers only.
    public static let accountCount: UInt32 = 40

    /// How many commands have been given out; with it a run can go on where another one stopped.
    public private(set) var position = 0

    private let directory: ShardDirectory
    private let tradeShards: [ShardID]
    private let collateralShards: [ShardID]
    private let seed: UInt64
    private let trades: Int
    private let deadline: UInt64?

    private var random: SplitMix64
    private var deposited: UInt32 = 0
    private var traded = 0
    private var open: [(shard: ShardID, tradeID: UInt64)] = []
    /// What belongs to the latest trade; the next command last.
    private var queue: [(shard: ShardID, command: VenueCommand)] = []
    private var isEnding = false

    /// Trades that are old enough to be closed are those with so many newer ones: enough for most to
    /// be confirmed by then, however many run at once.
    private let closeLag: Int
    /// Beyond so many trades not yet closed, every trade is followed by a close.
    private let openMax: Int

    /// - Parameters:
    ///   - trades: How many trades to request; at most 2^32 - 1.
    ///   - deadline: Nanoseconds; a twentieth of the trades and a quarter of the transfers carry it.
    public init(directory: ShardDirectory, seed: UInt64, trades: Int, deadline: UInt64?) {
        self.directory = directory
        self.seed = seed
        self.trades = max(0, min(trades, Int(UInt32.max)))
        self.deadline = deadline
        tradeShards = directory.all.filter {
            VenueState.Role(name: directory.name(of: $0)) == .trades
        }
        collateralShards = VenueState.collateralShards(of: directory)
        random = SplitMix64(seed: seed)
        closeLag = min(600, max(8, trades / 16))
        openMax = closeLag * 5 / 2
    }

    /// The number of a run's trade, from 1.
    public static func tradeID(seed: UInt64, index: UInt32) -> UInt64 {
        (seed & 0xFFFF_FFFF) << 32 | UInt64(index)
    }

    /// Whether the venue may well refuse this command of a workload; a refused deposit, trade or settle
    /// is a defect.
    public static func mayBeRefused(_ command: VenueCommand) -> Bool {
        switch command {
        case .close, .transfer: true
        case .deposit, .trade, .settle: false
        }
    }

    /// The next command and the shard it is for; `nil` at the end, and for a directory without trade
    /// or collateral shards.
    public mutating func next() -> (shard: ShardID, command: VenueCommand)? {
        guard !tradeShards.isEmpty, !collateralShards.isEmpty else { return nil }
        if queue.isEmpty { refill() }
        guard let step = queue.popLast() else { return nil }
        position += 1
        return step
    }

    /// Goes on until so many commands have been given out.
    public mutating func advance(to position: Int) {
        while self.position < position, next() != nil {}
    }

    private mutating func refill() {
        if deposited < Self.accountCount {
            deposited += 1
            let range: ClosedRange<Int64> = deposited % 8 == 0 ? 2_000...9_000 : 20_000...80_000
            let amount = random.amount(range)
            queue = [(home(of: deposited), .deposit(account: deposited, amount: amount))]
        } else if traded < trades {
            queue = tradeSteps().reversed()
        } else if !isEnding {
            isEnding = true
            queue = collateralShards.map { ($0, .settle) }.reversed()
        }
    }

    private mutating func tradeSteps() -> [(shard: ShardID, command: VenueCommand)] {
        traded += 1
        let tradeID = Self.tradeID(seed: seed, index: UInt32(traded))
        let shard = tradeShards[random.index(below: tradeShards.count)]
        let account = UInt32(1 + random.index(below: Int(Self.accountCount)))
        let margin = random.amount(random.oneIn(12) ? 1_000...9_000 : 20...400)
        let isDeferred = random.oneIn(10)
        let isShort = random.oneIn(20)
        var steps: [(shard: ShardID, command: VenueCommand)] = [
            (
                shard,
                .trade(
                    tradeID: tradeID, account: account, margin: margin, deferAnswer: isDeferred,
                    deadline: isShort ? deadline : nil)
            )
        ]
        open.append((shard, tradeID))
        let isClosing = random.index(below: 10) < 8 || open.count > openMax
        if open.count > closeLag, isClosing {
            let old = open.remove(at: random.index(below: open.count - closeLag))
            steps.append((old.shard, .close(tradeID: old.tradeID)))
        }
        if random.oneIn(10) { steps.append(transferStep()) }
        if random.oneIn(40) {
            let shard = collateralShards[random.index(below: collateralShards.count)]
            steps.append((shard, .settle))
        }
        return steps
    }

    private mutating func transferStep() -> (shard: ShardID, command: VenueCommand) {
        let from = UInt32(1 + random.index(below: Int(Self.accountCount)))
        // One in ten names an account that was never opened: its money comes back.
        let others = random.oneIn(10) ? 5 : Int(Self.accountCount) - 1
        let step = UInt32(1 + random.index(below: others))
        let to =
            others == 5 ? Self.accountCount + step : (from - 1 + step) % Self.accountCount + 1
        let amount = random.amount(1...3_000)
        let isShort = random.oneIn(4)
        return (
            home(of: from),
            .transfer(from: from, to: to, amount: amount, deadline: isShort ? deadline : nil)
        )
    }

    private func home(of account: UInt32) -> ShardID {
        collateralShards[Int(account) % collateralShards.count]
    }
}

extension SplitMix64 {
    /// A number from 0 to one below the bound; the bias of the remainder does not matter here.
    mutating func index(below bound: Int) -> Int { Int(next() % UInt64(bound)) }

    mutating func oneIn(_ count: Int) -> Bool { index(below: count) == 0 }

    mutating func amount(_ range: ClosedRange<Int64>) -> Int64 {
        range.lowerBound + Int64(index(below: Int(range.upperBound - range.lowerBound + 1)))
    }
}
