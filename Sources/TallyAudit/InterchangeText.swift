import TallyCore

/// Hexadecimal digits, base64 and times as bytes, without a string in between: what takes the time
/// when a ledger is written as text or read from it.

private let digits = Array("0123456789abcdef".utf8)
private let alphabet = Array(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

/// By byte: the six bits that a character of base64 stands for; 255 for any other byte.
private let sextets: [UInt8] = {
    var table = [UInt8](repeating: 255, count: 256)
    for (value, character) in alphabet.enumerated() { table[Int(character)] = UInt8(value) }
    return table
}()

extension [UInt8] {
    mutating func append(decimal value: UInt64) {
        if value < 10 {
            append(48 + UInt8(value))
            return
        }
        var text: InlineArray<20, UInt8> = .init(repeating: 0)
        var start = 20
        var rest = value
        while rest > 0 {
            start -= 1
            text[start] = 48 + UInt8(rest % 10)
            rest /= 10
        }
        for index in start..<20 { append(text[index]) }
    }

    /// As many digits as the width says, zeros in front.
    mutating func append(decimal value: UInt64, width: Int) {
        append(contentsOf: repeatElement(48, count: width))
        var rest = value
        for index in 1...width {
            self[count - index] = 48 + UInt8(rest % 10)
            rest /= 10
        }
    }

    mutating func append(hexadecimal word: UInt64) {
        var rest = word
        for _ in 0..<8 {
            append(digits[Int(rest >> 4 & 15)])
            append(digits[Int(rest & 15)])
            rest >>= 8
        }
    }

    mutating func append(hexadecimal value: Bytes16) {
        append(hexadecimal: value.low)
        append(hexadecimal: value.high)
    }

    mutating func append(hexadecimal value: Digest) {
        append(hexadecimal: value.words.0)
        append(hexadecimal: value.words.1)
        append(hexadecimal: value.words.2)
        append(hexadecimal: value.words.3)
    }

    /// RFC 4648, section 4, with padding.
    mutating func append(base64 value: [UInt8]) {
        let start = count
        let groups = (value.count + 2) / 3
        self += [UInt8](repeating: UInt8(ascii: "="), count: groups * 4)
        let source = value.span
        let characters = alphabet.span
        var target = mutableSpan
        var at = start
        var index = 0
        while index + 2 < source.count {
            let bits =
                Int(source[index]) << 16 | Int(source[index + 1]) << 8 | Int(source[index + 2])
            target[at] = characters[bits >> 18]
            target[at + 1] = characters[bits >> 12 & 63]
            target[at + 2] = characters[bits >> 6 & 63]
            target[at + 3] = characters[bits & 63]
            at += 4
            index += 3
        }
        let left = source.count - index
        if left > 0 {
            let bits = Int(source[index]) << 16 | (left == 2 ? Int(source[index + 1]) << 8 : 0)
            target[at] = characters[bits >> 18]
            target[at + 1] = characters[bits >> 12 & 63]
            if left == 2 { target[at + 2] = characters[bits >> 6 & 63] }
        }
    }
}

/// The bytes that base64 text stands for.
///
/// - Returns: `nil` unless the text is the one that these bytes are written as: padded, no spaces,
///   and the bits behind the last byte zero.
func decode(base64 text: Span<UInt8>) -> [UInt8]? {
    guard text.count % 4 == 0 else { return nil }
    guard text.count > 0 else { return [] }
    var padding = 0
    if text[text.count - 1] == UInt8(ascii: "=") {
        padding = text[text.count - 2] == UInt8(ascii: "=") ? 2 : 1
    }
    var value = [UInt8](repeating: 0, count: text.count / 4 * 3 - padding)
    let table = sextets.span
    var target = value.mutableSpan
    var (at, index) = (0, 0)
    // A byte outside the alphabet sets the top bit, which no sextet has.
    var seen: UInt8 = 0
    let whole = text.count - (padding > 0 ? 4 : 0)
    while index < whole {
        let (a, b) = (table[Int(text[index])], table[Int(text[index + 1])])
        let (c, d) = (table[Int(text[index + 2])], table[Int(text[index + 3])])
        seen |= a | b | c | d
        target[at] = a << 2 | b >> 4 & 3
        target[at + 1] = b << 4 | c >> 2 & 15
        target[at + 2] = c << 6 | d & 63
        at += 3
        index += 4
    }
    if padding > 0 {
        let (a, b) = (table[Int(text[index])], table[Int(text[index + 1])])
        let c = padding == 1 ? table[Int(text[index + 2])] : 0
        seen |= a | b | c
        target[at] = a << 2 | b >> 4 & 3
        if padding == 1 { target[at + 1] = b << 4 | c >> 2 & 15 }
        guard padding == 1 ? c & 3 == 0 : b & 15 == 0 else { return nil }
    }
    return seen & 0x80 == 0 ? value : nil
}

/// The words that hexadecimal digits stand for, lower case only, bytes in memory order.
private func word(hexadecimal text: Span<UInt8>, at start: Int) -> UInt64? {
    var word: UInt64 = 0
    var bad = false
    for index in 0..<16 {
        let byte = text[start + index]
        var nibble = UInt64(byte &- 48)
        if nibble > 9 {
            nibble = UInt64(byte &- 87)
            bad = bad || nibble < 10 || nibble > 15
        }
        word |= (nibble & 15) << UInt64(index / 2 * 8 + (index % 2 == 0 ? 4 : 0))
    }
    return bad ? nil : word
}

func bytes16(hexadecimal text: Span<UInt8>) -> Bytes16? {
    guard text.count == 32, let low = word(hexadecimal: text, at: 0),
        let high = word(hexadecimal: text, at: 16)
    else { return nil }
    return Bytes16(low: low, high: high)
}

func digest(hexadecimal text: Span<UInt8>) -> Digest? {
    guard text.count == 64, let a = word(hexadecimal: text, at: 0),
        let b = word(hexadecimal: text, at: 16), let c = word(hexadecimal: text, at: 32),
        let d = word(hexadecimal: text, at: 48)
    else { return nil }
    return Digest((a, b, c, d))
}

/// Writes and reads times; remembers the calendar of one day, because neighbouring times share it.
struct TimeText: Sendable {
    private static let nanosecondsPerDay: UInt64 = 86_400_000_000_000
    private var day = UInt64.max
    /// `2026-11-23T`
    private var date: [UInt8] = []

    /// Appends `2026-11-23T12:00:00.123456789Z`.
    mutating func write(_ time: Timestamp, into text: inout [UInt8]) {
        let value = min(time, .greatest).rawValue
        if value / Self.nanosecondsPerDay != day { remember(value / Self.nanosecondsPerDay) }
        let second = value / 1_000_000_000 % 86_400
        text.append(contentsOf: date)
        text.append(decimal: second / 3600, width: 2)
        text.append(UInt8(ascii: ":"))
        text.append(decimal: second / 60 % 60, width: 2)
        text.append(UInt8(ascii: ":"))
        text.append(decimal: second % 60, width: 2)
        text.append(UInt8(ascii: "."))
        text.append(decimal: value % 1_000_000_000, width: 9)
        text.append(UInt8(ascii: "Z"))
    }

    private mutating func remember(_ day: UInt64) {
        self.day = day
        date = Array(Timestamp(day * Self.nanosecondsPerDay).description.utf8.prefix(11))
    }

    /// Reads any RFC 3339 time that ``TallyCore/Timestamp`` reads.
    mutating func read(_ text: Span<UInt8>) -> Timestamp? {
        if let time = readRemembered(text) { return time }
        var copy: [UInt8] = []
        guard text.count <= 64 else { return nil }
        for index in 0..<text.count { copy.append(text[index]) }
        let string = String(decoding: copy, as: UTF8.self)
        if let midnight = Timestamp(string.prefix(11) + "00:00:00Z") {
            remember(midnight.rawValue / Self.nanosecondsPerDay)
        }
        return readRemembered(text) ?? Timestamp(string)
    }

    /// The form that is written, on the day that is remembered; anything else is `nil`.
    private func readRemembered(_ text: Span<UInt8>) -> Timestamp? {
        guard text.count == 30, date.count == 11, text[13] == UInt8(ascii: ":"),
            text[16] == UInt8(ascii: ":"), text[19] == UInt8(ascii: "."),
            text[29] == UInt8(ascii: "Z")
        else { return nil }
        for index in 0..<11 where text[index] != date[index] { return nil }
        func number(_ start: Int, _ width: Int) -> UInt64? {
            var value: UInt64 = 0
            for index in start..<start + width {
                let digit = text[index] &- 48
                guard digit <= 9 else { return nil }
                value = value * 10 + UInt64(digit)
            }
            return value
        }
        guard let hour = number(11, 2), hour < 24, let minute = number(14, 2), minute < 60,
            let second = number(17, 2), second < 60, let fraction = number(20, 9)
        else { return nil }
        let seconds = (hour * 60 + minute) * 60 + second
        let time = Timestamp(day * Self.nanosecondsPerDay + seconds * 1_000_000_000 + fraction)
        return time <= .greatest ? time : nil
    }
}
