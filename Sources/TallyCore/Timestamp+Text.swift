/// RFC 3339 in UTC, always with nine digits behind the second: `2026-11-23T12:00:00.123456789Z`.
/// The calendar arithmetic is Howard Hinnant's `days_from_civil` and its inverse ("chrono-Compatible
/// Low-Level Date Algorithms").

extension Timestamp: CustomStringConvertible {
    public var description: String {
        let seconds = Int64(min(rawValue, Self.greatest.rawValue) / 1_000_000_000)
        let fraction = rawValue % 1_000_000_000
        let (year, month, day) = civil(fromDays: seconds / 86_400)
        let second = seconds % 86_400
        func padded(_ value: Int64, _ width: Int) -> String {
            let digits = String(value)
            return String(repeating: "0", count: max(0, width - digits.count)) + digits
        }
        return "\(padded(year, 4))-\(padded(month, 2))-\(padded(day, 2))T"
            + "\(padded(second / 3600, 2)):\(padded(second / 60 % 60, 2)):\(padded(second % 60, 2))"
            + ".\(padded(Int64(fraction), 9))Z"
    }

    /// Reads an RFC 3339 time: any fraction up to nine digits, `Z` or an offset from UTC.
    ///
    /// - Returns: `nil` when the text is no such time, or lies before 1970 or behind 2262.
    public init?(_ text: some StringProtocol) {
        var reader = DigitReader(Array(text.utf8))
        guard let year = reader.number(4), reader.skip("-"), let month = reader.number(2),
            reader.skip("-"), let day = reader.number(2), reader.skip("T") || reader.skip("t"),
            let hour = reader.number(2), reader.skip(":"), let minute = reader.number(2),
            reader.skip(":"), let second = reader.number(2), (1...12).contains(month),
            (1...daysInMonth(year, month)).contains(day), hour < 24, minute < 60, second < 60
        else { return nil }
        var fraction: Int64 = 0
        if reader.skip(".") {
            guard let digits = reader.fraction() else { return nil }
            fraction = digits
        }
        var shift: Int64 = 0
        if !(reader.skip("Z") || reader.skip("z")) {
            let east = reader.skip("+")
            guard east || reader.skip("-"), let hours = reader.number(2), reader.skip(":"),
                let minutes = reader.number(2), hours < 24, minutes < 60
            else { return nil }
            shift = (hours * 3600 + minutes * 60) * (east ? 1 : -1)
        }
        let seconds =
            days(fromCivil: year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - shift
        guard reader.isAtEnd, seconds >= 0 else { return nil }
        let (whole, isTooLate) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
        guard !isTooLate, whole <= Int64.max - fraction else { return nil }
        self.init(UInt64(whole + fraction))
    }
}

private struct DigitReader {
    private let bytes: [UInt8]
    private var position = 0
    init(_ bytes: [UInt8]) { self.bytes = bytes }
    var isAtEnd: Bool { position == bytes.count }

    private mutating func digit() -> Int64? {
        guard position < bytes.count, bytes[position] >= 48, bytes[position] <= 57 else {
            return nil
        }
        position += 1
        return Int64(bytes[position - 1] - 48)
    }

    mutating func number(_ width: Int) -> Int64? {
        var value: Int64 = 0
        for _ in 0..<width {
            guard let digit = digit() else { return nil }
            value = value * 10 + digit
        }
        return value
    }

    mutating func fraction() -> Int64? {
        var value: Int64 = 0
        var width = 0
        while width < 9, let digit = digit() {
            value = value * 10 + digit
            width += 1
        }
        guard width > 0 else { return nil }
        while width < 9 {
            value *= 10
            width += 1
        }
        return value
    }

    mutating func skip(_ character: Unicode.Scalar) -> Bool {
        guard position < bytes.count, bytes[position] == UInt8(ascii: character) else {
            return false
        }
        position += 1
        return true
    }
}

private func daysInMonth(_ year: Int64, _ month: Int64) -> Int64 {
    switch month {
    case 4, 6, 9, 11: 30
    case 2: year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28
    default: 31
    }
}

private func days(fromCivil year: Int64, _ month: Int64, _ day: Int64) -> Int64 {
    let shifted = month <= 2 ? year - 1 : year
    let era = (shifted >= 0 ? shifted : shifted - 399) / 400
    let yearOfEra = shifted - era * 400
    let dayOfYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1
    return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
}

private func civil(fromDays days: Int64) -> (year: Int64, month: Int64, day: Int64) {
    let shifted = days + 719_468
    let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
    let dayOfEra = shifted - era * 146_097
    let yearOfEra =
        (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let monthIndex = (5 * dayOfYear + 2) / 153
    let month = monthIndex < 10 ? monthIndex + 3 : monthIndex - 9
    return (
        yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month,
        dayOfYear - (153 * monthIndex + 2) / 5 + 1
    )
}
