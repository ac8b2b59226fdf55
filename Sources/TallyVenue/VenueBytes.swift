/// The bytes of the venue: little-endian, fixed widths, no padding, nothing optional without a flag.
/// One value has one form, so that equal values have equal digests.

/// Writes the venue's values.
struct VenueWriter {
    private(set) var bytes: [UInt8] = []

    mutating func byte(_ value: UInt8) { bytes.append(value) }

    mutating func half(_ value: UInt32) {
        for shift in stride(from: UInt32(0), to: 32, by: 8) {
            bytes.append(UInt8(truncatingIfNeeded: value >> shift))
        }
    }

    mutating func word(_ value: UInt64) {
        for shift in stride(from: UInt64(0), to: 64, by: 8) {
            bytes.append(UInt8(truncatingIfNeeded: value >> shift))
        }
    }

    mutating func money(_ value: Int64) { word(UInt64(bitPattern: value)) }

    mutating func append(_ more: [UInt8]) { bytes.append(contentsOf: more) }
}

/// Reads what ``VenueWriter`` wrote; never past the end, whatever the bytes say.
struct VenueReader {
    private let bytes: [UInt8]
    private var at = 0

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    var remaining: Int { bytes.count - at }
    var isAtEnd: Bool { at == bytes.count }

    mutating func byte() -> UInt8? {
        guard remaining >= 1 else { return nil }
        at += 1
        return bytes[at - 1]
    }

    mutating func half() -> UInt32? {
        guard remaining >= 4 else { return nil }
        var value: UInt32 = 0
        for index in 0..<4 { value |= UInt32(bytes[at + index]) << UInt32(index * 8) }
        at += 4
        return value
    }

    mutating func word() -> UInt64? {
        guard remaining >= 8 else { return nil }
        var value: UInt64 = 0
        for index in 0..<8 { value |= UInt64(bytes[at + index]) << UInt64(index * 8) }
        at += 8
        return value
    }

    mutating func money() -> Int64? { word().map { Int64(bitPattern: $0) } }

    mutating func take(_ count: Int) -> [UInt8]? {
        guard count >= 0, remaining >= count else { return nil }
        at += count
        return Array(bytes[(at - count)..<at])
    }

    /// Reads a count of entries.
    ///
    /// A count that the remaining bytes cannot hold is refused before anything is reserved for it.
    mutating func count(ofEntries length: Int) -> Int? {
        guard let count = half(), Int(count) <= remaining / length else { return nil }
        return Int(count)
    }
}

extension Int64 {
    /// The sum, or `nil` where it does not fit: money never wraps and never traps.
    func plus(_ other: Int64) -> Int64? {
        let (sum, overflow) = addingReportingOverflow(other)
        return overflow ? nil : sum
    }

    /// The difference, or `nil` where it does not fit.
    func minus(_ other: Int64) -> Int64? {
        let (difference, overflow) = subtractingReportingOverflow(other)
        return overflow ? nil : difference
    }
}
