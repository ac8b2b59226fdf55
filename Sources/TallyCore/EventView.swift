import CCRC32C

/// One event, read in place.
///
/// The view borrows the bytes of a commit that ``CommitView`` has validated, which is why its loads
/// are in bounds; it lives no longer than the closure it was handed to.
@safe public struct EventView {
    @usableFromInline let base: UnsafeRawPointer
    public let offset: Offset
    let length: Int

    @inline(__always)
    init(base: UnsafeRawPointer, offset: Offset, length: Int) {
        unsafe self.base = base
        self.offset = offset
        self.length = length
    }

    @inline(__always)
    func word(_ at: Int) -> UInt64 {
        // In bounds: the caller reads header fields, or fields that the kind has.
        UInt64(littleEndian: unsafe base.loadUnaligned(fromByteOffset: at, as: UInt64.self))
    }

    @inline(__always)
    func half(_ at: Int) -> UInt32 {
        UInt32(littleEndian: unsafe base.loadUnaligned(fromByteOffset: at, as: UInt32.self))
    }

    @inline(__always)
    func byte(_ at: Int) -> UInt8 {
        unsafe base.loadUnaligned(fromByteOffset: at, as: UInt8.self)
    }

    /// See ``Event/kind``.
    @inline(__always) var kindByte: UInt8 { byte(4) }
    public var kind: EventKind { EventKind(rawValue: byte(4)) ?? .noted }
    /// See ``Event/outcome``.
    public var outcome: Outcome { Outcome(rawValue: byte(6)) ?? .none }
    /// See ``Event/reason``.
    public var reason: Reason { Reason(rawValue: byte(7)) ?? .none }
    /// See ``Event/peer``.
    public var peer: ShardID { ShardID(half(8)) }
    /// See ``Event/attempt``.
    public var attempt: UInt32 { half(12) }
    /// See ``Event/sequence``.
    public var sequence: SequenceNumber { SequenceNumber(word(16)) }
    /// See ``Event/deadline``.
    public var deadline: Timestamp { Timestamp(word(24)) }
    /// See ``Event/cause``.
    public var cause: Offset { Offset(word(32)) }
    /// See ``Event/correlation``.
    public var correlation: Bytes16 { Bytes16(low: word(40), high: word(48)) }

    /// The offset of the peer's log that this event names; none for kinds without the field.
    public var peerOffset: Offset {
        switch kind {
        case .acknowledged, .timedOut: Offset(word(56))
        case .received: Offset(word(64))
        case .witnessed, .intervened: Offset(word(80))
        case .opened, .commanded, .sent, .answered, .reemitted, .conflicted, .noted: .none
        }
    }

    func bytes16(_ at: Int) -> Bytes16 { Bytes16(low: word(at), high: word(at + 8)) }
    func digest(_ at: Int) -> Digest {
        Digest((word(at), word(at + 8), word(at + 16), word(at + 24)))
    }

    /// Runs a closure over the payload; a `commanded`'s result is not part of it.
    public func withPayload<R, E: Error>(_ body: (RawSpan) throws(E) -> R) throws(E) -> R {
        let start = CommitFormat.eventHeaderLength + fieldsLength(of: kind)
        let result = kind == .commanded ? Int(half(80)) : 0
        // In bounds: validation has checked that the length covers fields, payload and result.
        let buffer = unsafe UnsafeRawBufferPointer(
            start: base + start, count: max(0, length - start - result))
        return try unsafe body(buffer.bytes)
    }

    /// A copy of the payload.
    public var payload: [UInt8] { withPayload { $0.copied } }

    /// A copy of a `commanded`'s result; empty for other kinds.
    public var result: [UInt8] {
        guard kind == .commanded else { return [] }
        let count = Int(half(80))
        // In bounds: see above.
        let buffer = unsafe UnsafeRawBufferPointer(start: base + (length - count), count: count)
        return unsafe buffer.bytes.copied
    }

    /// All fields as a value; allocates nothing.
    public var event: Event {
        var event = Event(kind)
        event.clean = byte(5) & 1 == 1
        event.outcome = outcome
        event.reason = reason
        event.peer = peer
        event.attempt = attempt
        event.sequence = sequence
        event.deadline = deadline
        event.cause = cause
        event.correlation = correlation
        switch event.kind {
        case .opened:
            event.identity = bytes16(56)
            event.foldVersion = half(72)
        case .commanded:
            event.identity = bytes16(56)
            event.settledThrough = SequenceNumber(word(72))
            event.resultLength = half(80)
        case .received:
            event.sentAt = Timestamp(word(56))
            event.peerOffset = Offset(word(64))
            event.settledThrough = SequenceNumber(word(72))
        case .acknowledged, .timedOut:
            event.peerOffset = Offset(word(56))
        case .reemitted:
            event.through = SequenceNumber(word(56))
            event.identity = bytes16(64)
        case .conflicted:
            event.held = digest(56)
            event.offered = digest(88)
        case .witnessed:
            event.peerEpoch = Epoch(word(56))
            event.identity = bytes16(64)
            event.peerOffset = Offset(word(80))
            event.held = digest(88)
        case .intervened:
            event.peerEpoch = Epoch(word(56))
            event.identity = bytes16(64)
            event.peerOffset = Offset(word(80))
            event.statementOffset = Offset(word(88))
            event.receivedThrough = SequenceNumber(word(96))
            event.floor = SequenceNumber(word(104))
            event.settledThrough = SequenceNumber(word(112))
            event.difference = word(120)
            event.held = digest(128)
        case .sent, .answered, .noted:
            break
        }
        return event
    }
}

extension RawSpan {
    /// A copy of the bytes.
    public var copied: [UInt8] {
        unsafe withUnsafeBytes { unsafe Array($0) }
    }
}
