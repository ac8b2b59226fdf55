/// The program for ledgers whose program is not at hand: no application state, payloads as bytes.
public enum Opaque: Program {
    /// Nothing.
    public struct State: Sendable {}
    public static var name: String { "" }
    public static var foldVersion: UInt32 { 0 }
    public static func initial(_ shard: ShardContext) -> State { State() }

    public static func decide(
        _ stimulus: Stimulus, _ state: State, _ shard: ShardContext
    ) throws(Refusal) -> Decision {
        throw Refusal("the program of this ledger is not part of this tool; use its own")
    }

    public static func evolve(
        _ state: inout State, _ event: Event, _ payload: RawSpan, _ shard: ShardContext
    ) {}

    public static func encode(_ state: State) -> [UInt8] { [] }
    public static func decode(_ bytes: [UInt8], _ shard: ShardContext) -> State? { State() }

    /// Printable ASCII as it is, else hexadecimal.
    static func text(of payload: [UInt8]) -> String {
        let shown = payload.prefix(64)
        let isText = !payload.isEmpty && shown.allSatisfy { $0 >= 0x20 && $0 < 0x7F }
        let more = payload.count > shown.count ? "..." : ""
        if isText { return String(decoding: shown, as: UTF8.self) + more }
        var digits: [UInt8] = []
        for byte in payload.prefix(32) {
            digits.append(hexadecimalDigits[Int(byte >> 4)])
            digits.append(hexadecimalDigits[Int(byte & 15)])
        }
        return String(decoding: digits, as: UTF8.self) + (payload.count > 32 ? "..." : "")
    }
}
