public import TallyCore

/// The encoded state.
///
///     version u8 = 1, role u8, strange u64, interventions u64, deposits i64
///     accounts      count u32, each: account u32, free i64, reserved i64
///     reservations  count u32, each: origin u32, trade u64, account u32, margin i64
///     in flight     count u32, each: peer u32, sequence u64, from u32, amount i64
///     channels      count u32, each: peer u32, sent i64, returned i64, applied i64
///     owed          count u32, each: peer u32, sequence u64, length u8, message
///     deferred      count u32, each: peer u32, sequence u64
///     trades        count u32, each: trade u64, account u32, margin i64, status u8
///     pending       count u32, each: peer u32, sequence u64, trade u64, release u8 (0 or 1)
///
/// Valid if and only if (1) the version is 1 and the role is that of the shard, (2) every table but
/// `deferred` ascends strictly by its key, (3) every message and every status can be read,
/// (4) `deferred` names each deferred message of `owed` exactly once and nothing else, (5) nothing
/// follows. Amounts are not judged: a state that breaks the law can be kept and compared, too.
extension Venue {
    private static let encodingVersion: UInt8 = 1

    /// The state's canonical bytes.
    ///
    /// - Complexity: O(n log n) for the sorts.
    public static func encode(_ state: VenueState) -> [UInt8] {
        var writer = VenueWriter()
        writer.byte(encodingVersion)
        writer.byte(state.role.rawValue)
        writer.word(state.strange)
        writer.word(state.interventions)
        writer.money(state.deposits)
        writer.table(state.accounts) { writer, id, account in
            writer.half(id)
            writer.money(account.free)
            writer.money(account.reserved)
        }
        writer.table(state.reservations) { writer, key, reservation in
            writer.half(key.origin.rawValue)
            writer.word(key.tradeID)
            writer.half(reservation.account)
            writer.money(reservation.margin)
        }
        writer.table(state.inFlight) { writer, place, flight in
            writer.place(place)
            writer.half(flight.from)
            writer.money(flight.amount)
        }
        writer.table(state.channels) { writer, peer, totals in
            writer.half(peer.rawValue)
            writer.money(totals.sent)
            writer.money(totals.returned)
            writer.money(totals.applied)
        }
        writer.table(state.owed) { writer, place, message in
            let bytes = message.encode()
            writer.place(place)
            writer.byte(UInt8(truncatingIfNeeded: bytes.count))
            writer.append(bytes)
        }
        writer.half(UInt32(truncatingIfNeeded: state.deferred.count))
        for place in state.deferred { writer.place(place) }
        writer.table(state.trades) { writer, tradeID, trade in
            writer.word(tradeID)
            writer.half(trade.account)
            writer.money(trade.margin)
            writer.byte(trade.status.rawValue)
        }
        writer.table(state.pending) { writer, place, message in
            writer.place(place)
            writer.word(message.tradeID)
            writer.byte(message.isRelease ? 1 : 0)
        }
        return writer.bytes
    }

    /// Reads what ``encode(_:)`` wrote.
    ///
    /// - Returns: `nil` when the bytes are no state, or one of a shard with another role.
    public static func decode(_ bytes: [UInt8], _ shard: ShardContext) -> VenueState? {
        var reader = VenueReader(bytes)
        var state = VenueState(shard)
        guard reader.byte() == encodingVersion, reader.byte() == state.role.rawValue,
            let strange = reader.word(), let interventions = reader.word(),
            let deposits = reader.money()
        else { return nil }
        state.strange = strange
        state.interventions = interventions
        state.deposits = deposits
        guard readMoney(&reader, into: &state), readTrades(&reader, into: &state), reader.isAtEnd
        else { return nil }
        return state
    }

    private static func readMoney(
        _ reader: inout VenueReader, into state: inout VenueState
    ) -> Bool {
        let accounts = reader.table(entryLength: 20) { reader -> (UInt32, VenueState.Account)? in
            guard let id = reader.half(), let free = reader.money(), let reserved = reader.money()
            else { return nil }
            return (id, .init(free: free, reserved: reserved))
        }
        let reservations = reader.table(entryLength: 24) {
            reader -> (VenueState.ReservationKey, VenueState.Reservation)? in
            guard let origin = reader.half(), let tradeID = reader.word(),
                let account = reader.half(), let margin = reader.money()
            else { return nil }
            return (
                .init(origin: ShardID(origin), tradeID: tradeID),
                .init(account: account, margin: margin)
            )
        }
        let inFlight = reader.table(entryLength: 24) {
            reader -> (VenueState.PeerSequence, VenueState.Flight)? in
            guard let place = reader.place(), let from = reader.half(), let amount = reader.money()
            else { return nil }
            return (place, .init(from: from, amount: amount))
        }
        let channels = reader.table(entryLength: 28) {
            reader -> (ShardID, VenueState.ChannelTotals)? in
            guard let peer = reader.half(), let sent = reader.money(),
                let returned = reader.money(), let applied = reader.money()
            else { return nil }
            return (ShardID(peer), .init(sent: sent, returned: returned, applied: applied))
        }
        guard let accounts, let reservations, let inFlight, let channels else { return false }
        state.accounts = accounts
        state.reservations = reservations
        state.inFlight = inFlight
        state.channels = channels
        return readOwed(&reader, into: &state)
    }

    private static func readOwed(
        _ reader: inout VenueReader, into state: inout VenueState
    ) -> Bool {
        let owed = reader.table(entryLength: 14) {
            reader -> (VenueState.PeerSequence, VenueMessage)? in
            guard let place = reader.place(), let length = reader.byte(),
                let bytes = reader.take(Int(length)), let message = VenueMessage.decode(bytes)
            else { return nil }
            return (place, message)
        }
        guard let owed, let count = reader.count(ofEntries: 12) else { return false }
        var seen: Set<VenueState.PeerSequence> = []
        for _ in 0..<count {
            guard let place = reader.place(), owed[place]?.isDeferred == true,
                seen.insert(place).inserted
            else { return false }
            state.deferred.append(place)
        }
        state.owed = owed
        return owed.values.count(where: { $0.isDeferred }) == count
    }

    private static func readTrades(
        _ reader: inout VenueReader, into state: inout VenueState
    ) -> Bool {
        let trades = reader.table(entryLength: 21) { reader -> (UInt64, VenueState.Trade)? in
            guard let tradeID = reader.word(), let account = reader.half(),
                let margin = reader.money(),
                let status = reader.byte().flatMap(VenueState.TradeStatus.init(rawValue:))
            else { return nil }
            return (tradeID, .init(account: account, margin: margin, status: status))
        }
        let pending = reader.table(entryLength: 21) {
            reader -> (VenueState.PeerSequence, VenueState.Pending)? in
            guard let place = reader.place(), let tradeID = reader.word(),
                let release = reader.byte(), release <= 1
            else { return nil }
            return (place, .init(tradeID: tradeID, isRelease: release == 1))
        }
        guard let trades, let pending else { return false }
        state.trades = trades
        state.pending = pending
        return true
    }
}

extension VenueWriter {
    fileprivate mutating func place(_ place: VenueState.PeerSequence) {
        half(place.peer.rawValue)
        word(place.sequence.rawValue)
    }

    fileprivate mutating func table<Key: Comparable, Value>(
        _ table: [Key: Value], _ write: (inout VenueWriter, Key, Value) -> Void
    ) {
        half(UInt32(truncatingIfNeeded: table.count))
        for (key, value) in table.sorted(by: { $0.key < $1.key }) { write(&self, key, value) }
    }
}

extension VenueReader {
    fileprivate mutating func place() -> VenueState.PeerSequence? {
        guard let peer = half(), let sequence = word() else { return nil }
        return VenueState.PeerSequence(ShardID(peer), SequenceNumber(sequence))
    }

    /// Reads a table whose keys ascend strictly: any other order is another form of the same table.
    fileprivate mutating func table<Key: Hashable & Comparable, Value>(
        entryLength: Int, _ read: (inout VenueReader) -> (Key, Value)?
    ) -> [Key: Value]? {
        guard let count = count(ofEntries: entryLength) else { return nil }
        var table: [Key: Value] = Dictionary(minimumCapacity: count)
        var last: Key?
        for _ in 0..<count {
            guard let (key, value) = read(&self) else { return nil }
            if let last, last >= key { return nil }
            table[key] = value
            last = key
        }
        return table
    }
}
