import TallyCore

/// A store's stock, first version: payloads are text, `take 5`, in pieces. It wrote
/// `fixtures/versions/stock-1.jsonl`, which later versions have to read for ever, and is kept to show how.
enum StockOne: Program {
    struct State: Equatable, Sendable {
        var pieces: UInt64 = 0
        var refused: UInt64 = 0
    }

    static var name: String { "stock" }
    static var foldVersion: UInt32 { 1 }
    static func initial(_ shard: ShardContext) -> State { State() }

    static func decide(
        _ stimulus: Stimulus, _ state: State, _ shard: ShardContext
    ) throws(Refusal) -> Decision {
        switch stimulus {
        case .command(let payload):
            return Decision(
                notes: [Array("asked \(pieces(payload) ?? 0)".utf8)],
                sends: [.init(to: try shard.id(of: "store"), payload)])
        case .message(let name, let payload):
            let isThere = (pieces(payload) ?? 0) <= 50
            return Decision(answers: [.init(name, accepted: isThere, payload: payload)])
        case .outcome: return Decision()
        }
    }

    static func evolve(
        _ state: inout State, _ event: Event, _ payload: RawSpan, _ shard: ShardContext
    ) {
        if event.outcome == .accepted { state.pieces += pieces(payload.copied) ?? 0 }
        if event.outcome == .rejected { state.refused += 1 }
    }

    static func encode(_ state: State) -> [UInt8] { Array("\(state.pieces) \(state.refused)".utf8) }
    static func decode(_ bytes: [UInt8], _ shard: ShardContext) -> State? {
        let parts = String(decoding: bytes, as: UTF8.self).split(separator: " ").map { UInt64($0) }
        guard parts.count == 2, let pieces = parts[0], let refused = parts[1] else { return nil }
        return State(pieces: pieces, refused: refused)
    }

    /// The number behind the word; `nil` when the payload is not of this form.
    static func pieces(_ payload: [UInt8]) -> UInt64? {
        let words = String(decoding: payload, as: UTF8.self).split(separator: " ")
        return words.count == 2 ? UInt64(words[1]) : nil
    }
}

/// The second version: a tag, then grams, eight bytes; a piece of the first version weighs 100 g. It knows
/// its own form alone: anything else is a broken program.
enum StockTwo: Program {
    struct State: Equatable, Sendable {
        var grams: UInt64 = 0
        var refused: UInt64 = 0
        /// Payloads that were not of today's form.
        var unread: UInt64 = 0
    }

    static var name: String { "stock" }
    static var foldVersion: UInt32 { 2 }
    static func initial(_ shard: ShardContext) -> State { State() }

    static func payload(grams: UInt64) -> [UInt8] {
        var writer = ByteWriter()
        writer.write(0xF2 as UInt8)
        writer.write(grams)
        return writer.bytes
    }

    static func grams(_ payload: [UInt8]) -> UInt64? {
        var reader = ByteReader(payload)
        guard reader.read(UInt8.self) == 0xF2, let grams = reader.read(UInt64.self), reader.isAtEnd
        else { return nil }
        return grams
    }

    static func upcast(_ payload: RawSpan, of kind: EventKind) -> [UInt8]? {
        guard payload.byteCount > 0, grams(payload.copied) == nil else { return nil }
        return StockOne.pieces(payload.copied).map { Self.payload(grams: $0 * 100) }
    }

    static func decide(
        _ stimulus: Stimulus, _ state: State, _ shard: ShardContext
    ) throws(Refusal) -> Decision {
        switch stimulus {
        case .command(let payload):
            guard let grams = grams(payload) else { throw Refusal("this is no weight") }
            return Decision(
                notes: [Self.payload(grams: grams)],
                sends: [.init(to: try shard.id(of: "store"), Self.payload(grams: grams))])
        case .message(let name, let payload):
            guard let grams = grams(payload) else { throw Refusal("this is no weight") }
            return Decision(
                answers: [.init(name, accepted: grams <= 5000, payload: Self.payload(grams: grams))]
            )
        case .outcome(_, _, let payload):
            guard payload.isEmpty || grams(payload) != nil else { throw Refusal("no weight") }
            return Decision()
        }
    }

    static func evolve(
        _ state: inout State, _ event: Event, _ payload: RawSpan, _ shard: ShardContext
    ) {
        guard payload.byteCount > 0 else { return }
        guard let grams = grams(payload.copied) else {
            state.unread += 1
            return
        }
        if event.outcome == .accepted { state.grams += grams }
        if event.outcome == .rejected { state.refused += 1 }
    }

    static func encode(_ state: State) -> [UInt8] {
        Array("\(state.grams) \(state.refused) \(state.unread)".utf8)
    }
    static func decode(_ bytes: [UInt8], _ shard: ShardContext) -> State? {
        let parts = String(decoding: bytes, as: UTF8.self).split(separator: " ").map { UInt64($0) }
        guard parts.count == 3, let grams = parts[0], let refused = parts[1], let unread = parts[2]
        else { return nil }
        return State(grams: grams, refused: refused, unread: unread)
    }
    static func describe(_ payload: [UInt8]) -> String {
        grams(payload).map { "\($0) g" } ?? "unreadable"
    }
}
