import CCRC32C

/// A valid commit, read in place (see ``CommitFormat`` for the bytes and the rule).
@safe public struct CommitView {
    let base: UnsafeRawPointer
    /// Bytes, the header included.
    public let length: Int

    /// Checks bytes against the whole validity rule.
    ///
    /// - Complexity: One pass for the checksum and one over the events; allocates nothing.
    init(validating bytes: UnsafeRawBufferPointer, key: Offset?) throws(CommitError) {
        guard bytes.count >= CommitFormat.headerLength + CommitFormat.eventHeaderLength,
            bytes.count <= CommitFormat.commitLengthMax, bytes.count % 8 == 0,
            let start = bytes.baseAddress
        else {
            throw CommitError(
                .length, at: 0, "a commit cannot be \(bytes.count) bytes long")
        }
        unsafe base = start
        length = bytes.count
        try validateHeader(key: key)
        try validateEvents()
    }

    @inline(__always)
    private func word(_ at: Int) -> UInt64 {
        // In bounds: a validated commit has at least 136 bytes, and `at` lies in its header.
        UInt64(littleEndian: unsafe base.loadUnaligned(fromByteOffset: at, as: UInt64.self))
    }

    @inline(__always)
    private func half(_ at: Int) -> UInt32 {
        UInt32(littleEndian: unsafe base.loadUnaligned(fromByteOffset: at, as: UInt32.self))
    }

    /// How many events it holds.
    public var eventCount: Int { Int(half(12)) }
    /// The offset of its first event.
    public var firstOffset: Offset { Offset(word(16)) }
    /// The offset of its last event.
    public var lastOffset: Offset { Offset(word(16) &+ UInt64(half(12)) &- 1) }
    /// Its time.
    public var timestamp: Timestamp { Timestamp(word(24)) }
    /// Its session's epoch; zero only in an import.
    public var epoch: Epoch { Epoch(word(32)) }
    /// The head of the commit before; of the first one the seed.
    public var previousHead: Digest { Digest((word(40), word(48), word(56), word(64))) }

    private func validateHeader(key: Offset?) throws(CommitError) {
        guard half(0) == CommitFormat.magic else {
            throw CommitError(.magic, at: 0, "no commit begins here: the magic is missing")
        }
        guard half(4) & 0xFFFF == UInt32(CommitFormat.version) else {
            throw CommitError(
                .version, at: 4,
                "the commit has format version \(half(4) & 0xFFFF); this program reads 1")
        }
        guard Int(half(8)) == length else {
            throw CommitError(
                .length, at: 8, "the commit says \(half(8)) bytes, the record has \(length)")
        }
        guard half(4) >> 16 == 0, half(72) == 0 else {
            throw CommitError(.header, at: 6, "reserved bytes of the commit are not zero")
        }
        var crc = unsafe tally_crc32c(0, base, 76)
        crc = unsafe tally_crc32c(
            crc, base + CommitFormat.headerLength, length - CommitFormat.headerLength)
        guard crc == half(76) else {
            throw CommitError(.checksum, at: 76, "the commit's checksum does not match its bytes")
        }
        let first = word(16)
        let count = UInt64(half(12))
        guard first >= 1, count >= 1, first <= CommitFormat.offsetMax,
            first + count - 1 <= CommitFormat.offsetMax
        else {
            throw CommitError(.offset, at: 16, "the commit's offsets are out of range")
        }
        if let key, key.rawValue != first {
            throw CommitError(
                .offset, at: 16, "the commit begins at offset \(first), its key is \(key.rawValue)")
        }
        guard word(24) >= 1, word(24) <= Timestamp.greatest.rawValue else {
            throw CommitError(.timestamp, at: 24, "the commit's timestamp is out of range")
        }
    }

    private func validateEvents() throws(CommitError) {
        var at = CommitFormat.headerLength
        for _ in 0..<eventCount {
            guard length - at >= CommitFormat.eventHeaderLength else {
                throw CommitError(.events, at: at, "the commit ends inside an event")
            }
            let eventLength = Int(half(at))
            let kindByte = unsafe base.loadUnaligned(fromByteOffset: at + 4, as: UInt8.self)
            guard let kind = EventKind(rawValue: kindByte) else {
                throw CommitError(.event, at: at + 4, "event kind \(kindByte) is unknown")
            }
            let start = CommitFormat.eventHeaderLength + fieldsLength(of: kind)
            guard eventLength >= start, eventLength <= length - at else {
                throw CommitError(
                    .event, at: at, "event length \(eventLength) does not fit the commit")
            }
            try validateEvent(kind, at: at, payloadLength: eventLength - start)
            for padding in eventLength..<CommitFormat.padded(eventLength) {
                // In bounds: the commit's length is a multiple of 8, and so is `at`.
                guard unsafe base.loadUnaligned(fromByteOffset: at + padding, as: UInt8.self) == 0
                else { throw CommitError(.event, at: at + padding, "padding is not zero") }
            }
            at += CommitFormat.padded(eventLength)
        }
        guard at == length else {
            throw CommitError(.events, at: at, "the commit holds more than its event count says")
        }
    }

    private func validateEvent(
        _ kind: EventKind, at: Int, payloadLength: Int
    ) throws(CommitError) {
        func fail(_ byte: Int, _ field: String) -> CommitError {
            CommitError(.event, at: at + byte, "\(field) of a \(kind.name) event is out of range")
        }
        // In bounds: the event's length covers the header and the fields of its kind.
        let view = unsafe EventView(base: base + at, offset: .none, length: 0)
        let allowed = kindRules[Int(kind.rawValue)]
        guard view.byte(5) & ~(kind == .opened ? 1 : 0) == 0 else { throw fail(5, "flags") }
        guard allowed.outcomes & (1 << UInt16(view.byte(6) & 15)) != 0, view.byte(6) < 16 else {
            throw fail(6, "outcome")
        }
        guard allowed.reasons & (1 << UInt16(view.byte(7) & 15)) != 0, view.byte(7) < 16 else {
            throw fail(7, "reason")
        }
        let peer = view.half(8)
        if kind == .intervened {
            guard (peer != 0) == (view.reason == .peer) else { throw fail(8, "peer") }
        } else {
            guard (peer != 0) == allowed.hasPeer else { throw fail(8, "peer") }
        }
        guard allowed.mayHaveAttempt || view.half(12) == 0 else { throw fail(12, "attempt") }
        guard (view.word(16) != 0) == allowed.hasSequence else { throw fail(16, "sequence") }
        guard allowed.mayHaveDeadline || view.word(24) == 0,
            view.word(24) <= Timestamp.greatest.rawValue
        else { throw fail(24, "deadline") }
        guard allowed.mayHaveCause || view.word(32) == 0 else { throw fail(32, "cause") }
        guard allowed.mayHaveCorrelation || view.word(40) | view.word(48) == 0 else {
            throw fail(40, "correlation")
        }
        guard payloadLength == 0 || allowed.mayHavePayload else { throw fail(0, "payload") }
        var payloadMax = CommitFormat.payloadLengthMax
        switch kind {
        case .opened:
            guard view.half(76) == 0 else { throw fail(76, "reserved field") }
        case .commanded:
            guard view.half(84) == 0 else { throw fail(84, "reserved field") }
            let result = Int(view.half(80))
            guard result <= payloadLength, result <= CommitFormat.payloadLengthMax else {
                throw fail(80, "result length")
            }
            payloadMax += result
        case .reemitted:
            guard view.word(56) >= view.word(16) else { throw fail(56, "range") }
        case .received:
            guard view.word(56) <= Timestamp.greatest.rawValue else { throw fail(56, "sent-at") }
        default:
            break
        }
        guard payloadLength <= payloadMax else { throw fail(0, "payload length") }
    }

    /// Runs a closure over each event in order.
    @inline(__always)
    public func forEach<E: Error>(_ body: (EventView) throws(E) -> Void) throws(E) {
        var at = CommitFormat.headerLength
        var offset = firstOffset.rawValue
        while at < length {
            let eventLength = Int(half(at))
            // In bounds: validation has walked the same lengths.
            try body(
                unsafe EventView(base: base + at, offset: Offset(offset), length: eventLength))
            at += CommitFormat.padded(eventLength)
            offset &+= 1
        }
    }

    /// The bytes of the commit: what the head is the SHA-256 of.
    public func withBytes<R, E: Error>(_ body: (RawSpan) throws(E) -> R) throws(E) -> R {
        let buffer = unsafe UnsafeRawBufferPointer(start: base, count: length)
        return try unsafe body(buffer.bytes)
    }
}

/// An ``EventShape`` as bit sets, for the check of every event that is read.
private struct KindRules {
    var outcomes: UInt16 = 0
    var reasons: UInt16 = 0
    var hasPeer = false
    var hasSequence = false
    var mayHaveAttempt = false
    var mayHaveDeadline = false
    var mayHaveCause = false
    var mayHaveCorrelation = false
    var mayHavePayload = false
}

private let kindRules: [KindRules] = EventShape.table.map { shape in
    var rules = KindRules()
    for outcome in shape.outcomes { rules.outcomes |= 1 << UInt16(outcome.rawValue) }
    for reason in shape.reasons { rules.reasons |= 1 << UInt16(reason.rawValue) }
    rules.hasPeer = shape.hasPeer
    rules.hasSequence = shape.hasSequence
    rules.mayHaveAttempt = shape.mayHaveAttempt
    rules.mayHaveDeadline = shape.mayHaveDeadline
    rules.mayHaveCause = shape.mayHaveCause
    rules.mayHaveCorrelation = shape.mayHaveCorrelation
    rules.mayHavePayload = shape.mayHavePayload
    return rules
}

extension RawSpan {
    /// Validates the span as a commit and runs a closure over it.
    ///
    /// - Parameter key: The record's key; it must be the commit's first offset.
    public func withCommit<R>(
        key: Offset? = nil, _ body: (CommitView) throws -> R
    ) throws -> R {
        try unsafe withUnsafeBytes { bytes in
            try unsafe body(CommitView(validating: bytes, key: key))
        }
    }
}
