import Testing

/// A JSON value that keeps the order of its keys: where others build on a shape, the order is part
/// of it.
indirect enum OrderedJSON: Equatable {
    case object([Member])
    case array([OrderedJSON])
    case string(String)
    case number(String)
    case bool(Bool)
    case null

    struct Member: Equatable {
        var key: String
        var value: OrderedJSON
    }

    struct Malformed: Error {
        var text: String
    }

    init(_ text: String) throws {
        var rest = Substring(text)
        self = try Self.value(&rest)
        Self.skip(&rest)
        guard rest.isEmpty else { throw Malformed(text: text) }
    }

    // MARK: What a test asks

    var keys: [String] {
        if case .object(let members) = self { members.map(\.key) } else { [] }
    }
    var items: [OrderedJSON] {
        if case .array(let items) = self { items } else { [] }
    }
    var text: String? {
        if case .string(let text) = self { text } else { nil }
    }
    /// A whole number.
    var count: Int? {
        if case .number(let digits) = self { Int(digits) } else { nil }
    }
    var real: Double? {
        if case .number(let digits) = self { Double(digits) } else { nil }
    }
    var truth: Bool? {
        if case .bool(let truth) = self { truth } else { nil }
    }

    subscript(_ key: String) -> OrderedJSON? {
        guard case .object(let members) = self else { return nil }
        return members.first { $0.key == key }?.value
    }

    // MARK: Reading

    private static func skip(_ rest: inout Substring) {
        rest = rest.drop { $0.isWhitespace }
    }

    private static func take(_ word: String, _ rest: inout Substring) -> Bool {
        skip(&rest)
        guard rest.hasPrefix(word) else { return false }
        rest.removeFirst(word.count)
        return true
    }

    private static func value(_ rest: inout Substring) throws -> OrderedJSON {
        if take("{", &rest) { return try object(&rest) }
        if take("[", &rest) {
            var items: [OrderedJSON] = []
            if take("]", &rest) { return .array(items) }
            repeat { items.append(try value(&rest)) } while take(",", &rest)
            guard take("]", &rest) else { throw Malformed(text: String(rest)) }
            return .array(items)
        }
        if take("\"", &rest) { return .string(try string(&rest)) }
        if take("true", &rest) { return .bool(true) }
        if take("false", &rest) { return .bool(false) }
        if take("null", &rest) { return .null }
        let digits = rest.prefix { "+-.eE0123456789".contains($0) }
        guard Double(digits) != nil else { throw Malformed(text: String(rest)) }
        rest.removeFirst(digits.count)
        return .number(String(digits))
    }

    private static func object(_ rest: inout Substring) throws -> OrderedJSON {
        var members: [Member] = []
        if take("}", &rest) { return .object(members) }
        repeat {
            guard take("\"", &rest) else { throw Malformed(text: String(rest)) }
            let key = try string(&rest)
            guard take(":", &rest) else { throw Malformed(text: String(rest)) }
            guard !members.contains(where: { $0.key == key }) else {
                throw Malformed(text: "the key \(key) stands twice")
            }
            members.append(Member(key: key, value: try value(&rest)))
        } while take(",", &rest)
        guard take("}", &rest) else { throw Malformed(text: String(rest)) }
        return .object(members)
    }

    private static func string(_ rest: inout Substring) throws -> String {
        var text = ""
        while let character = rest.popFirst() {
            if character == "\"" { return text }
            guard character == "\\" else {
                text.append(character)
                continue
            }
            switch rest.popFirst() {
            case "n": text.append("\n")
            case "t": text.append("\t")
            case "r": text.append("\r")
            case "u":
                let digits = rest.prefix(4)
                guard let code = UInt32(digits, radix: 16), let scalar = Unicode.Scalar(code) else {
                    throw Malformed(text: "\\u\(digits)")
                }
                text.unicodeScalars.append(scalar)
                rest.removeFirst(4)
            case .some(let other): text.append(other)
            case nil: throw Malformed(text: text)
            }
        }
        throw Malformed(text: text)
    }
}

/// The shapes that others build on, as issue 2 prints them.
enum Shape {
    static let orphan = [
        "message", "class", "overdue", "since", "ageSeconds", "evidence", "action",
    ]
    static let channel = [
        "sent", "received", "answered", "acknowledged", "timedOut", "pending", "matched",
        "undelivered", "owed", "unacknowledged", "expired", "unknown", "unsent", "conflicting",
        "repeated", "overruled", "unfounded", "outside",
    ]
    static let replay = ["ledger", "shards", "events", "seconds"]
    static let replayShard = [
        "shard", "events", "commits", "offset", "head", "messagingDigest", "stateDigest",
        "anomalies",
    ]
    static let verify = ["clean", "levels", "findings"]
    static let verifyLevel = ["level", "checked", "items", "findings"]
    static let finding = ["code", "shard", "offset", "message", "text", "evidence"]
    static let levels = ["structure", "commits", "chain", "fold", "halves", "books"]
}

extension Tally.Outcome {
    /// The one object that was printed.
    var json: OrderedJSON {
        get throws { try OrderedJSON(output) }
    }

    /// One value per line.
    var jsonLines: [OrderedJSON] {
        get throws { try lines.map { try OrderedJSON($0) } }
    }
}
