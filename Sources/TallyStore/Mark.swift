public import TallyCore

#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#else
    internal import Darwin
#endif

/// What was last released, beside the log: a log cut back to an older valid state looks whole, and
/// this is what shows that it is not.
///
/// The file has two slots of 84 bytes at 0 and 512, written in turn, so that one of them is whole
/// whatever happens. A slot, integers little-endian:
///
///      0   4  magic "TLMK"
///      4   4  version, 1
///      8   8  counter; the valid slot with the greater one counts
///     16   8  offset of the last released commit's end
///     24   8  its timestamp
///     32  32  its head
///     64   8  epoch of the session
///     72   8  1 when the session was closed in good order, else 0
///     80   4  CRC-32C of the bytes 0..<80
///
/// A slot is valid if and only if magic, version and checksum are right, the timestamp is below 2^63, and
/// the word at 72 is 0 or 1. The file holds no truth: when it is missing, that is said, and it is made
/// anew.
public struct Mark: Equatable, Sendable {
    /// The end of the last released commit.
    public var position: LogPosition
    /// The epoch of the session that released it.
    public var epoch: Epoch
    /// Whether that session was closed in good order.
    public var isClean: Bool
    var counter: UInt64

    /// What was released.
    public init(position: LogPosition, epoch: Epoch, isClean: Bool) {
        self.position = position
        self.epoch = epoch
        self.isClean = isClean
        counter = 0
    }

    static let slotLength = 84
    static let slotStride = 512

    func encoded() -> [UInt8] {
        var writer = ByteWriter(capacity: Self.slotLength)
        writer.write(0x4B4D_4C54 as UInt32)
        writer.write(1 as UInt32)
        writer.write(counter)
        writer.write(position.offset.rawValue)
        writer.write(position.timestamp.rawValue)
        writer.write(position.head)
        writer.write(epoch.rawValue)
        writer.write(isClean ? 1 : 0 as UInt64)
        writer.write(Checksum.crc32c(writer.bytes))
        return writer.bytes
    }

    init?(slot bytes: ArraySlice<UInt8>) {
        var reader = ByteReader(bytes)
        guard bytes.count >= Self.slotLength, reader.read(UInt32.self) == 0x4B4D_4C54,
            reader.read(UInt32.self) == 1, let counter = reader.read(UInt64.self),
            let offset = reader.readOffset(), let time = reader.readTimestamp(),
            let head = reader.readDigest(), let epoch = reader.read(UInt64.self),
            let clean = reader.read(UInt64.self), let crc = reader.read(UInt32.self), clean <= 1,
            crc == Checksum.crc32c(Array(bytes.prefix(80)))
        else { return nil }
        position = LogPosition(offset: offset, head: head, timestamp: time)
        self.epoch = Epoch(epoch)
        isClean = clean == 1
        self.counter = counter
    }

    /// Reads the mark of a shard.
    ///
    /// - Returns: `nil` when there is none, or no slot of it is valid.
    public static func read(_ path: String) -> Mark? { (try? found(at: path)) ?? nil }

    /// Reads the mark of a shard for its writer: one that is there and cannot be read is not taken for
    /// missing, for a log that was cut back would then be served.
    static func found(at path: String) throws(StoreError) -> Mark? {
        guard try Files.isThere(path) else { return nil }
        let bytes = try Files.read(path, max: 1 << 16)
        var best: Mark?
        for start in [0, slotStride] where bytes.count >= start + slotLength {
            guard let mark = Mark(slot: bytes[start..<start + slotLength]) else { continue }
            if mark.counter >= best?.counter ?? 0 { best = mark }
        }
        return best
    }
}

/// Where a shard's writer keeps its mark.
public protocol MarkStore: AnyObject {
    /// Writes what was released.
    ///
    /// - Parameters:
    ///   - mark: What was released.
    ///   - isFlushed: Whether to wait until it is on the disk.
    func write(_ mark: Mark, isFlushed: Bool) throws(StoreError)
}

/// Writes a shard's mark; its one writer owns it.
public final class MarkFile: MarkStore {
    private let path: String
    private let descriptor: Int32
    private var counter: UInt64

    /// Opens the file at a path, or makes it. One that it makes is in its directory for good: flushing a
    /// file says nothing of its name.
    public init(_ path: String) throws(StoreError) {
        self.path = path
        counter = try Mark.found(at: path)?.counter ?? 0
        let isNew = try !Files.isThere(path)
        descriptor = unsafe open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw Files.failure("open", path) }
        if isNew { try Files.syncDirectory(Files.parent(of: path)) }
    }

    deinit { close(descriptor) }

    /// Writes the mark to the slot that is not the newest one.
    public func write(_ mark: Mark, isFlushed: Bool) throws(StoreError) {
        counter += 1
        var mark = mark
        mark.counter = counter
        try Files.write(
            descriptor, mark.encoded(), at: Int(counter % 2) * Mark.slotStride, path)
        if isFlushed, fsync(descriptor) != 0 { throw Files.failure("flush", path) }
    }
}
