public import TallyCore

/// The venue's conservation law.
///
/// At every causally closed cut:
///
/// 1. no shard has folded an event that makes no sense; no balance is negative;
/// 2. an account lives on its shard, and its reserved money is the sum of its reservations;
/// 3. on each collateral shard, deposits + applied - (sent - returned) = free + reserved;
/// 4. on each channel between collateral shards, 0 <= sent - returned - applied <= what the origin
///    still holds as in flight: no credit was applied and also put back, and none was acknowledged
///    without having been applied; and no other shard sends or gets money;
/// 5. over all collateral shards, deposits = free + reserved + what 4 says is in flight;
/// 6. a confirmed trade has exactly one reservation, with its account and margin; a requested or
///    closing one has at most one; a rejected, timed out or closed one has none; and each
///    reservation belongs to a trade.
///
/// 3 finds the shard that lost money, 4 the channel, 5 is what a person asks for.
extension Venue {
    /// Checks the law over the states of one cut.
    ///
    /// With some of the shards only, what would need the others is left out, not reported.
    ///
    /// - Returns: A sentence for each way in which the law does not hold, by shard, then by number.
    /// - Complexity: O(n log n) in the trades, reservations and accounts.
    public static func law(_ states: [(shard: ShardContext, state: VenueState)]) -> [String] {
        let states = states.sorted { $0.shard.shard < $1.shard.shard }
        return sense(states) + money(states) + trades(states)
    }

    private static func sense(_ states: [(shard: ShardContext, state: VenueState)]) -> [String] {
        states.compactMap { shard, state in
            state.strange == 0
                ? nil : "\(shard.name): \(state.strange) events made no sense, not 0"
        }
    }

    /// Laws 1 to 5, without the count of strange events.
    static func money(_ states: [(shard: ShardContext, state: VenueState)]) -> [String] {
        var findings: [String] = []
        for (shard, state) in states {
            findings += accounts(shard, state)
            let (sums, holds) = VenueSums(state).balance
            if !holds { findings.append("\(shard.name): \(sums)") }
        }
        findings += channels(states)
        let total = VenueTotals(states)
        if total.isComplete, !total.isConserved {
            findings.append(
                "all collateral shards: deposits \(total.deposits), but free \(total.free)"
                    + " + reserved \(total.reserved) + in flight \(total.inFlight)"
                    + " = \(total.free + total.reserved + total.inFlight)")
        }
        return findings
    }

    private static func accounts(_ shard: ShardContext, _ state: VenueState) -> [String] {
        var findings: [String] = []
        var held: [UInt32: Int128] = [:]
        for reservation in state.reservations.values {
            held[reservation.account, default: 0] += Int128(reservation.margin)
        }
        for (id, account) in state.accounts.sorted(by: { $0.key < $1.key }) {
            let place = "\(shard.name), account \(id)"
            if account.free < 0 { findings.append("\(place): free is \(account.free), below 0") }
            if account.reserved < 0 {
                findings.append("\(place): reserved is \(account.reserved), below 0")
            }
            let sum = held.removeValue(forKey: id) ?? 0
            if Int128(account.reserved) != sum {
                findings.append(
                    "\(place): reserved is \(account.reserved), its reservations hold \(sum)")
            }
            if let home = state.collateralShard(of: id), home != shard.shard {
                findings.append("\(place): it lives on \(shard.directory.name(of: home))")
            }
        }
        for (id, sum) in held.sorted(by: { $0.key < $1.key }) {
            findings.append(
                "\(shard.name), account \(id): reservations hold \(sum), the account has 0")
        }
        return findings
    }

    private static func channels(
        _ states: [(shard: ShardContext, state: VenueState)]
    ) -> [String] {
        var findings: [String] = []
        let collateral = states.filter { $0.state.role == .collateral }
        for (shard, state) in collateral {
            for (peer, totals) in state.channels.sorted(by: { $0.key < $1.key })
            where !state.collateralShards.contains(peer) {
                findings.append(
                    "\(shard.name): \(totals.applied) applied from and \(totals.sent) sent to"
                        + " \(shard.directory.name(of: peer)), no collateral shard")
            }
            for (peer, other) in collateral where peer.shard != shard.shard {
                let totals = state.channels[peer.shard] ?? .init()
                let applied = other.channels[shard.shard]?.applied ?? 0
                let left = Int128(totals.sent) - Int128(totals.returned)
                let held = state.inFlight.reduce(Int128(0)) { sum, flight in
                    flight.key.peer == peer.shard ? sum + Int128(flight.value.amount) : sum
                }
                let place = "\(shard.name)/\(peer.name)"
                if left < Int128(applied) {
                    findings.append("\(place): \(left) left, but \(applied) was applied")
                } else if left - Int128(applied) > held {
                    findings.append(
                        "\(place): \(left - Int128(applied)) is missing at the destination, but the"
                            + " origin holds only \(held) as in flight")
                }
            }
        }
        return findings
    }
}

/// Law 6: trades and their reservations.
extension Venue {
    private struct Found {
        var shard: ShardContext
        var reservation: VenueState.Reservation
    }

    private static func trades(_ states: [(shard: ShardContext, state: VenueState)]) -> [String] {
        var found: [VenueState.ReservationKey: [Found]] = [:]
        var present: [ShardID: VenueState] = [:]
        for (shard, state) in states {
            present[shard.shard] = state
            for (key, reservation) in state.reservations {
                found[key, default: []].append(Found(shard: shard, reservation: reservation))
            }
        }
        var findings: [String] = []
        for (shard, state) in states where state.role == .trades {
            for (tradeID, trade) in state.trades.sorted(by: { $0.key < $1.key }) {
                let key = VenueState.ReservationKey(origin: shard.shard, tradeID: tradeID)
                let home = state.collateralShard(of: trade.account)
                let isHomePresent = home.map { present[$0] != nil } ?? false
                findings += check(
                    trade, "\(shard.name), trade \(tradeID)", found[key] ?? [], isHomePresent)
            }
        }
        for (key, holders) in found.sorted(by: { $0.key < $1.key }) {
            for holder in holders {
                let origin = holder.shard.directory.name(of: key.origin)
                let text =
                    "\(holder.shard.name): a reservation of \(holder.reservation.margin)"
                    + " for account \(holder.reservation.account)"
                if VenueState.Role(name: origin) != .trades {
                    findings.append("\(text), trade \(key.tradeID) of \(origin), no trade shard")
                } else if let state = present[key.origin], state.trades[key.tradeID] == nil {
                    findings.append("\(text), but \(origin) has no trade \(key.tradeID)")
                }
            }
        }
        return findings
    }

    private static func check(
        _ trade: VenueState.Trade, _ place: String, _ found: [Found], _ isHomePresent: Bool
    ) -> [String] {
        var findings: [String] = []
        switch trade.status {
        case .confirmed:
            if isHomePresent && found.count != 1 || found.count > 1 {
                findings.append("\(place): confirmed with \(found.count) reservations, not 1")
            }
        case .requested, .closing:
            if found.count > 1 {
                findings.append(
                    "\(place): \(trade.status.name) with \(found.count) reservations, at most 1")
            }
        case .rejected, .timedOut, .closed:
            if !found.isEmpty {
                findings.append(
                    "\(place): \(trade.status.name) with \(found.count) reservations, not 0")
            }
        }
        for holder in found
        where holder.reservation.margin != trade.margin
            || holder.reservation.account != trade.account
        {
            findings.append(
                "\(place): margin \(trade.margin) for account \(trade.account), but"
                    + " \(holder.shard.name) holds \(holder.reservation.margin)"
                    + " for account \(holder.reservation.account)")
        }
        return findings
    }
}
