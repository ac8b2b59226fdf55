internal import TallyCore

/// What one event says, kept beside the log and independent of the fold: laws are checked against it.
struct Fact: Equatable {
    var kind: EventKind
    var outcome: Outcome
    var reason: Reason
    var peer: ShardID
    var sequence: SequenceNumber
    var peerOffset: Offset
    var deadline: Timestamp
    var time: Timestamp
    /// Of the payload and the correlation.
    var content: UInt64
    /// Events of the log through this one's commit.
    var commitEnd: Offset
}

extension Fact {
    init(_ view: EventView, time: Timestamp, commitEnd: Offset) {
        kind = view.kind
        outcome = view.outcome
        reason = view.reason
        peer = view.peer
        sequence = view.sequence
        peerOffset = view.peerOffset
        deadline = view.deadline
        self.time = time
        self.commitEnd = commitEnd
        content = view.withPayload { Self.hash($0) }
    }

    /// FNV-1a, by words: quick, and told apart from what the code under test uses.
    static func hash(_ bytes: RawSpan) -> UInt64 {
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        var at = 0
        while at + 8 <= bytes.byteCount {
            // Sound: every bit pattern is an integer, and the bounds are checked.
            let word = unsafe bytes.unsafeLoadUnaligned(fromByteOffset: at, as: UInt64.self)
            hash = (hash ^ word) &* 0x0000_0100_0000_01B3
            hash ^= hash >> 29
            at += 8
        }
        while at < bytes.byteCount {
            let byte = unsafe bytes.unsafeLoad(fromByteOffset: at, as: UInt8.self)
            hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01B3
            at += 1
        }
        return hash ^ UInt64(bytes.byteCount)
    }
}

/// The facts of one shard's log, by offset, and where the halves of each message stand.
struct Facts {
    /// Where one channel's messages stand; offsets by sequence, zero where there is none.
    struct Channel {
        var sent: [UInt64] = []
        var terminal: [UInt64] = []
        var received: [UInt64] = []
        var answered: [UInt64] = []
    }

    private(set) var all: ContiguousArray<Fact> = []
    private(set) var channels: ContiguousArray<Channel>
    /// Facts that a restored log does not hold any more, by the order in which they were lost.
    private(set) var ghosts: [Fact] = []

    init(shardCount: Int) {
        channels = ContiguousArray(repeating: Channel(), count: shardCount + 1)
    }

    subscript(_ offset: Offset) -> Fact? {
        offset != .none && offset.rawValue <= UInt64(all.count)
            ? all[Int(offset.rawValue) - 1] : nil
    }

    static func at(_ offsets: [UInt64], _ sequence: SequenceNumber) -> Offset {
        let index = Int(sequence.rawValue)
        return Offset(index < offsets.count ? offsets[index] : 0)
    }

    private static func set(
        _ offsets: inout [UInt64], _ sequence: SequenceNumber, _ offset: UInt64
    ) -> Bool {
        let index = Int(sequence.rawValue)
        while offsets.count <= index { offsets.append(0) }
        guard offsets[index] == 0 else { return false }
        offsets[index] = offset
        return true
    }

    /// Adds a fact.
    ///
    /// - Returns: False when the log says the same of a message twice.
    mutating func append(_ fact: Fact) -> Bool {
        all.append(fact)
        let index = Int(fact.peer.rawValue)
        guard channels.indices.contains(index) else { return true }
        let offset = UInt64(all.count)
        switch fact.kind {
        case .sent: return Self.set(&channels[index].sent, fact.sequence, offset)
        case .received: return Self.set(&channels[index].received, fact.sequence, offset)
        case .answered: return Self.set(&channels[index].answered, fact.sequence, offset)
        case .acknowledged, .timedOut:
            return Self.set(&channels[index].terminal, fact.sequence, offset)
        default: return true
        }
    }

    /// Forgets what lies behind an offset; `areGhosts`: it was durable, and others may know of it.
    mutating func truncate(to offset: Offset, areGhosts: Bool) {
        let count = Int(offset.rawValue)
        guard count < all.count else { return }
        if areGhosts { ghosts += all[count...] }
        all.removeLast(all.count - count)
        for index in channels.indices {
            Self.cut(&channels[index].sent, offset.rawValue)
            Self.cut(&channels[index].terminal, offset.rawValue)
            Self.cut(&channels[index].received, offset.rawValue)
            Self.cut(&channels[index].answered, offset.rawValue)
        }
    }

    private static func cut(_ offsets: inout [UInt64], _ last: UInt64) {
        for index in offsets.indices where offsets[index] > last { offsets[index] = 0 }
    }
}
