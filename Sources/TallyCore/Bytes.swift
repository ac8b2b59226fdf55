/// Little-endian writing and bounds-checked reading for the small canonical forms: envelopes,
/// snapshots, plans, the mark. Public because every module that owns such a form uses it.

/// Appends fixed-width little-endian integers and byte strings.
public struct ByteWriter {
    /// What was written.
    public private(set) var bytes: [UInt8] = []

    /// An empty writer with room for so many bytes.
    public init(capacity: Int = 0) { bytes.reserveCapacity(capacity) }

    /// An integer, its lowest byte first.
    public mutating func write<T: FixedWidthInteger>(_ value: T) {
        unsafe withUnsafeBytes(of: value.littleEndian) { unsafe bytes.append(contentsOf: $0) }
    }
    /// One byte, 1 or 0.
    public mutating func write(_ value: Bool) { bytes.append(value ? 1 : 0) }
    /// Sixteen bytes.
    public mutating func write(_ value: Bytes16) {
        write(value.low)
        write(value.high)
    }
    /// Thirty-two bytes.
    public mutating func write(_ value: Digest) {
        write(value.words.0)
        write(value.words.1)
        write(value.words.2)
        write(value.words.3)
    }
    /// Epoch and nonce.
    public mutating func write(_ value: Session) {
        write(value.epoch.rawValue)
        write(value.nonce)
    }
    /// Bytes without their count.
    public mutating func write(raw value: some Sequence<UInt8>) { bytes.append(contentsOf: value) }
    /// A 4-byte count, then the bytes.
    public mutating func write(counted value: some Collection<UInt8>) {
        write(UInt32(value.count))
        bytes.append(contentsOf: value)
    }
}

/// Reads what ``ByteWriter`` wrote; every read says whether the bytes were there.
public struct ByteReader {
    private let bytes: ArraySlice<UInt8>
    private var position: Int

    /// Begins at the first of some bytes.
    public init(_ bytes: ArraySlice<UInt8>) {
        self.bytes = bytes
        position = bytes.startIndex
    }
    /// Begins at the first of some bytes.
    public init(_ bytes: [UInt8]) { self.init(bytes[...]) }

    /// Bytes not read yet.
    public var remaining: Int { bytes.endIndex - position }
    /// Whether all was read.
    public var isAtEnd: Bool { remaining == 0 }

    /// An integer, its lowest byte first; `nil` when there are not that many bytes.
    public mutating func read<T: FixedWidthInteger>(_ type: T.Type) -> T? {
        let size = MemoryLayout<T>.size
        guard remaining >= size else { return nil }
        var value: T = 0
        for index in (0..<size).reversed() {
            value =
                size == 1
                ? T(truncatingIfNeeded: bytes[position])
                : (value << 8)
                    | T(truncatingIfNeeded: bytes[position + index])
        }
        position += size
        return value
    }
    /// One byte, 0 or 1.
    public mutating func readBool() -> Bool? {
        guard let byte = read(UInt8.self), byte <= 1 else { return nil }
        return byte == 1
    }
    /// Sixteen bytes.
    public mutating func readBytes16() -> Bytes16? {
        guard let low = read(UInt64.self), let high = read(UInt64.self) else { return nil }
        return Bytes16(low: low, high: high)
    }
    /// Thirty-two bytes.
    public mutating func readDigest() -> Digest? {
        guard let a = read(UInt64.self), let b = read(UInt64.self), let c = read(UInt64.self),
            let d = read(UInt64.self)
        else { return nil }
        return Digest((a, b, c, d))
    }
    /// Epoch and nonce.
    public mutating func readSession() -> Session? {
        guard let epoch = read(UInt64.self), let nonce = readBytes16() else { return nil }
        return Session(epoch: Epoch(epoch), nonce: nonce)
    }
    /// Eight bytes.
    public mutating func readOffset() -> Offset? { read(UInt64.self).map { Offset($0) } }
    /// Eight bytes.
    public mutating func readSequence() -> SequenceNumber? {
        read(UInt64.self).map { SequenceNumber($0) }
    }
    /// Eight bytes, below 2^63.
    public mutating func readTimestamp() -> Timestamp? {
        guard let value = read(UInt64.self), value <= Timestamp.greatest.rawValue else {
            return nil
        }
        return Timestamp(value)
    }
    /// A slice of the bytes; nothing is copied.
    public mutating func read(count: Int) -> ArraySlice<UInt8>? {
        guard count >= 0, count <= remaining else { return nil }
        let slice = bytes[position..<position + count]
        position += count
        return slice
    }
    /// A count of four bytes, at most the one given, and so many bytes.
    public mutating func readCounted(max: Int) -> ArraySlice<UInt8>? {
        guard let count = read(UInt32.self), count <= max else { return nil }
        return read(count: Int(count))
    }
}
