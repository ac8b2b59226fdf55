/// What a client may ask of the venue. Payload: a tag byte, then the fields in the order of the case.
///
/// | tag | command | fields | performed at |
/// |---|---|---|---|
/// | 01 | deposit | account u32, amount i64 | the account's collateral shard |
/// | 02 | transfer | from u32, to u32, amount i64, flags u8, deadline u64 | the collateral shard of `from` |
/// | 03 | settle | | a collateral shard |
/// | 04 | trade | trade u64, account u32, margin i64, flags u8, deadline u64 | any trade shard |
/// | 05 | close | trade u64 | the trade's trade shard |
///
/// Flags: bit 0, the answer is deferred (trade only); bit 1, a deadline follows. No other bit is set,
/// and without bit 1 the deadline is absent. Tags below 80 are commands, tags from 80 on are messages,
/// and no text begins with either.
public enum VenueCommand: Hashable, Sendable {
    /// Pays money in from outside; opens the account when it is new.
    case deposit(account: UInt32, amount: Int64)
    /// Moves free money to another account; the deadline, in nanoseconds, is that of the credit when
    /// the other account lives on another shard.
    case transfer(from: UInt32, to: UInt32, amount: Int64, deadline: UInt64? = nil)
    /// Answers every deferred reservation of the shard.
    case settle
    /// Requests a trade; its margin is reserved at the account's collateral shard.
    case trade(
        tradeID: UInt64, account: UInt32, margin: Int64, deferAnswer: Bool = false,
        deadline: UInt64? = nil)
    /// Closes a confirmed trade; its margin is released.
    case close(tradeID: UInt64)

    /// The command's payload.
    public func encode() -> [UInt8] {
        var writer = VenueWriter()
        switch self {
        case .deposit(let account, let amount):
            writer.byte(0x01)
            writer.half(account)
            writer.money(amount)
        case .transfer(let from, let to, let amount, let deadline):
            writer.byte(0x02)
            writer.half(from)
            writer.half(to)
            writer.money(amount)
            writer.byte(deadline == nil ? 0 : 2)
            if let deadline { writer.word(deadline) }
        case .settle:
            writer.byte(0x03)
        case .trade(let tradeID, let account, let margin, let deferAnswer, let deadline):
            writer.byte(0x04)
            writer.word(tradeID)
            writer.half(account)
            writer.money(margin)
            writer.byte((deferAnswer ? 1 : 0) | (deadline == nil ? 0 : 2))
            if let deadline { writer.word(deadline) }
        case .close(let tradeID):
            writer.byte(0x05)
            writer.word(tradeID)
        }
        return writer.bytes
    }

    /// Reads what ``encode()`` wrote.
    ///
    /// Amounts are not judged here: one that is not positive is a refusal with a reason.
    ///
    /// - Returns: `nil` for any other bytes, trailing ones included.
    public static func decode(_ payload: [UInt8]) -> VenueCommand? {
        var reader = VenueReader(payload)
        guard let command = read(&reader), reader.isAtEnd else { return nil }
        return command
    }

    private static func read(_ reader: inout VenueReader) -> VenueCommand? {
        switch reader.byte() {
        case 0x01:
            guard let account = reader.half(), let amount = reader.money() else { return nil }
            return .deposit(account: account, amount: amount)
        case 0x02:
            guard let from = reader.half(), let to = reader.half(), let amount = reader.money(),
                let flags = reader.byte(), flags & ~2 == 0
            else { return nil }
            guard flags & 2 != 0 else { return .transfer(from: from, to: to, amount: amount) }
            guard let deadline = reader.word() else { return nil }
            return .transfer(from: from, to: to, amount: amount, deadline: deadline)
        case 0x03:
            return .settle
        case 0x04:
            guard let tradeID = reader.word(), let account = reader.half(),
                let margin = reader.money(), let flags = reader.byte(), flags & ~3 == 0
            else { return nil }
            var deadline: UInt64?
            if flags & 2 != 0 {
                guard let value = reader.word() else { return nil }
                deadline = value
            }
            return .trade(
                tradeID: tradeID, account: account, margin: margin, deferAnswer: flags & 1 == 1,
                deadline: deadline)
        case 0x05:
            return reader.word().map { .close(tradeID: $0) }
        default:
            return nil
        }
    }
}

extension VenueCommand: CustomStringConvertible {
    /// The command in words.
    public var description: String {
        switch self {
        case .deposit(let account, let amount):
            return "deposit \(amount) into account \(account)"
        case .transfer(let from, let to, let amount, let deadline):
            let tail = deadline.map { ", deadline \($0) ns" } ?? ""
            return "transfer \(amount) from account \(from) to account \(to)" + tail
        case .settle:
            return "settle deferred answers"
        case .trade(let tradeID, let account, let margin, let deferAnswer, let deadline):
            let tail = deadline.map { ", deadline \($0) ns" } ?? ""
            return "trade \(tradeID), margin \(margin), account \(account)"
                + (deferAnswer ? ", answer deferred" : "") + tail
        case .close(let tradeID):
            return "close trade \(tradeID)"
        }
    }
}
