/// The names and numbers of a ledger. Distinct numbers are distinct types, so that an offset of one
/// log cannot be used where a sequence of a channel is meant.

/// The number of a shard in its ledger, from 1; its position in the manifest's list of names.
public struct ShardID: Hashable, Comparable, Sendable {
    /// The number, from 1.
    public var rawValue: UInt32
    /// Makes an id of a number.
    public init(_ rawValue: UInt32) { self.rawValue = rawValue }
    public static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
}

/// The position of an event in its log, from 1, contiguous. Zero means "none".
public struct Offset: Hashable, Comparable, Sendable {
    /// The number.
    public var rawValue: UInt64
    /// Makes an offset of a number.
    public init(_ rawValue: UInt64) { self.rawValue = rawValue }
    /// No offset.
    public static let none = Offset(0)
    public static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
}

/// The position of a message in its channel, from 1, contiguous. Zero means "none".
public struct SequenceNumber: Hashable, Comparable, Sendable {
    /// The number.
    public var rawValue: UInt64
    /// Makes a sequence of a number.
    public init(_ rawValue: UInt64) { self.rawValue = rawValue }
    /// No sequence.
    public static let none = SequenceNumber(0)
    public static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
    /// The sequence behind this one; the greatest number stays where it is.
    public var next: SequenceNumber {
        SequenceNumber(rawValue == UInt64.max ? rawValue : rawValue + 1)
    }
}

/// The number of a shard's session, from 1: plus one at every start of its writer.
public struct Epoch: Hashable, Comparable, Sendable {
    /// The number.
    public var rawValue: UInt64
    /// Makes an epoch of a number.
    public init(_ rawValue: UInt64) { self.rawValue = rawValue }
    /// No session.
    public static let none = Epoch(0)
    public static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
}

/// Nanoseconds since 1970-01-01T00:00:00Z. Zero means "none"; a valid time is below 2^63.
public struct Timestamp: Hashable, Comparable, Sendable {
    /// Nanoseconds since 1970 UTC.
    public var rawValue: UInt64
    /// Makes a time of nanoseconds since 1970 UTC.
    public init(_ rawValue: UInt64) { self.rawValue = rawValue }
    /// No time.
    public static let none = Timestamp(0)
    /// The greatest valid time, in the year 2262.
    public static let greatest = Timestamp(UInt64(Int64.max))
    public static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }

    /// This time plus some nanoseconds, at most ``greatest``.
    public func advanced(byNanoseconds nanoseconds: UInt64) -> Timestamp {
        let (sum, overflow) = rawValue.addingReportingOverflow(nanoseconds)
        return overflow || sum > Self.greatest.rawValue ? Self.greatest : Timestamp(sum)
    }

    /// Nanoseconds from an earlier time to this one; zero when that one is later.
    public func nanoseconds(since earlier: Timestamp) -> UInt64 {
        rawValue > earlier.rawValue ? rawValue - earlier.rawValue : 0
    }
}

/// Sixteen opaque bytes: a correlation, a client, a session's random bytes, a plan, a ledger.
///
/// All zero means "none". The two words hold the bytes in memory order, read as little-endian.
public struct Bytes16: Hashable, Comparable, Sendable {
    /// The first eight bytes.
    public var low: UInt64
    /// The last eight bytes.
    public var high: UInt64
    /// All zero.
    public static let none = Bytes16(low: 0, high: 0)

    /// Makes sixteen bytes of two words.
    public init(low: UInt64, high: UInt64) {
        self.low = low
        self.high = high
    }

    public static func < (left: Self, right: Self) -> Bool {
        left.low.byteSwapped != right.low.byteSwapped
            ? left.low.byteSwapped < right.low.byteSwapped
            : left.high.byteSwapped < right.high.byteSwapped
    }
}

/// A SHA-256: of a commit (then it is the log's head), of a message, or of a state.
public struct Digest: Hashable, Sendable {
    /// The bytes in memory order, as four little-endian words.
    public var words: (UInt64, UInt64, UInt64, UInt64)
    /// All zero: no digest.
    public static let none = Digest((0, 0, 0, 0))

    /// Makes a digest of its words.
    public init(_ words: (UInt64, UInt64, UInt64, UInt64)) { self.words = words }

    public static func == (left: Self, right: Self) -> Bool {
        left.words.0 == right.words.0 && left.words.1 == right.words.1
            && left.words.2 == right.words.2 && left.words.3 == right.words.3
    }

    public func hash(into hasher: inout Hasher) { hasher.combine(words.0) }
}

/// One writer start, named so that no two are alike: the epoch and the random bytes of its `opened`.
public struct Session: Hashable, Sendable {
    /// Its number.
    public var epoch: Epoch
    /// Its random bytes.
    public var nonce: Bytes16
    /// No session.
    public static let none = Session(epoch: .none, nonce: .none)

    /// Names a session.
    public init(epoch: Epoch, nonce: Bytes16) {
        self.epoch = epoch
        self.nonce = nonce
    }
}

/// An ordered pair of shards.
public struct Channel: Hashable, Comparable, Sendable {
    /// Who sends.
    public var origin: ShardID
    /// Who receives.
    public var destination: ShardID

    /// Names a channel.
    public init(origin: ShardID, destination: ShardID) {
        self.origin = origin
        self.destination = destination
    }

    public static func < (left: Self, right: Self) -> Bool {
        (left.origin, left.destination) < (right.origin, right.destination)
    }
}

/// The name of a message: its channel and its place in it.
public struct MessageName: Hashable, Comparable, Sendable {
    /// Its channel.
    public var channel: Channel
    /// Its place in the channel.
    public var sequence: SequenceNumber

    /// Names a message.
    public init(channel: Channel, sequence: SequenceNumber) {
        self.channel = channel
        self.sequence = sequence
    }

    /// Names a message by both shards and its place.
    public init(from origin: ShardID, to destination: ShardID, _ sequence: SequenceNumber) {
        self.init(
            channel: Channel(origin: origin, destination: destination), sequence: sequence)
    }

    public static func < (left: Self, right: Self) -> Bool {
        left.channel != right.channel
            ? left.channel < right.channel : left.sequence < right.sequence
    }
}
