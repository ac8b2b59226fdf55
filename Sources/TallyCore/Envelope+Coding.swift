import CCRC32C

extension Envelope {
    static let magic: UInt32 = 0x4E45_4C54
    static let headerLength = 144
    /// Bytes of an envelope at most; the sender splits what is larger.
    public static let lengthMax = 64 << 20

    private var tag: UInt8 {
        switch content {
        case .deliver: 1
        case .answer: 2
        case .confirmAsk: 3
        case .confirmed: 4
        case .conflict: 5
        case .refused: 6
        }
    }

    private var itemCount: Int {
        switch content {
        case .deliver(let items): items.count
        case .answer(let items): items.count
        case .confirmAsk, .confirmed: 1
        case .conflict(let items): items.count
        case .refused(let items): items.count
        }
    }

    /// The envelope's one byte form.
    public func encoded() -> [UInt8] {
        var body = ByteWriter(capacity: 256)
        switch content {
        case .deliver(let items): for item in items { item.encode(into: &body) }
        case .answer(let items): for item in items { item.encode(into: &body) }
        case .confirmAsk(let statement), .confirmed(let statement):
            statement.encode(into: &body)
        case .conflict(let items):
            for item in items {
                body.write(item.sequence.rawValue)
                body.write(item.held)
                body.write(item.offered)
            }
        case .refused(let items):
            for item in items {
                body.write(item.sequence.rawValue)
                body.write(item.code)
                body.write(item.difference)
            }
        }
        var head = ByteWriter(capacity: Self.headerLength + body.bytes.count)
        head.write(Self.magic)
        head.write(1 as UInt8)
        head.write(tag)
        head.write(0 as UInt16)
        head.write(UInt32(Self.headerLength + body.bytes.count))
        head.write(header.sender.rawValue)
        head.write(header.receiver.rawValue)
        head.write(0 as UInt32)
        head.write(header.senderSession)
        head.write(header.receiverSession)
        head.write(header.durableEnd.offset.rawValue)
        head.write(header.durableEnd.timestamp.rawValue)
        head.write(header.durableEnd.head)
        head.write(UInt32(itemCount))
        var crc = crc32c(0, head.bytes[...])
        let tail = [UInt8](repeating: 0, count: 16)
        crc = crc32c(crc32c(crc, tail[...]), body.bytes[...])
        head.write(crc)
        head.write(raw: tail)
        head.write(raw: body.bytes)
        return head.bytes
    }

    /// Reads an envelope and checks all of its form.
    ///
    /// - Returns: `nil` when the bytes are no valid envelope. Payloads are slices of the bytes.
    public init?(decoding bytes: [UInt8]) {
        guard bytes.count >= Self.headerLength, bytes.count <= Self.lengthMax else { return nil }
        var reader = ByteReader(bytes)
        guard reader.read(UInt32.self) == Self.magic, reader.read(UInt8.self) == 1,
            let tag = reader.read(UInt8.self), reader.read(UInt16.self) == 0,
            let length = reader.read(UInt32.self), Int(length) == bytes.count,
            let sender = reader.read(UInt32.self), let receiver = reader.read(UInt32.self),
            reader.read(UInt32.self) == 0, let senderSession = reader.readSession(),
            let receiverSession = reader.readSession(), let offset = reader.readOffset(),
            let time = reader.readTimestamp(), let head = reader.readDigest(),
            let count = reader.read(UInt32.self), let crc = reader.read(UInt32.self),
            reader.read(UInt64.self) == 0, reader.read(UInt64.self) == 0,
            crc == crc32c(crc32c(0, bytes[..<124]), bytes[128...])
        else { return nil }
        header = EnvelopeHeader(
            sender: ShardID(sender), receiver: ShardID(receiver), senderSession: senderSession,
            receiverSession: receiverSession,
            durableEnd: LogPosition(offset: offset, head: head, timestamp: time))
        switch tag {
        case 1:
            guard let items = Self.items(count, &reader, { Delivery(from: &$0) }) else {
                return nil
            }
            content = .deliver(items)
        case 2:
            guard let items = Self.items(count, &reader, { AnswerItem(from: &$0) }) else {
                return nil
            }
            content = .answer(items)
        case 3, 4:
            guard count == 1, let statement = Statement(from: &reader) else { return nil }
            content = tag == 3 ? .confirmAsk(statement) : .confirmed(statement)
        case 5:
            guard let items = Self.items(count, &reader, { ConflictItem(from: &$0) }) else {
                return nil
            }
            content = .conflict(items)
        case 6:
            guard let items = Self.items(count, &reader, { RefusedItem(from: &$0) }) else {
                return nil
            }
            content = .refused(items)
        default:
            return nil
        }
        guard reader.isAtEnd else { return nil }
    }

    private static func items<Item>(
        _ count: UInt32, _ reader: inout ByteReader, _ read: (inout ByteReader) -> Item?
    ) -> [Item]? {
        // Every item has at least 20 bytes: the count is checked before it is believed.
        guard Int(count) <= reader.remaining / 20 else { return nil }
        var items: [Item] = []
        items.reserveCapacity(Int(count))
        for _ in 0..<count {
            guard let item = read(&reader) else { return nil }
            items.append(item)
        }
        return items
    }
}

private func crc32c(_ seed: UInt32, _ bytes: ArraySlice<UInt8>) -> UInt32 {
    unsafe bytes.withUnsafeBytes { buffer in
        guard let base = buffer.baseAddress else { return seed }
        return unsafe tally_crc32c(seed, base, buffer.count)
    }
}

extension Delivery {
    /// Bytes of the item.
    public var encodedLength: Int { 60 + payload.count }

    func encode(into writer: inout ByteWriter) {
        writer.write(sequence.rawValue)
        writer.write(offset.rawValue)
        writer.write(sentAt.rawValue)
        writer.write(deadline.rawValue)
        writer.write(settledThrough.rawValue)
        writer.write(correlation)
        writer.write(counted: payload)
    }

    init?(from reader: inout ByteReader) {
        guard let sequence = reader.readSequence(), sequence != .none,
            let offset = reader.readOffset(), let sentAt = reader.readTimestamp(),
            let deadline = reader.readTimestamp(), let settled = reader.readSequence(),
            let correlation = reader.readBytes16(),
            let payload = reader.readCounted(max: CommitFormat.payloadLengthMax)
        else { return nil }
        self.init(
            sequence: sequence, offset: offset, sentAt: sentAt, deadline: deadline,
            settledThrough: settled, correlation: correlation, payload: payload)
    }
}

extension AnswerItem {
    /// Bytes of the item.
    public var encodedLength: Int { 53 + payload.count }

    func encode(into writer: inout ByteWriter) {
        writer.write(sequence.rawValue)
        writer.write(offset.rawValue)
        writer.write(result.rawValue)
        writer.write(digest)
        writer.write(counted: payload)
    }

    init?(from reader: inout ByteReader) {
        guard let sequence = reader.readSequence(), sequence != .none,
            let offset = reader.readOffset(), let raw = reader.read(UInt8.self),
            let result = Result(rawValue: raw), let digest = reader.readDigest(),
            let payload = reader.readCounted(max: CommitFormat.payloadLengthMax)
        else { return nil }
        self.init(
            sequence: sequence, offset: offset, result: result, digest: digest, payload: payload)
    }
}

extension ConflictItem {
    init?(from reader: inout ByteReader) {
        guard let sequence = reader.readSequence(), sequence != .none,
            let held = reader.readDigest(), let offered = reader.readDigest()
        else { return nil }
        self.init(sequence: sequence, held: held, offered: offered)
    }
}

extension RefusedItem {
    init?(from reader: inout ByteReader) {
        guard let sequence = reader.readSequence(), sequence != .none,
            let code = reader.read(UInt32.self),
            let difference = reader.read(UInt64.self)
        else { return nil }
        self.init(sequence: sequence, code: code, difference: difference)
    }
}
