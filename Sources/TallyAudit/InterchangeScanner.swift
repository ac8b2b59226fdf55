/// Reads the tokens of one line of JSON: objects, arrays, strings, whole numbers, true and false.
/// Strict: what RFC 8259 does not allow is a fault, and so is what the interchange form has no use
/// for (null, fractions, exponents, signs).
///
/// The line is handed to each call, so that nothing is copied but what the caller keeps.
struct InterchangeScanner {
    private var position = 0

    private static let quote = UInt8(ascii: "\"")
    private static let backslash = UInt8(ascii: "\\")

    private mutating func skipSpace(_ line: Span<UInt8>) {
        while position < line.count, Self.isSpace(line[position]) { position += 1 }
    }

    private static func isSpace(_ byte: UInt8) -> Bool {
        byte == 0x20 || byte == 0x09 || byte == 0x0D
    }

    private func unexpected(_ line: Span<UInt8>, _ wanted: @autoclosure () -> String)
        -> InterchangeFault
    {
        guard position < line.count else {
            return InterchangeFault("the line ends where \(wanted()) is expected: it is cut off")
        }
        let rest = line.extracting(position..<min(line.count, position + 1))
        return InterchangeFault(
            "\(wanted()) is expected at byte \(position + 1), not \"\(printable(rest))\"")
    }

    /// Whether the next token is this character; it is consumed then.
    private mutating func consume(_ line: Span<UInt8>, _ character: Unicode.Scalar) -> Bool {
        skipSpace(line)
        guard position < line.count, line[position] == UInt8(ascii: character) else { return false }
        position += 1
        return true
    }

    mutating func expect(
        _ line: Span<UInt8>, _ character: Unicode.Scalar, _ wanted: @autoclosure () -> String
    ) throws(InterchangeFault) {
        guard consume(line, character) else { throw unexpected(line, wanted()) }
    }

    /// Visits the members of an object; the closure reads each value.
    mutating func object(
        _ line: Span<UInt8>, _ wanted: @autoclosure () -> String,
        _ member: (inout InterchangeScanner, Span<UInt8>) throws(InterchangeFault) -> Void
    ) throws(InterchangeFault) {
        try expect(line, "{", wanted())
        if consume(line, "}") { return }
        repeat {
            let key = try token(line, "a key")
            try expect(line, ":", "a colon")
            if key.isEscaped {
                let decoded = try Self.unescape(line.extracting(key.range))
                try member(&self, decoded.span)
            } else {
                try member(&self, line.extracting(key.range))
            }
        } while consume(line, ",")
        try expect(line, "}", "a comma or the end of the object")
    }

    /// Visits the elements of an array; the closure reads each one.
    mutating func array(
        _ line: Span<UInt8>, _ wanted: @autoclosure () -> String,
        _ element: (inout InterchangeScanner) throws(InterchangeFault) -> Void
    ) throws(InterchangeFault) {
        try expect(line, "[", wanted())
        if consume(line, "]") { return }
        repeat { try element(&self) } while consume(line, ",")
        try expect(line, "]", "a comma or the end of the array")
    }

    /// Checks that nothing stands behind the object.
    mutating func end(_ line: Span<UInt8>) throws(InterchangeFault) {
        skipSpace(line)
        guard position == line.count else { throw unexpected(line, "the end of the line") }
    }

    // MARK: Values

    /// Reads a string and shows its bytes, escapes resolved, to a closure.
    mutating func string<R>(
        _ line: Span<UInt8>, _ wanted: @autoclosure () -> String,
        _ body: (Span<UInt8>) throws(InterchangeFault) -> R
    ) throws(InterchangeFault) -> R {
        let token = try token(line, wanted())
        guard token.isEscaped else { return try body(line.extracting(token.range)) }
        let decoded = try Self.unescape(line.extracting(token.range))
        return try body(decoded.span)
    }

    /// Reads a string as text; it must be UTF-8.
    mutating func text(
        _ line: Span<UInt8>, _ wanted: @autoclosure () -> String
    ) throws(InterchangeFault) -> String {
        try string(line, wanted()) { (bytes) throws(InterchangeFault) in
            var copy: [UInt8] = []
            copy.reserveCapacity(bytes.count)
            for index in 0..<bytes.count { copy.append(bytes[index]) }
            guard let text = String(validating: copy, as: UTF8.self) else {
                throw InterchangeFault("\(wanted()) is expected, and it must be UTF-8")
            }
            return text
        }
    }

    /// Reads a whole number, exactly.
    mutating func number(
        _ line: Span<UInt8>, _ wanted: @autoclosure () -> String, through max: UInt64 = .max
    ) throws(InterchangeFault) -> UInt64 {
        skipSpace(line)
        let start = position
        var value: UInt64 = 0
        var isTooLarge = false
        while position < line.count, line[position] &- 48 <= 9 {
            let (product, high) = value.multipliedReportingOverflow(by: 10)
            let (sum, carry) = product.addingReportingOverflow(UInt64(line[position] - 48))
            value = sum
            isTooLarge = isTooLarge || high || carry
            position += 1
        }
        guard position > start else { throw unexpected(line, wanted()) }
        guard line[start] != 48 || position == start + 1 else {
            throw InterchangeFault("\(wanted()) begins with a zero")
        }
        if position < line.count, [".", "e", "E"].contains(Unicode.Scalar(line[position])) {
            throw InterchangeFault("\(wanted()) is not a whole number")
        }
        guard !isTooLarge, value <= max else {
            throw InterchangeFault("\(wanted()) is out of range: at most \(max)")
        }
        return value
    }

    mutating func bool(_ line: Span<UInt8>, _ wanted: @autoclosure () -> String)
        throws(InterchangeFault) -> Bool
    {
        skipSpace(line)
        for (word, value) in [("true", true), ("false", false)] {
            let end = position + word.utf8.count
            guard end <= line.count else { continue }
            let isEqual = zip(position..<end, word.utf8).allSatisfy { line[$0] == $1 }
            if isEqual {
                position = end
                return value
            }
        }
        throw unexpected(line, wanted())
    }

    // MARK: Strings

    private struct Token {
        /// The bytes between the quotes.
        var range: Range<Int>
        var isEscaped: Bool
    }

    private mutating func token(
        _ line: Span<UInt8>, _ wanted: @autoclosure () -> String
    ) throws(InterchangeFault) -> Token {
        guard consume(line, "\"") else { throw unexpected(line, wanted()) }
        let start = position
        var isEscaped = false
        while position < line.count {
            let byte = line[position]
            if byte == Self.quote {
                position += 1
                return Token(range: start..<position - 1, isEscaped: isEscaped)
            }
            if byte == Self.backslash {
                isEscaped = true
                position += 1
            }
            guard byte >= 0x20 else {
                throw InterchangeFault("a control character stands in a string")
            }
            position += 1
        }
        position = line.count
        throw InterchangeFault("the line ends inside a string: it is cut off")
    }

    private static func unescape(_ text: Span<UInt8>) throws(InterchangeFault) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(text.count)
        var index = 0
        while index < text.count {
            guard text[index] == backslash else {
                bytes.append(text[index])
                index += 1
                continue
            }
            // A string ends at a quote that no escape takes, so something stands behind a backslash.
            let escape = text[index + 1]
            index += 2
            switch escape {
            case quote, backslash, UInt8(ascii: "/"): bytes.append(escape)
            case UInt8(ascii: "b"): bytes.append(0x08)
            case UInt8(ascii: "f"): bytes.append(0x0C)
            case UInt8(ascii: "n"): bytes.append(0x0A)
            case UInt8(ascii: "r"): bytes.append(0x0D)
            case UInt8(ascii: "t"): bytes.append(0x09)
            case UInt8(ascii: "u"):
                let scalar = try scalar(text, &index)
                bytes.append(contentsOf: String(Character(scalar)).utf8)
            default:
                throw InterchangeFault("an escape in a string is not one of JSON's")
            }
        }
        return bytes
    }

    /// Reads the digits behind `\u`, and the second half of a surrogate pair.
    private static func scalar(
        _ text: Span<UInt8>, _ index: inout Int
    ) throws(InterchangeFault) -> Unicode.Scalar {
        func unit() throws(InterchangeFault) -> UInt32 {
            guard index + 4 <= text.count else {
                throw InterchangeFault("an escape in a string is cut off")
            }
            var value: UInt32 = 0
            for place in index..<index + 4 {
                guard let digit = Character(Unicode.Scalar(text[place])).hexDigitValue else {
                    throw InterchangeFault("an escape in a string lacks its four digits")
                }
                value = value << 4 | UInt32(digit)
            }
            index += 4
            return value
        }
        var value = try unit()
        if (0xD800..<0xDC00).contains(value), index + 2 <= text.count, text[index] == backslash,
            text[index + 1] == UInt8(ascii: "u")
        {
            index += 2
            let low = try unit()
            guard (0xDC00..<0xE000).contains(low) else {
                throw InterchangeFault("an escape in a string is half a character")
            }
            value = 0x10000 + (value - 0xD800) << 10 + (low - 0xDC00)
        }
        guard let scalar = Unicode.Scalar(value) else {
            throw InterchangeFault("an escape in a string is half a character")
        }
        return scalar
    }
}
