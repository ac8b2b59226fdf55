public import TallyCore

/// A derivatives venue: trade shards that request margin, collateral shards that hold the money.
///
/// It is small enough to read and has what makes cross-shard work hard: a trade is confirmed on one
/// shard by money on another, a transfer leaves one shard before it arrives on the next, some answers
/// come much later than their messages, and some messages come too late to count.
///
/// A shard whose name begins `trades-` is a trade shard, `collateral-` a collateral shard; any other
/// refuses and rejects everything. An account lives on the collateral shard number
/// `account % count`, in the directory's order. Money is Int64, in minor units.
///
/// What a stimulus leads to is decided once, in `decide`; the fold takes its effect from the events
/// alone:
///
/// | event | effect |
/// |---|---|
/// | `commanded` deposit, or transfer within the shard | the money moves |
/// | `sent` credit | debit; the amount is in flight |
/// | `sent` reserve, release | the trade is requested, closing |
/// | `received` applied | the message is remembered; no money moves |
/// | `answered` accepted | reserve, release or credit takes effect |
/// | `acknowledged`, `timedOut` | in flight ends or goes back; the trade's status follows |
///
/// ## Deferred answers
///
/// A reservation may ask for its answer later. It then waits in a first-in-first-out line, holds no
/// money, and is decided when a later stimulus finds more than ``deferredMax`` waiting, or by the
/// command `settle`. What one decision gives away is counted within it: two reservations answered
/// together never spend the same money.
public enum Venue: Program {
    public typealias State = VenueState

    public static let name = "venue"
    public static let foldVersion: UInt32 = 1

    /// Deferred answers that may wait; the next message or command answers the oldest ones beyond.
    public static let deferredMax = 3

    /// The empty state of a shard; its role is in its name.
    public static func initial(_ shard: ShardContext) -> VenueState { VenueState(shard) }

    /// One line of text for a command, a message, or the text of an answer.
    ///
    /// - Returns: Other bytes in hexadecimal, at most 32 of them; nothing for nothing.
    public static func describe(_ payload: [UInt8]) -> String {
        if let command = VenueCommand.decode(payload) { return command.description }
        if let message = VenueMessage.decode(payload) { return message.description }
        if payload.count <= 256, let text = String(validating: payload, as: UTF8.self),
            text.unicodeScalars.allSatisfy({ !isControl($0) })
        {
            return text
        }
        let digits = Array("0123456789abcdef".utf8)
        var text: [UInt8] = []
        for byte in payload.prefix(32) {
            text.append(digits[Int(byte >> 4)])
            text.append(digits[Int(byte & 15)])
        }
        let tail = payload.count > 32 ? "... (\(payload.count) bytes)" : ""
        return String(decoding: text, as: UTF8.self) + tail
    }

    /// One line stays one line, and a terminal is not steered by what a peer wrote.
    private static func isControl(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator: true
        default: false
        }
    }

    /// Named values: the shard's sums, then its accounts by number.
    ///
    /// - Complexity: O(the state), and a sort of the accounts.
    public static func fields(_ state: VenueState) -> [(name: String, value: String)] {
        var free: Int128 = 0
        var reserved: Int128 = 0
        for account in state.accounts.values {
            free += Int128(account.free)
            reserved += Int128(account.reserved)
        }
        let inFlight = state.inFlight.values.reduce(Int128(0)) { $0 + Int128($1.amount) }
        var counts: [VenueState.TradeStatus: Int] = [:]
        for trade in state.trades.values { counts[trade.status, default: 0] += 1 }
        var fields: [(name: String, value: String)] = [
            ("role", state.role.name),
            ("accounts", "\(state.accounts.count)"),
            ("deposits", "\(state.deposits)"),
            ("free", "\(free)"),
            ("reserved", "\(reserved)"),
            ("inFlight", "\(inFlight)"),
            ("reservations", "\(state.reservations.count)"),
            ("owed", "\(state.owed.count)"),
            ("deferred", "\(state.deferred.count)"),
        ]
        for status in VenueState.TradeStatus.allCases {
            fields.append(("trades.\(status.name)", "\(counts[status] ?? 0)"))
        }
        fields.append(("strange", "\(state.strange)"))
        fields.append(("interventions", "\(state.interventions)"))
        for (id, account) in state.accounts.sorted(by: { $0.key < $1.key }) {
            fields.append(("account.\(id).free", "\(account.free)"))
            fields.append(("account.\(id).reserved", "\(account.reserved)"))
        }
        return fields
    }
}
