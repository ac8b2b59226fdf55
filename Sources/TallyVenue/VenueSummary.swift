public import TallyCore

/// What the venue's shards add up to at one cut.
public struct VenueSummary: Equatable, Sendable {
    public var requested = 0
    public var confirmed = 0
    public var rejected = 0
    public var timedOut = 0
    public var closing = 0
    public var closed = 0
    /// Money paid in from outside; like all sums here in minor units, and clamped to Int64.
    public var deposits: Int64 = 0
    public var free: Int64 = 0
    public var reserved: Int64 = 0
    /// Credits that have left their origin and are neither applied nor put back at this cut.
    public var inFlight: Int64 = 0
    /// Whether no money is missing, made, or in two places: the law of money holds on every shard, on
    /// every channel, and in sum.
    public var conserved = true

    /// All trades, whatever became of them.
    public var trades: Int { requested + confirmed + rejected + timedOut + closing + closed }

    /// Adds up the states of all shards at one causally closed cut.
    public init(_ states: [(shard: ShardContext, state: VenueState)]) {
        for (_, state) in states {
            for trade in state.trades.values {
                switch trade.status {
                case .requested: requested += 1
                case .confirmed: confirmed += 1
                case .rejected: rejected += 1
                case .timedOut: timedOut += 1
                case .closing: closing += 1
                case .closed: closed += 1
                }
            }
        }
        let totals = VenueTotals(states)
        deposits = Int64(clamping: totals.deposits)
        free = Int64(clamping: totals.free)
        reserved = Int64(clamping: totals.reserved)
        inFlight = Int64(clamping: totals.inFlight)
        conserved = totals.isConserved && Venue.money(states).isEmpty
    }
}

/// The sums of one collateral shard, wide enough for any state.
struct VenueSums {
    var deposits: Int128
    var free: Int128 = 0
    var reserved: Int128 = 0
    var sent: Int128 = 0
    var returned: Int128 = 0
    var applied: Int128 = 0

    init(_ state: VenueState) {
        deposits = Int128(state.deposits)
        for account in state.accounts.values {
            free += Int128(account.free)
            reserved += Int128(account.reserved)
        }
        for totals in state.channels.values {
            sent += Int128(totals.sent)
            returned += Int128(totals.returned)
            applied += Int128(totals.applied)
        }
    }

    /// The shard's own balance, in words, and whether it holds.
    var balance: (text: String, holds: Bool) {
        let owned = deposits + applied - sent + returned
        let text =
            "deposits \(deposits) + applied \(applied) - sent \(sent) + returned \(returned)"
            + " = \(owned), but free \(free) + reserved \(reserved) = \(free + reserved)"
        return (text, owned == free + reserved)
    }
}

/// The sums over the collateral shards of a cut.
struct VenueTotals {
    var deposits: Int128 = 0
    var free: Int128 = 0
    var reserved: Int128 = 0
    var inFlight: Int128 = 0
    /// Whether every collateral shard of the ledger is there; without that nothing follows.
    var isComplete = false

    var isConserved: Bool { deposits == free + reserved + inFlight }

    init(_ states: [(shard: ShardContext, state: VenueState)]) {
        var present: Set<ShardID> = []
        for (shard, state) in states where state.role == .collateral {
            present.insert(shard.shard)
            let sums = VenueSums(state)
            deposits += sums.deposits
            free += sums.free
            reserved += sums.reserved
            inFlight += sums.sent - sums.returned - sums.applied
        }
        guard let state = states.first?.state else { return }
        isComplete = present.count == state.collateralShards.count
    }
}
