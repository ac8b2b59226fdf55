public import TallyCore
internal import TallyStore

/// Writes events of one shard as lines of the interchange form (see ``InterchangeForm``).
public struct InterchangeLine: Sendable {
    private let directory: ShardDirectory
    /// `{"shard":"trades-0","offset":`
    private let start: [UInt8]
    private var times = TimeText()

    /// A writer of one shard's lines.
    public init(shard: ShardID, directory: ShardDirectory) {
        self.directory = directory
        start = Array("{\"shard\":\"\(directory.name(of: shard))\",\"offset\":".utf8)
    }

    /// Where an event stands: what a line says of its commit.
    public struct Place: Sendable {
        /// The offset of the event.
        public var offset: Offset
        /// The first offset of the commit.
        public var commit: Offset
        /// The time of its commit.
        public var time: Timestamp
        /// The epoch of its commit.
        public var epoch: Epoch
        /// The commit's head; only for its last event.
        public var head: Digest?

        /// Names a place.
        public init(
            offset: Offset, commit: Offset, time: Timestamp, epoch: Epoch, head: Digest?
        ) {
            self.offset = offset
            self.commit = commit
            self.time = time
            self.epoch = epoch
            self.head = head
        }
    }

    /// Appends the lines of all events of a commit.
    ///
    /// - Complexity: One SHA-256 over the commit, and one pass.
    public mutating func write(_ commit: CommitView, into text: inout [UInt8]) {
        let last = commit.lastOffset
        let head = commit.head
        var place = Place(
            offset: .none, commit: commit.firstOffset, time: commit.timestamp, epoch: commit.epoch,
            head: nil)
        commit.forEach { view in
            place.offset = view.offset
            place.head = view.offset == last ? head : nil
            write(view.event, view.payload, view.result, at: place, into: &text)
        }
    }

    /// Appends the line of one event of a commit.
    ///
    /// - Complexity: For a commit's last event one SHA-256 over the commit.
    public mutating func write(
        _ view: EventView, of commit: CommitView, into text: inout [UInt8]
    ) {
        let place = Place(
            offset: view.offset, commit: commit.firstOffset, time: commit.timestamp,
            epoch: commit.epoch, head: view.offset == commit.lastOffset ? commit.head : nil)
        write(view.event, view.payload, view.result, at: place, into: &text)
    }

    /// Appends the line of one event.
    public mutating func write(
        _ event: Event, _ payload: [UInt8], _ result: [UInt8], at place: Place,
        into text: inout [UInt8]
    ) {
        text.append(contentsOf: start)
        text.append(decimal: place.offset.rawValue)
        number(.commit, place.commit.rawValue, &text)
        time(.time, place.time, &text)
        number(.epoch, place.epoch.rawValue, &text)
        name(.kind, event.kind.name, &text)
        if event.clean {
            begin(.clean, &text)
            text.append(contentsOf: Self.trueText)
        }
        if event.peer.rawValue != 0 { name(.peer, directory.name(of: event.peer), &text) }
        number(.sequence, event.sequence.rawValue, &text)
        number(.attempt, UInt64(event.attempt), &text)
        name(.outcome, event.outcome.name, &text)
        name(.reason, event.reason.name, &text)
        time(.deadline, event.deadline, &text)
        number(.cause, event.cause.rawValue, &text)
        hexadecimal(.correlation, event.correlation, &text)
        writeFields(of: event, into: &text)
        base64(.payload, payload, &text)
        base64(.result, result, &text)
        if let head = place.head { hexadecimal(.head, head, &text) }
        text.append(UInt8(ascii: "}"))
        text.append(UInt8(ascii: "\n"))
    }

    private mutating func writeFields(of event: Event, into text: inout [UInt8]) {
        switch event.kind {
        case .opened:
            hexadecimal(.nonce, event.identity, &text)
            number(.foldVersion, UInt64(event.foldVersion), &text)
        case .commanded:
            hexadecimal(.client, event.identity, &text)
            number(.settledThrough, event.settledThrough.rawValue, &text)
        case .received:
            time(.sentAt, event.sentAt, &text)
            number(.peerOffset, event.peerOffset.rawValue, &text)
            number(.settledThrough, event.settledThrough.rawValue, &text)
        case .acknowledged, .timedOut:
            number(.peerOffset, event.peerOffset.rawValue, &text)
        case .reemitted:
            number(.through, event.through.rawValue, &text)
            hexadecimal(.plan, event.identity, &text)
        case .conflicted:
            hexadecimal(.held, event.held, &text)
            hexadecimal(.offered, event.offered, &text)
        case .witnessed:
            number(.peerOffset, event.peerOffset.rawValue, &text)
            number(.peerEpoch, event.peerEpoch.rawValue, &text)
            hexadecimal(.peerNonce, event.identity, &text)
            hexadecimal(.peerHead, event.held, &text)
        case .intervened:
            number(.peerOffset, event.peerOffset.rawValue, &text)
            number(.settledThrough, event.settledThrough.rawValue, &text)
            number(.peerEpoch, event.peerEpoch.rawValue, &text)
            hexadecimal(.peerNonce, event.identity, &text)
            number(.statementOffset, event.statementOffset.rawValue, &text)
            number(.receivedThrough, event.receivedThrough.rawValue, &text)
            number(.floor, event.floor.rawValue, &text)
            number(.difference, event.difference, &text)
            hexadecimal(.markHead, event.held, &text)
        case .sent, .answered, .noted:
            break
        }
    }

    // MARK: One field; none is written when its value is zero or empty.

    private static let trueText = Array("true".utf8)
    /// `,"name":` by raw value.
    private let beginnings = InterchangeKey.allCases.map { Array(",\"\($0.name)\":".utf8) }

    private func begin(_ key: InterchangeKey, _ text: inout [UInt8]) {
        text.append(contentsOf: beginnings[key.rawValue])
    }

    private func number(_ key: InterchangeKey, _ value: UInt64, _ text: inout [UInt8]) {
        guard value != 0 else { return }
        begin(key, &text)
        text.append(decimal: value)
    }

    /// A text that needs no escape.
    private func name(_ key: InterchangeKey, _ value: String, _ text: inout [UInt8]) {
        guard !value.isEmpty else { return }
        begin(key, &text)
        text.append(UInt8(ascii: "\""))
        text.append(contentsOf: value.utf8)
        text.append(UInt8(ascii: "\""))
    }

    private mutating func time(
        _ key: InterchangeKey, _ value: Timestamp, _ text: inout [UInt8]
    ) {
        guard value != .none else { return }
        begin(key, &text)
        text.append(UInt8(ascii: "\""))
        times.write(value, into: &text)
        text.append(UInt8(ascii: "\""))
    }

    private func hexadecimal(_ key: InterchangeKey, _ value: Bytes16, _ text: inout [UInt8]) {
        guard value != .none else { return }
        begin(key, &text)
        text.append(UInt8(ascii: "\""))
        text.append(hexadecimal: value)
        text.append(UInt8(ascii: "\""))
    }

    private func hexadecimal(_ key: InterchangeKey, _ value: Digest, _ text: inout [UInt8]) {
        guard value != .none else { return }
        begin(key, &text)
        text.append(UInt8(ascii: "\""))
        text.append(hexadecimal: value)
        text.append(UInt8(ascii: "\""))
    }

    private func base64(_ key: InterchangeKey, _ value: [UInt8], _ text: inout [UInt8]) {
        guard !value.isEmpty else { return }
        begin(key, &text)
        text.append(UInt8(ascii: "\""))
        text.append(base64: value)
        text.append(UInt8(ascii: "\""))
    }
}
