/// How the names are written: `trades-0@1842`, `trades-0/collateral-1/42`, hexadecimal, RFC 3339.

/// The names of a ledger's shards, in the manifest's order; a shard's id is its position, from 1.
public struct ShardDirectory: Hashable, Sendable {
    /// The names, in the manifest's order.
    public let names: [String]
    private let ids: [String: ShardID]

    /// - Returns: `nil` when a name is malformed or stands twice, or there is none.
    public init?(_ names: [String]) {
        guard !names.isEmpty, names.count <= 65_536 else { return nil }
        var ids: [String: ShardID] = [:]
        for (index, name) in names.enumerated() {
            guard Self.isWellFormed(name), ids[name] == nil else { return nil }
            ids[name] = ShardID(UInt32(index + 1))
        }
        self.names = names
        self.ids = ids
    }

    /// A shard's name is 1 to 64 characters of `a-z 0-9 -` and begins with a letter or digit: it is
    /// also the name of a directory, so it can hold neither a separator nor a dot.
    public static func isWellFormed(_ name: String) -> Bool {
        let bytes = Array(name.utf8)
        guard (1...64).contains(bytes.count), bytes[0] != UInt8(ascii: "-") else { return false }
        return bytes.allSatisfy { byte in
            (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte)
                || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
                || byte == UInt8(ascii: "-")
        }
    }

    /// How many shards there are.
    public var count: Int { names.count }
    /// All ids, ascending.
    public var all: [ShardID] { (1...names.count).map { ShardID(UInt32($0)) } }
    /// Whether there is a shard of this id.
    public func contains(_ shard: ShardID) -> Bool {
        shard.rawValue >= 1 && shard.rawValue <= UInt32(names.count)
    }
    /// The id of a name.
    public func id(of name: String) -> ShardID? { ids[name] }
    /// The name of an id; `shard-#N` for one that the ledger does not have.
    public func name(of shard: ShardID) -> String {
        contains(shard) ? names[Int(shard.rawValue) - 1] : "shard-#\(shard.rawValue)"
    }

    /// Writes `origin/destination/sequence`.
    public func text(_ message: MessageName) -> String {
        text(message.channel) + "/\(message.sequence.rawValue)"
    }
    /// Writes `origin/destination`.
    public func text(_ channel: Channel) -> String {
        name(of: channel.origin) + "/" + name(of: channel.destination)
    }
    /// Writes `shard@offset`.
    public func address(_ shard: ShardID, _ offset: Offset) -> String {
        name(of: shard) + "@\(offset.rawValue)"
    }

    /// Reads `origin/destination/sequence`.
    public func message(_ text: String) -> MessageName? {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 3, let origin = ids[String(parts[0])],
            let destination = ids[String(parts[1])], let sequence = decimal(parts[2]), sequence > 0
        else { return nil }
        return MessageName(from: origin, to: destination, SequenceNumber(sequence))
    }

    /// Reads `origin/destination`.
    public func channel(_ text: String) -> Channel? {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 2, let origin = ids[String(parts[0])],
            let destination = ids[String(parts[1])]
        else { return nil }
        return Channel(origin: origin, destination: destination)
    }

    /// Reads `shard@offset`.
    public func address(_ text: String) -> (shard: ShardID, offset: Offset)? {
        let parts = text.split(separator: "@", omittingEmptySubsequences: false)
        guard parts.count == 2, let shard = ids[String(parts[0])], let offset = decimal(parts[1])
        else { return nil }
        return (shard, Offset(offset))
    }
}

/// Reads a number in its one form: no sign, no leading zero.
private func decimal(_ text: Substring) -> UInt64? {
    UInt64(text).flatMap { String($0) == text ? $0 : nil }
}

let hexadecimalDigits = Array("0123456789abcdef".utf8)

func hexadecimal(of words: [UInt64]) -> String {
    var text: [UInt8] = []
    text.reserveCapacity(words.count * 16)
    for word in words {
        for index in 0..<8 {
            let byte = UInt8(truncatingIfNeeded: word >> UInt64(index * 8))
            text.append(hexadecimalDigits[Int(byte >> 4)])
            text.append(hexadecimalDigits[Int(byte & 15)])
        }
    }
    return String(decoding: text, as: UTF8.self)
}

func words(ofHexadecimal text: some StringProtocol, count: Int) -> [UInt64]? {
    let digits = Array(text.utf8)
    guard digits.count == count * 16 else { return nil }
    var words = [UInt64](repeating: 0, count: count)
    for (index, digit) in digits.enumerated() {
        let value: UInt64
        switch digit {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): value = UInt64(digit - UInt8(ascii: "0"))
        case UInt8(ascii: "a")...UInt8(ascii: "f"): value = UInt64(digit - UInt8(ascii: "a")) + 10
        default: return nil
        }
        let byte = index / 2
        let shift = UInt64(byte % 8) * 8 + (index % 2 == 0 ? 4 : 0)
        words[byte / 8] |= value << shift
    }
    return words
}

extension Bytes16: CustomStringConvertible {
    /// 32 hexadecimal digits, lower case.
    public var description: String { hexadecimal(of: [low, high]) }

    /// Reads 32 hexadecimal digits, lower case.
    public init?(hexadecimal text: some StringProtocol) {
        guard let words = words(ofHexadecimal: text, count: 2) else { return nil }
        self.init(low: words[0], high: words[1])
    }
}

extension Digest: CustomStringConvertible {
    /// 64 hexadecimal digits, lower case.
    public var description: String {
        hexadecimal(of: [words.0, words.1, words.2, words.3])
    }

    /// Reads 64 hexadecimal digits, lower case.
    public init?(hexadecimal text: some StringProtocol) {
        guard let words = TallyCore.words(ofHexadecimal: text, count: 4) else { return nil }
        self.init((words[0], words[1], words[2], words[3]))
    }
}
