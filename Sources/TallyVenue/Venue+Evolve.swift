public import TallyCore

/// The fold: what each event does to the state. Nothing is decided again here; an event that makes no
/// sense changes nothing but the count of strange ones, which ``Venue/law(_:)`` reports.
extension Venue {
    /// The longest command or message; what is longer is neither, and is not copied.
    private static let payloadLengthMax = 64

    /// Folds one event.
    ///
    /// - Complexity: O(1), plus a copy of a payload of a few dozen bytes where it is needed.
    public static func evolve(
        _ state: inout VenueState, _ event: Event, _ payload: RawSpan, _ shard: ShardContext
    ) {
        let place = VenueState.PeerSequence(event.peer, event.sequence)
        let makesSense: Bool
        switch event.kind {
        case .commanded:
            makesSense =
                short(payload).flatMap(VenueCommand.decode)
                .map { state.commanded($0, at: shard.shard) } ?? false
        case .sent:
            makesSense =
                short(payload).flatMap(VenueMessage.decode)
                .map { state.sent($0, place) } ?? false
        case .received:
            switch event.outcome {
            case .applied:
                // What cannot be read is not remembered: it is rejected, and that changes nothing.
                let message = short(payload).flatMap(VenueMessage.decode)
                makesSense = message.map { state.received($0, place) } ?? true
            case .expired: makesSense = true
            default: makesSense = false
            }
        case .answered:
            makesSense = state.answered(place, event.outcome)
        case .acknowledged:
            switch event.outcome {
            case .accepted: makesSense = state.settled(place, .accepted)
            case .rejected: makesSense = state.settled(place, .rejected)
            default: makesSense = false
            }
        case .timedOut:
            makesSense = state.settled(place, .timedOut)
        case .intervened:
            if event.reason == .peer { state.interventions &+= 1 }
            makesSense = true
        case .noted:
            makesSense = false
        case .opened, .reemitted, .conflicted, .witnessed:
            makesSense = true
        }
        if !makesSense { state.strange &+= 1 }
    }

    private static func short(_ payload: RawSpan) -> [UInt8]? {
        payload.byteCount <= payloadLengthMax ? payload.copied : nil
    }
}

/// One method per thing that happened. Each returns whether it made sense; where it did not, it has
/// changed nothing.
extension VenueState {
    fileprivate mutating func commanded(_ command: VenueCommand, at shard: ShardID) -> Bool {
        switch command {
        case .deposit(let account, let amount):
            let before = accounts[account] ?? Account()
            guard role == .collateral, amount > 0, let free = before.free.plus(amount),
                let deposited = deposits.plus(amount)
            else { return false }
            accounts[account] = Account(free: free, reserved: before.reserved)
            deposits = deposited
            return true
        case .transfer(let from, let to, let amount, _):
            guard role == .collateral, amount > 0, from != to else { return false }
            // A transfer to another shard takes effect at its `sent`.
            guard collateralShard(of: to) == shard else { return true }
            guard let payer = accounts[from]?.free.minus(amount),
                let payee = accounts[to]?.free.plus(amount)
            else { return false }
            accounts[from]?.free = payer
            accounts[to]?.free = payee
            return true
        case .settle:
            return role == .collateral
        case .trade, .close:
            return role == .trades
        }
    }

    fileprivate mutating func sent(_ message: VenueMessage, _ place: PeerSequence) -> Bool {
        switch message {
        case .credit(_, let amount, let from):
            var totals = channels[place.peer] ?? ChannelTotals()
            guard role == .collateral, inFlight[place] == nil,
                let free = accounts[from]?.free.minus(amount), let sent = totals.sent.plus(amount)
            else { return false }
            accounts[from]?.free = free
            totals.sent = sent
            channels[place.peer] = totals
            inFlight[place] = Flight(from: from, amount: amount)
            return true
        case .reserve(let tradeID, let account, let margin, _):
            guard role == .trades, pending[place] == nil, trades[tradeID] == nil else {
                return false
            }
            trades[tradeID] = Trade(account: account, margin: margin, status: .requested)
            pending[place] = Pending(tradeID: tradeID, isRelease: false)
            return true
        case .release(let tradeID, _):
            guard role == .trades, pending[place] == nil, trades[tradeID]?.status == .confirmed
            else { return false }
            trades[tradeID]?.status = .closing
            pending[place] = Pending(tradeID: tradeID, isRelease: true)
            return true
        }
    }

    fileprivate mutating func received(_ message: VenueMessage, _ place: PeerSequence) -> Bool {
        // Another shard rejects whatever it is sent, so there is nothing to remember.
        guard role == .collateral else { return true }
        guard owed[place] == nil else { return false }
        owed[place] = message
        if message.isDeferred { deferred.append(place) }
        return true
    }

    fileprivate mutating func answered(_ place: PeerSequence, _ outcome: Outcome) -> Bool {
        let message = owed.removeValue(forKey: place)
        if let message, message.isDeferred, let index = deferred.firstIndex(of: place) {
            deferred.remove(at: index)
        }
        guard outcome == .accepted else { return outcome == .rejected }
        switch message {
        case .reserve(let tradeID, let account, let margin, _):
            let key = ReservationKey(origin: place.peer, tradeID: tradeID)
            guard reservations[key] == nil, let before = accounts[account],
                let free = before.free.minus(margin), let reserved = before.reserved.plus(margin)
            else { return false }
            accounts[account] = Account(free: free, reserved: reserved)
            reservations[key] = Reservation(account: account, margin: margin)
            return true
        case .release(let tradeID, let account):
            let key = ReservationKey(origin: place.peer, tradeID: tradeID)
            guard let reservation = reservations[key], reservation.account == account,
                let before = accounts[account],
                let free = before.free.plus(reservation.margin),
                let reserved = before.reserved.minus(reservation.margin)
            else { return false }
            accounts[account] = Account(free: free, reserved: reserved)
            reservations[key] = nil
            return true
        case .credit(let account, let amount, _):
            var totals = channels[place.peer] ?? ChannelTotals()
            guard let free = accounts[account]?.free.plus(amount),
                let applied = totals.applied.plus(amount)
            else { return false }
            accounts[account]?.free = free
            totals.applied = applied
            channels[place.peer] = totals
            return true
        case nil:
            return false
        }
    }

    fileprivate mutating func settled(_ place: PeerSequence, _ result: MessageResult) -> Bool {
        switch role {
        case .trades: settledTrade(place, result)
        case .collateral: settledCredit(place, result)
        case .other: false
        }
    }

    private mutating func settledTrade(_ place: PeerSequence, _ result: MessageResult) -> Bool {
        guard let message = pending[place], let status = trades[message.tradeID]?.status,
            status == (message.isRelease ? .closing : .requested)
        else { return false }
        pending[place] = nil
        switch (message.isRelease, result) {
        case (false, .accepted): trades[message.tradeID]?.status = .confirmed
        case (false, .rejected): trades[message.tradeID]?.status = .rejected
        case (false, .timedOut): trades[message.tradeID]?.status = .timedOut
        case (true, .accepted): trades[message.tradeID]?.status = .closed
        // The margin was not released as far as this shard knows; the trade can be closed again, and
        // if the reservation has gone the law says so.
        case (true, .rejected), (true, .timedOut): trades[message.tradeID]?.status = .confirmed
        }
        return true
    }

    private mutating func settledCredit(_ place: PeerSequence, _ result: MessageResult) -> Bool {
        guard let flight = inFlight[place] else { return false }
        guard result != .accepted else {
            inFlight[place] = nil
            return true
        }
        guard var totals = channels[place.peer], let free = accounts[flight.from]?.free,
            let restored = free.plus(flight.amount),
            let returned = totals.returned.plus(flight.amount)
        else { return false }
        accounts[flight.from]?.free = restored
        totals.returned = returned
        channels[place.peer] = totals
        inFlight[place] = nil
        return true
    }
}
