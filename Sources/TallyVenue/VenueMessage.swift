/// What one shard of the venue asks of another. Payload: a tag byte, then the fields in the order of
/// the case.
///
/// | tag | message | fields |
/// |---|---|---|
/// | 81 | reserve | trade u64, account u32, margin i64, deferred u8 (0 or 1) |
/// | 82 | release | trade u64, account u32 |
/// | 83 | credit | account u32, amount i64, from u32 |
///
/// A credit names the account that paid: the `sent` alone then says what to debit, and an auditor sees
/// both sides of the entry in either log.
public enum VenueMessage: Hashable, Sendable {
    /// Trade shard to collateral shard: hold this margin for this trade.
    case reserve(tradeID: UInt64, account: UInt32, margin: Int64, deferred: Bool)
    /// Trade shard to collateral shard: the margin of this trade is free again.
    case release(tradeID: UInt64, account: UInt32)
    /// Collateral shard to collateral shard: money for an account, paid by another.
    case credit(account: UInt32, amount: Int64, from: UInt32)

    /// The message's payload.
    ///
    /// A margin or amount must be positive: others have a form, but ``decode(_:)`` refuses it.
    public func encode() -> [UInt8] {
        var writer = VenueWriter()
        switch self {
        case .reserve(let tradeID, let account, let margin, let deferred):
            writer.byte(0x81)
            writer.word(tradeID)
            writer.half(account)
            writer.money(margin)
            writer.byte(deferred ? 1 : 0)
        case .release(let tradeID, let account):
            writer.byte(0x82)
            writer.word(tradeID)
            writer.half(account)
        case .credit(let account, let amount, let from):
            writer.byte(0x83)
            writer.half(account)
            writer.money(amount)
            writer.half(from)
        }
        return writer.bytes
    }

    /// Reads what ``encode()`` wrote.
    ///
    /// - Returns: `nil` for any other bytes, trailing ones and amounts below 1 included.
    public static func decode(_ payload: [UInt8]) -> VenueMessage? {
        var reader = VenueReader(payload)
        guard let message = read(&reader), reader.isAtEnd else { return nil }
        return message
    }

    private static func read(_ reader: inout VenueReader) -> VenueMessage? {
        switch reader.byte() {
        case 0x81:
            guard let tradeID = reader.word(), let account = reader.half(),
                let margin = reader.money(), margin > 0, let deferred = reader.byte(), deferred <= 1
            else { return nil }
            return .reserve(
                tradeID: tradeID, account: account, margin: margin, deferred: deferred == 1)
        case 0x82:
            guard let tradeID = reader.word(), let account = reader.half() else { return nil }
            return .release(tradeID: tradeID, account: account)
        case 0x83:
            guard let account = reader.half(), let amount = reader.money(), amount > 0,
                let from = reader.half()
            else { return nil }
            return .credit(account: account, amount: amount, from: from)
        default:
            return nil
        }
    }

    /// Whether this is a reservation whose answer waits for a later stimulus.
    var isDeferred: Bool {
        if case .reserve(_, _, _, true) = self { return true }
        return false
    }
}

extension VenueMessage: CustomStringConvertible {
    /// The message in words.
    public var description: String {
        switch self {
        case .reserve(let tradeID, let account, let margin, let deferred):
            return "reserve \(margin) for account \(account), trade \(tradeID)"
                + (deferred ? ", answer deferred" : "")
        case .release(let tradeID, let account):
            return "release trade \(tradeID) of account \(account)"
        case .credit(let account, let amount, let from):
            return "credit \(amount) to account \(account) from account \(from)"
        }
    }
}
