import TallyCore

/// One event as a line states it.
struct InterchangeRecord {
    var shard = ShardID(0)
    /// Nil where the line leaves it to the reader.
    var offset: UInt64?
    /// Nil where the line leaves it to the reader.
    var commit: UInt64?
    var time = Timestamp.none
    var epoch = Epoch.none
    var event = Event(.noted)
    var payload: [UInt8] = []
    var result: [UInt8] = []
    var head: Digest?
}

/// Reads event lines of one ledger.
struct InterchangeReader {
    private let directory: ShardDirectory
    private let names = InterchangeKey.names
    private let kinds = EventKind.allCases.map { Array($0.name.utf8) }
    private let outcomes = Outcome.allCases.map { Array($0.name.utf8) }
    private let reasons = Reason.allCases.map { Array($0.name.utf8) }
    private var shards: [[UInt8]: ShardID] = [:]
    private var times = TimeText()
    /// Lines of one shard stand together as a rule.
    private var lastShard: (name: [UInt8], id: ShardID) = ([], ShardID(0))

    init(_ directory: ShardDirectory) {
        self.directory = directory
        for shard in directory.all {
            shards[Array(directory.name(of: shard).utf8)] = shard
        }
    }

    /// Reads one line.
    ///
    /// The keys are checked against the kind here; their values are checked against the byte table
    /// when the commit is sealed.
    mutating func record(_ line: Span<UInt8>) throws(InterchangeFault) -> InterchangeRecord {
        var record = InterchangeRecord()
        var scanner = InterchangeScanner()
        var seen: UInt64 = 0
        var last = -1
        try scanner.object(line, "an object, an event") {
            (scanner, name) throws(InterchangeFault) in
            guard let key = key(name, after: last) else {
                throw InterchangeFault("the key \"\(printable(name))\" is not one of an event")
            }
            guard seen & key.bit == 0 else {
                throw InterchangeFault("the key \"\(key.name)\" stands twice")
            }
            seen |= key.bit
            last = key.rawValue
            try read(key, line, &scanner, into: &record)
        }
        try scanner.end(line)
        let kind = record.event.kind
        guard seen & InterchangeKey.kind.bit != 0 else {
            throw InterchangeFault("the key \"kind\" is missing")
        }
        let missing = InterchangeKey.required[Int(kind.rawValue)] & ~seen
        if let key = InterchangeKey.first(in: missing) {
            throw InterchangeFault("the key \"\(key.name)\" of a \(kind.name) event is missing")
        }
        let excess = seen & ~InterchangeKey.allowed[Int(kind.rawValue)]
        if let key = InterchangeKey.first(in: excess) {
            throw InterchangeFault("a \(kind.name) event has no key \"\(key.name)\"")
        }
        return record
    }

    /// The key of a name, looked for from the one behind the last: lines keep the order as a rule.
    private func key(_ name: Span<UInt8>, after last: Int) -> InterchangeKey? {
        for step in 1...names.count {
            let place = (last + step) % names.count
            if isEqual(names[place], name) { return InterchangeKey(rawValue: place) }
        }
        return nil
    }

    private func isEqual(_ name: [UInt8], _ bytes: Span<UInt8>) -> Bool {
        guard name.count == bytes.count else { return false }
        for index in 0..<name.count where name[index] != bytes[index] { return false }
        return true
    }

    private mutating func read(
        _ key: InterchangeKey, _ line: Span<UInt8>, _ scanner: inout InterchangeScanner,
        into record: inout InterchangeRecord
    ) throws(InterchangeFault) {
        func number(through max: UInt64 = .max) throws(InterchangeFault) -> UInt64 {
            try scanner.number(line, "\(key.name): a number", through: max)
        }
        switch key {
        case .shard: record.shard = try shard(line, &scanner)
        case .offset: record.offset = try number()
        case .commit: record.commit = try number()
        case .time: record.time = try time(key, line, &scanner)
        case .epoch: record.epoch = Epoch(try number())
        case .kind: record.event.kind = try choice(key, kinds, EventKind.allCases, line, &scanner)
        case .clean: record.event.clean = try scanner.bool(line, "clean: true or false")
        case .peer: record.event.peer = try peer(line, &scanner)
        case .sequence: record.event.sequence = SequenceNumber(try number())
        case .attempt: record.event.attempt = UInt32(try number(through: UInt64(UInt32.max)))
        case .outcome:
            record.event.outcome = try choice(key, outcomes, Outcome.allCases, line, &scanner)
        case .reason:
            record.event.reason = try choice(key, reasons, Reason.allCases, line, &scanner)
        case .deadline: record.event.deadline = try time(key, line, &scanner)
        case .cause: record.event.cause = Offset(try number())
        case .correlation: record.event.correlation = try identity(key, line, &scanner)
        case .nonce, .client, .plan, .peerNonce:
            record.event.identity = try identity(key, line, &scanner)
        case .foldVersion:
            record.event.foldVersion = UInt32(try number(through: UInt64(UInt32.max)))
        case .sentAt: record.event.sentAt = try time(key, line, &scanner)
        case .peerOffset: record.event.peerOffset = Offset(try number())
        case .settledThrough: record.event.settledThrough = SequenceNumber(try number())
        case .through: record.event.through = SequenceNumber(try number())
        case .held, .peerHead, .markHead: record.event.held = try head(key, line, &scanner)
        case .offered: record.event.offered = try head(key, line, &scanner)
        case .peerEpoch: record.event.peerEpoch = Epoch(try number())
        case .statementOffset: record.event.statementOffset = Offset(try number())
        case .receivedThrough: record.event.receivedThrough = SequenceNumber(try number())
        case .floor: record.event.floor = SequenceNumber(try number())
        case .difference: record.event.difference = try number()
        case .payload: record.payload = try base64(key, line, &scanner)
        case .result: record.result = try base64(key, line, &scanner)
        case .head: record.head = try head(key, line, &scanner)
        }
    }

    private mutating func shard(
        _ line: Span<UInt8>, _ scanner: inout InterchangeScanner
    ) throws(InterchangeFault) -> ShardID {
        try scanner.string(line, "shard: a string") { (name) throws(InterchangeFault) in
            if isEqual(lastShard.name, name), lastShard.id != ShardID(0) { return }
            guard name.count <= 64, let id = shards[Array(string(name).utf8)] else {
                throw InterchangeFault("there is no shard \"\(printable(name))\" in the header")
            }
            lastShard = (Array(string(name).utf8), id)
        }
        return lastShard.id
    }

    private func peer(
        _ line: Span<UInt8>, _ scanner: inout InterchangeScanner
    ) throws(InterchangeFault) -> ShardID {
        try scanner.string(line, "peer: a string") { (bytes) throws(InterchangeFault) in
            let name = string(bytes)
            if let id = directory.id(of: name) { return id }
            // A peer that the ledger does not have, as ShardDirectory.name(of:) writes it.
            if name.hasPrefix("shard-#"), let number = UInt32(name.dropFirst(7)) {
                let id = ShardID(number)
                if number > 0, !directory.contains(id), directory.name(of: id) == name { return id }
            }
            throw InterchangeFault("there is no shard \"\(printable(bytes))\" in the header")
        }
    }

    private func choice<Value>(
        _ key: InterchangeKey, _ names: [[UInt8]], _ values: [Value], _ line: Span<UInt8>,
        _ scanner: inout InterchangeScanner
    ) throws(InterchangeFault) -> Value {
        try scanner.string(line, "\(key.name): a string") { (bytes) throws(InterchangeFault) in
            for (index, name) in names.enumerated() where !name.isEmpty && isEqual(name, bytes) {
                return values[index]
            }
            throw InterchangeFault("there is no \(key.name) \"\(printable(bytes))\"")
        }
    }

    private mutating func time(
        _ key: InterchangeKey, _ line: Span<UInt8>, _ scanner: inout InterchangeScanner
    ) throws(InterchangeFault) -> Timestamp {
        let time = try scanner.string(line, "\(key.name): a string") { times.read($0) }
        guard let time else {
            throw InterchangeFault(
                "\(key.name): a time such as 2026-11-23T12:00:00.123456789Z is expected, from 1970"
                    + " through 2262")
        }
        return time
    }

    private func identity(
        _ key: InterchangeKey, _ line: Span<UInt8>, _ scanner: inout InterchangeScanner
    ) throws(InterchangeFault) -> Bytes16 {
        let value = try scanner.string(line, "\(key.name): a string") { bytes16(hexadecimal: $0) }
        guard let value else {
            throw InterchangeFault("\(key.name): 32 hexadecimal digits, lower case, are expected")
        }
        return value
    }

    private func head(
        _ key: InterchangeKey, _ line: Span<UInt8>, _ scanner: inout InterchangeScanner
    ) throws(InterchangeFault) -> Digest {
        let value = try scanner.string(line, "\(key.name): a string") { digest(hexadecimal: $0) }
        guard let value else {
            throw InterchangeFault("\(key.name): 64 hexadecimal digits, lower case, are expected")
        }
        return value
    }

    private func base64(
        _ key: InterchangeKey, _ line: Span<UInt8>, _ scanner: inout InterchangeScanner
    ) throws(InterchangeFault) -> [UInt8] {
        let value = try scanner.string(line, "\(key.name): a string") { decode(base64: $0) }
        guard let value else { throw InterchangeFault("\(key.name): this is not base64") }
        return value
    }
}
