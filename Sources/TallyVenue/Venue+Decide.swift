public import TallyCore

/// What a stimulus leads to. The state is the one before the stimulus, and the fold will apply the
/// stimulus, then the answers, then the sends: a command's own money therefore comes first, and what
/// is left of it goes to the deferred reservations whose turn it is.
extension Venue {
    public static func decide(
        _ stimulus: Stimulus, _ state: VenueState, _ shard: ShardContext
    ) throws(Refusal) -> Decision {
        switch stimulus {
        case .command(let payload):
            guard let command = VenueCommand.decode(payload) else {
                throw Refusal("the command cannot be read")
            }
            switch command {
            case .deposit, .transfer, .settle:
                guard state.role == .collateral else {
                    throw Refusal("\(shard.name) is no collateral shard")
                }
                return try decideMoney(command, state, shard)
            case .trade(let tradeID, let account, let margin, let deferAnswer, let deadline):
                try requireTradeShard(state, shard)
                guard margin > 0 else { throw Refusal("the margin \(margin) is not positive") }
                guard state.trades[tradeID] == nil else {
                    throw Refusal("trade \(tradeID) exists already")
                }
                let message = VenueMessage.reserve(
                    tradeID: tradeID, account: account, margin: margin, deferred: deferAnswer)
                let home = try home(of: account, state)
                return Decision(
                    sends: [.init(to: home, message.encode(), deadlineAfter: deadline)])
            case .close(let tradeID):
                try requireTradeShard(state, shard)
                guard let trade = state.trades[tradeID] else {
                    throw Refusal("trade \(tradeID) is unknown")
                }
                guard trade.status == .confirmed else {
                    throw Refusal("trade \(tradeID) is \(trade.status.name), not confirmed")
                }
                let message = VenueMessage.release(tradeID: tradeID, account: trade.account)
                let home = try home(of: trade.account, state)
                return Decision(sends: [.init(to: home, message.encode())])
            }
        case .message(let name, let payload):
            return answer(name, payload, state, shard)
        case .outcome:
            // The fold of the outcome says it all.
            return Decision()
        }
    }

    private static func requireTradeShard(
        _ state: VenueState, _ shard: ShardContext
    ) throws(Refusal) {
        guard state.role == .trades else { throw Refusal("\(shard.name) is no trade shard") }
    }

    private static func home(of account: UInt32, _ state: VenueState) throws(Refusal) -> ShardID {
        guard let home = state.collateralShard(of: account) else {
            throw Refusal("the ledger has no collateral shard")
        }
        return home
    }

    private static func requireHome(
        of account: UInt32, _ state: VenueState, _ shard: ShardContext
    ) throws(Refusal) {
        let home = try home(of: account, state)
        guard home == shard.shard else {
            throw Refusal("account \(account) lives on \(shard.directory.name(of: home))")
        }
    }

    private static func decideMoney(
        _ command: VenueCommand, _ state: VenueState, _ shard: ShardContext
    ) throws(Refusal) -> Decision {
        var draft = VenueDraft(state, shard)
        var sends: [Decision.Send] = []
        var result: [UInt8] = []
        switch command {
        case .deposit(let account, let amount):
            guard amount > 0 else { throw Refusal("the amount \(amount) is not positive") }
            try requireHome(of: account, state, shard)
            guard state.canTakeIn(amount) else {
                throw Refusal("a deposit of \(amount) overflows the money of \(shard.name)")
            }
            draft.pay(account, amount)
        case .transfer(let from, let to, let amount, let deadline):
            guard amount > 0 else { throw Refusal("the amount \(amount) is not positive") }
            guard from != to else { throw Refusal("account \(from) cannot pay itself") }
            try requireHome(of: from, state, shard)
            guard let payer = state.accounts[from] else {
                throw Refusal("account \(from) is unknown")
            }
            guard payer.free >= amount else {
                throw Refusal("account \(from) has \(payer.free) free, \(amount) is asked")
            }
            let home = try home(of: to, state)
            if home == shard.shard {
                guard let payee = state.accounts[to] else {
                    throw Refusal("account \(to) is unknown")
                }
                guard payee.free.plus(amount) != nil else {
                    throw Refusal("a transfer of \(amount) overflows account \(to)")
                }
                draft.pay(to, amount)
            } else {
                guard (state.channels[home]?.sent ?? 0).plus(amount) != nil else {
                    throw Refusal("a transfer of \(amount) overflows the total of its channel")
                }
                let message = VenueMessage.credit(account: to, amount: amount, from: from)
                sends.append(.init(to: home, message.encode(), deadlineAfter: deadline))
            }
            draft.take(from, amount)
        case .settle:
            draft.answerDeferred(leaving: 0)
            result = Array("\(draft.answers.count) answered".utf8)
        case .trade, .close:
            throw Refusal("\(shard.name) is no trade shard")
        }
        draft.answerDeferred(leaving: deferredMax)
        return Decision(answers: draft.answers, sends: sends, result: result)
    }

    private static func answer(
        _ name: MessageName, _ payload: [UInt8], _ state: VenueState, _ shard: ShardContext
    ) -> Decision {
        guard state.role == .collateral else {
            let reason = "\(shard.name) is no collateral shard"
            return Decision(answers: [.init(name, accepted: false, payload: Array(reason.utf8))])
        }
        var draft = VenueDraft(state, shard)
        draft.answerDeferred(leaving: deferredMax)
        if let message = VenueMessage.decode(payload) {
            if !message.isDeferred { draft.answer(name, message) }
        } else {
            draft.reject(name, "the message cannot be read")
        }
        return Decision(answers: draft.answers)
    }
}

extension VenueState {
    /// Whether money from outside, or from another shard, still fits.
    ///
    /// The bound is on all that ever came in. So nothing that lives on this shard, and nothing that
    /// comes back to it, can overflow.
    func canTakeIn(_ amount: Int64) -> Bool {
        var total = Int128(deposits) + Int128(amount)
        for channel in channels.values { total += Int128(channel.applied) }
        return total <= Int128(Int64.max)
    }
}

/// The answers of one decision, and what they have used up so far.
private struct VenueDraft {
    private let state: VenueState
    private let shard: ShardContext
    private var free: [UInt32: Int64] = [:]
    private var reserved: [VenueState.ReservationKey: Bool] = [:]
    private var answered = 0
    private(set) var answers: [Decision.Answer] = []

    init(_ state: VenueState, _ shard: ShardContext) {
        self.state = state
        self.shard = shard
    }

    mutating func pay(_ account: UInt32, _ amount: Int64) {
        free[account] = (freeNow(account) ?? 0).plus(amount) ?? Int64.max
    }

    mutating func take(_ account: UInt32, _ amount: Int64) {
        free[account] = (freeNow(account) ?? 0).minus(amount) ?? Int64.min
    }

    private func freeNow(_ account: UInt32) -> Int64? {
        free[account] ?? state.accounts[account]?.free
    }

    private func isReserved(_ key: VenueState.ReservationKey) -> Bool {
        reserved[key] ?? (state.reservations[key] != nil)
    }

    /// Answers the oldest deferred reservations until only so many wait.
    mutating func answerDeferred(leaving count: Int) {
        while state.deferred.count - answered > count {
            let place = state.deferred[answered]
            answered += 1
            guard let message = state.owed[place] else { continue }
            let name = MessageName(from: place.peer, to: shard.shard, place.sequence)
            answer(name, message)
        }
    }

    mutating func answer(_ name: MessageName, _ message: VenueMessage) {
        switch message {
        case .reserve(let tradeID, let account, let margin, _):
            let key = VenueState.ReservationKey(origin: name.channel.origin, tradeID: tradeID)
            guard isFrom(.trades, name), isHere(name, account) else { return }
            guard let available = freeNow(account) else {
                return reject(name, "account \(account) is unknown")
            }
            guard !isReserved(key) else {
                return reject(name, "trade \(tradeID) is reserved already")
            }
            guard available >= margin else {
                return reject(name, "\(available) free, \(margin) asked")
            }
            take(account, margin)
            reserved[key] = true
        case .release(let tradeID, let account):
            let key = VenueState.ReservationKey(origin: name.channel.origin, tradeID: tradeID)
            // A reservation made in this very decision is released by a later message only.
            guard let reservation = state.reservations[key], isReserved(key) else {
                return reject(name, "trade \(tradeID) is not reserved")
            }
            guard reservation.account == account else {
                return reject(name, "trade \(tradeID) is of account \(reservation.account)")
            }
            pay(account, reservation.margin)
            reserved[key] = false
        case .credit(let account, let amount, _):
            guard isFrom(.collateral, name), isHere(name, account) else { return }
            guard freeNow(account) != nil else {
                return reject(name, "account \(account) is unknown")
            }
            guard state.canTakeIn(amount) else { return reject(name, "\(amount) overflows") }
            pay(account, amount)
        }
        answers.append(.init(name, accepted: true))
    }

    mutating func reject(_ name: MessageName, _ reason: String) {
        answers.append(.init(name, accepted: false, payload: Array(reason.utf8)))
    }

    /// Margin is asked for by trade shards, money is sent by collateral shards, and by nobody else.
    private mutating func isFrom(_ role: VenueState.Role, _ name: MessageName) -> Bool {
        let origin = shard.directory.name(of: name.channel.origin)
        guard VenueState.Role(name: origin) == role else {
            reject(name, "\(origin) cannot ask for this")
            return false
        }
        return true
    }

    private mutating func isHere(_ name: MessageName, _ account: UInt32) -> Bool {
        guard let home = state.collateralShard(of: account), home == shard.shard else {
            reject(name, "account \(account) does not live on \(shard.name)")
            return false
        }
        return true
    }
}
