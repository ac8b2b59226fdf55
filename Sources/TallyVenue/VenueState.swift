package import TallyCore

/// What one shard of the venue knows, folded from its own log.
///
/// Every movement of money has two sides, and both are here: a deposit stands in `deposits` and in
/// `free`, a reservation in `free` and in `reserved`, a credit in `free` and in the totals of its
/// channel. So on each shard, alone and at every position:
///
///     deposits + applied - (sent - returned) = free + reserved
///
/// and over all shards the channels' totals are the money in flight (see ``Venue/law(_:)``).
public struct VenueState: Equatable, Sendable {
    /// What a shard is, from its name.
    package enum Role: UInt8, Sendable {
        case other = 0
        case trades = 1
        case collateral = 2

        init(_ shard: ShardContext) { self.init(name: shard.name) }

        init(name: String) {
            if name.hasPrefix("trades-") {
                self = .trades
            } else if name.hasPrefix("collateral-") {
                self = .collateral
            } else {
                self = .other
            }
        }

        var name: String {
            switch self {
            case .other: "other"
            case .trades: "trades"
            case .collateral: "collateral"
            }
        }
    }

    /// One message of one channel, seen from this shard: the peer is the other end.
    package struct PeerSequence: Hashable, Comparable, Sendable {
        package var peer: ShardID
        package var sequence: SequenceNumber

        package init(_ peer: ShardID, _ sequence: SequenceNumber) {
            self.peer = peer
            self.sequence = sequence
        }

        package static func < (left: Self, right: Self) -> Bool {
            (left.peer, left.sequence) < (right.peer, right.sequence)
        }
    }

    package struct Account: Equatable, Sendable {
        package var free: Int64 = 0
        package var reserved: Int64 = 0

        package init(free: Int64 = 0, reserved: Int64 = 0) {
            self.free = free
            self.reserved = reserved
        }
    }

    /// The trade that a reservation is for: trades are numbered per trade shard.
    package struct ReservationKey: Hashable, Comparable, Sendable {
        package var origin: ShardID
        package var tradeID: UInt64

        package init(origin: ShardID, tradeID: UInt64) {
            self.origin = origin
            self.tradeID = tradeID
        }

        package static func < (left: Self, right: Self) -> Bool {
            (left.origin, left.tradeID) < (right.origin, right.tradeID)
        }
    }

    package struct Reservation: Equatable, Sendable {
        package var account: UInt32
        package var margin: Int64

        package init(account: UInt32, margin: Int64) {
            self.account = account
            self.margin = margin
        }
    }

    /// A credit this shard has sent and knows no outcome of.
    package struct Flight: Equatable, Sendable {
        package var from: UInt32
        package var amount: Int64
    }

    /// Money between this shard and one peer, since the beginning; totals only grow.
    package struct ChannelTotals: Equatable, Sendable {
        /// Credits sent to the peer.
        package var sent: Int64 = 0
        /// Credits to the peer that were rejected or timed out, put back here.
        package var returned: Int64 = 0
        /// Credits of the peer that were applied here.
        package var applied: Int64 = 0

        package init(sent: Int64 = 0, returned: Int64 = 0, applied: Int64 = 0) {
            self.sent = sent
            self.returned = returned
            self.applied = applied
        }
    }

    package enum TradeStatus: UInt8, CaseIterable, Sendable {
        case requested = 1
        case confirmed = 2
        case rejected = 3
        case timedOut = 4
        case closing = 5
        case closed = 6

        package var name: String {
            switch self {
            case .requested: "requested"
            case .confirmed: "confirmed"
            case .rejected: "rejected"
            case .timedOut: "timedOut"
            case .closing: "closing"
            case .closed: "closed"
            }
        }
    }

    package struct Trade: Equatable, Sendable {
        package var account: UInt32
        package var margin: Int64
        package var status: TradeStatus

        package init(account: UInt32, margin: Int64, status: TradeStatus) {
            self.account = account
            self.margin = margin
            self.status = status
        }
    }

    /// A message this trade shard has sent and knows no outcome of.
    package struct Pending: Equatable, Sendable {
        package var tradeID: UInt64
        package var isRelease: Bool
    }

    /// From the shard's name; kept here so that no fold looks at a name.
    package let role: Role
    /// The directory's collateral shards, in its order; not part of the encoded state.
    let collateralShards: [ShardID]

    package var accounts: [UInt32: Account] = [:]
    package var deposits: Int64 = 0
    package var reservations: [ReservationKey: Reservation] = [:]
    package var inFlight: [PeerSequence: Flight] = [:]
    package var channels: [ShardID: ChannelTotals] = [:]
    /// Messages received and applied, not yet answered.
    package var owed: [PeerSequence: VenueMessage] = [:]
    /// The deferred reservations among `owed`, oldest first.
    package var deferred: [PeerSequence] = []

    package var trades: [UInt64: Trade] = [:]
    package var pending: [PeerSequence: Pending] = [:]

    /// Events that made no sense when they were folded; each left the rest of the state as it was.
    package var strange: UInt64 = 0
    /// Lost tails of peers that an operator has accepted. What they closed as lost stays pending or
    /// in flight here: the program cannot know the cut.
    package var interventions: UInt64 = 0

    init(_ shard: ShardContext) {
        role = Role(shard)
        collateralShards = Self.collateralShards(of: shard.directory)
    }

    static func collateralShards(of directory: ShardDirectory) -> [ShardID] {
        directory.all.filter { Role(name: directory.name(of: $0)) == .collateral }
    }

    /// The shard an account lives on; `nil` when the ledger has no collateral shard.
    func collateralShard(of account: UInt32) -> ShardID? {
        collateralShards.isEmpty
            ? nil : collateralShards[Int(account) % collateralShards.count]
    }
}
