import CCRC32C

/// Collects the events of one commit in their final bytes.
///
/// The timestamp is fixed when the commit opens: every decision in it sees the same time, and a
/// stimulus that needs a later one has to wait for the next commit.
public struct CommitBuilder: Sendable {
    /// The commit so far; whole once it is sealed.
    public private(set) var bytes: [UInt8] = []
    /// The offset of its first event.
    public private(set) var firstOffset = Offset.none
    /// Events collected.
    public private(set) var eventCount = 0
    /// Its time, fixed when it was opened.
    public private(set) var timestamp = Timestamp.none
    /// Its session's epoch.
    public private(set) var epoch = Epoch.none
    /// Where each event begins in ``bytes``.
    public private(set) var starts: [Int] = []

    /// Nothing collected, not open.
    public init() {}

    /// Whether no event was collected.
    public var isEmpty: Bool { eventCount == 0 }
    /// The offset of its last event.
    public var lastOffset: Offset { Offset(firstOffset.rawValue + UInt64(eventCount) - 1) }

    /// Begins a commit; the buffer of the one before is used again.
    public mutating func open(firstOffset: Offset, timestamp: Timestamp, epoch: Epoch) {
        bytes.removeAll(keepingCapacity: true)
        starts.removeAll(keepingCapacity: true)
        self.firstOffset = firstOffset
        self.timestamp = timestamp
        self.epoch = epoch
        eventCount = 0
        for _ in 0..<CommitFormat.headerLength / 8 { append(0 as UInt64) }
    }

    /// Forgets what was collected.
    public mutating func clear() {
        bytes.removeAll(keepingCapacity: true)
        starts.removeAll(keepingCapacity: true)
        eventCount = 0
        timestamp = .none
    }

    /// Whether events with this many bytes of payloads still fit below the commit's limit.
    public func hasRoom(events: Int, payloadBytes: Int) -> Bool {
        bytes.count + events * 168 + payloadBytes + 8 * events <= CommitFormat.commitLengthMax
    }

    /// Appends one event. Payload and result together must respect ``hasRoom(events:payloadBytes:)``.
    ///
    /// - Returns: The event's offset.
    @discardableResult
    public mutating func append(
        _ event: Event, payload: some Collection<UInt8> = [UInt8](),
        result: [UInt8] = []
    ) -> Offset {
        let start = bytes.count
        starts.append(start)
        let length =
            CommitFormat.eventHeaderLength + fieldsLength(of: event.kind) + payload.count
            + result.count
        append(UInt32(length))
        bytes.append(event.kind.rawValue)
        bytes.append(event.clean ? 1 : 0)
        bytes.append(event.outcome.rawValue)
        bytes.append(event.reason.rawValue)
        append(event.peer.rawValue)
        append(event.attempt)
        append(event.sequence.rawValue)
        append(event.deadline.rawValue)
        append(event.cause.rawValue)
        append(event.correlation)
        appendFields(of: event, resultLength: result.count)
        bytes.append(contentsOf: payload)
        bytes.append(contentsOf: result)
        while bytes.count % 8 != 0 { bytes.append(0) }
        eventCount += 1
        return lastOffset
    }

    private mutating func appendFields(of event: Event, resultLength: Int) {
        switch event.kind {
        case .opened:
            append(event.identity)
            append(event.foldVersion)
            append(0 as UInt32)
        case .commanded:
            append(event.identity)
            append(event.settledThrough.rawValue)
            append(UInt32(resultLength))
            append(0 as UInt32)
        case .received:
            append(event.sentAt.rawValue)
            append(event.peerOffset.rawValue)
            append(event.settledThrough.rawValue)
        case .acknowledged, .timedOut:
            append(event.peerOffset.rawValue)
        case .reemitted:
            append(event.through.rawValue)
            append(event.identity)
        case .conflicted:
            append(event.held)
            append(event.offered)
        case .witnessed:
            append(event.peerEpoch.rawValue)
            append(event.identity)
            append(event.peerOffset.rawValue)
            append(event.held)
        case .intervened:
            append(event.peerEpoch.rawValue)
            append(event.identity)
            append(event.peerOffset.rawValue)
            append(event.statementOffset.rawValue)
            append(event.receivedThrough.rawValue)
            append(event.floor.rawValue)
            append(event.settledThrough.rawValue)
            append(event.difference)
            append(event.held)
        case .sent, .answered, .noted:
            break
        }
    }

    /// Writes the header: length, count, previous head and checksum. The bytes are then final.
    public mutating func seal(previousHead: Digest) {
        let length = bytes.count
        let count = eventCount
        let (first, time, epoch) = (firstOffset, timestamp, epoch)
        unsafe bytes.withUnsafeMutableBytes { buffer in
            // In bounds: `open` has reserved the 80 bytes of the header.
            func store<T: FixedWidthInteger>(_ value: T, at: Int) {
                unsafe buffer.storeBytes(of: value.littleEndian, toByteOffset: at, as: T.self)
            }
            store(CommitFormat.magic, at: 0)
            store(CommitFormat.version, at: 4)
            store(UInt32(length), at: 8)
            store(UInt32(count), at: 12)
            store(first.rawValue, at: 16)
            store(time.rawValue, at: 24)
            store(epoch.rawValue, at: 32)
            store(previousHead.words.0, at: 40)
            store(previousHead.words.1, at: 48)
            store(previousHead.words.2, at: 56)
            store(previousHead.words.3, at: 64)
            guard let base = buffer.baseAddress else { return }
            var crc = unsafe tally_crc32c(0, base, 76)
            crc = unsafe tally_crc32c(
                crc, base + CommitFormat.headerLength, length - CommitFormat.headerLength)
            store(crc, at: 76)
        }
    }

    /// Runs a closure over an event that was collected.
    ///
    /// - Parameters:
    ///   - index: Its place in the commit, from 0.
    ///   - body: Is handed the event; it must not keep it.
    public func withEvent<R, E: Error>(
        _ index: Int, _ body: (EventView) throws(E) -> R
    ) throws(E) -> R {
        let start = starts[index]
        let offset = Offset(firstOffset.rawValue + UInt64(index))
        return try unsafe bytes.span.bytes.withUnsafeBytes { buffer throws(E) -> R in
            // In bounds: `append` has written a whole event at `start`.
            let length = Int(
                UInt32(
                    littleEndian: unsafe buffer.loadUnaligned(
                        fromByteOffset: start, as: UInt32.self)))
            guard let base = buffer.baseAddress else { preconditionFailure("no bytes") }
            return try unsafe body(EventView(base: base + start, offset: offset, length: length))
        }
    }

    @inline(__always)
    private mutating func append<T: FixedWidthInteger>(_ value: T) {
        unsafe withUnsafeBytes(of: value.littleEndian) { unsafe bytes.append(contentsOf: $0) }
    }

    private mutating func append(_ value: Bytes16) {
        append(value.low)
        append(value.high)
    }

    private mutating func append(_ value: Digest) {
        append(value.words.0)
        append(value.words.1)
        append(value.words.2)
        append(value.words.3)
    }
}
