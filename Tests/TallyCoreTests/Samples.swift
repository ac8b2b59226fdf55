import TallyCore

/// One event of each kind with every field that its kind may carry set, and commits made of them.
enum Samples {
    static let payload = Array("payload".utf8)
    static let result = Array("the result".utf8)

    static func bytes16(_ value: UInt64) -> Bytes16 {
        Bytes16(low: 0x0807_0605_0403_0200 + value, high: 0x1817_1615_1413_1200 + value)
    }
    static func digest(_ value: UInt64) -> Digest {
        Digest((value << 8 + 1, value << 8 + 2, value << 8 + 3, value << 8 + 4))
    }

    static func event(_ kind: EventKind) -> Event {
        var event = Event(kind)
        event.peer = ShardID(0x0102_0304)
        event.sequence = SequenceNumber(0x1122_3344_5566_7788)
        event.correlation = bytes16(1)
        event.cause = Offset(0x21)
        switch kind {
        case .opened:
            event = Event(kind)
            event.clean = true
            event.identity = bytes16(2)
            event.foldVersion = 0x31
        case .commanded:
            event.peer = ShardID(0)
            event.cause = .none
            event.identity = bytes16(3)
            event.settledThrough = SequenceNumber(0x32)
            event.resultLength = UInt32(result.count)
        case .sent:
            event.deadline = Timestamp(0x33)
        case .received:
            event.cause = .none
            event.outcome = .applied
            event.deadline = Timestamp(0x34)
            event.sentAt = Timestamp(0x35)
            event.peerOffset = Offset(0x36)
            event.settledThrough = SequenceNumber(0x37)
        case .answered:
            event.outcome = .rejected
        case .acknowledged:
            event.outcome = .accepted
            event.peerOffset = Offset(0x38)
        case .timedOut:
            event.reason = .forced
            event.peerOffset = Offset(0x39)
        case .reemitted:
            event.cause = .none
            event.correlation = .none
            event.reason = .recovery
            event.attempt = 0x3A
            event.through = SequenceNumber(0x1122_3344_5566_7799)
            event.identity = bytes16(4)
        case .conflicted:
            event.cause = .none
            event.correlation = .none
            event.reason = .delivery
            event.held = digest(5)
            event.offered = digest(6)
        case .witnessed:
            event.sequence = .none
            event.cause = .none
            event.correlation = .none
            event.peerEpoch = Epoch(0x3B)
            event.identity = bytes16(7)
            event.peerOffset = Offset(0x3C)
            event.held = digest(8)
        case .intervened:
            event.sequence = .none
            event.cause = .none
            event.correlation = .none
            event.reason = .peer
            event.peerEpoch = Epoch(0x3D)
            event.identity = bytes16(9)
            event.peerOffset = Offset(0x3E)
            event.statementOffset = Offset(0x3F)
            event.receivedThrough = SequenceNumber(0x40)
            event.floor = SequenceNumber(0x41)
            event.settledThrough = SequenceNumber(0x42)
            event.difference = 0x43
            event.held = digest(10)
        case .noted:
            event.peer = ShardID(0)
            event.sequence = .none
        }
        return event
    }

    static func hasPayload(_ kind: EventKind) -> Bool {
        switch kind {
        case .opened, .conflicted, .witnessed: false
        default: true
        }
    }

    static func commit(_ kinds: [EventKind], first: UInt64 = 0x51) -> [UInt8] {
        var builder = CommitBuilder()
        builder.open(firstOffset: Offset(first), timestamp: Timestamp(0x52), epoch: Epoch(0x53))
        for kind in kinds {
            builder.append(
                event(kind), payload: hasPayload(kind) ? payload : [],
                result: kind == .commanded ? result : [])
        }
        builder.seal(previousHead: digest(0x54))
        return builder.bytes
    }

    static var commits: [(name: String, bytes: [UInt8])] {
        EventKind.allCases.map { ($0.name, commit([$0])) } + [
            ("mixed", commit([.opened, .witnessed, .received, .answered, .noted, .sent]))
        ]
    }

    static var header: EnvelopeHeader {
        EnvelopeHeader(
            sender: ShardID(0x61), receiver: ShardID(0x62),
            senderSession: Session(epoch: Epoch(0x63), nonce: bytes16(11)),
            receiverSession: Session(epoch: Epoch(0x64), nonce: bytes16(12)),
            durableEnd: LogPosition(
                offset: Offset(0x65), head: digest(13), timestamp: Timestamp(0x66)))
    }

    static func delivery(_ sequence: UInt64) -> Delivery {
        Delivery(
            sequence: SequenceNumber(sequence), offset: Offset(0x67), sentAt: Timestamp(0x68),
            deadline: Timestamp(0x69), settledThrough: SequenceNumber(0x6A),
            correlation: bytes16(14), payload: payload[...])
    }

    static func answer(_ result: AnswerItem.Result) -> AnswerItem {
        AnswerItem(
            sequence: SequenceNumber(0x6B), offset: Offset(0x6C), result: result,
            digest: digest(15), payload: payload[...])
    }

    static var statement: Statement {
        var statement = Statement()
        statement.session = Session(epoch: Epoch(0x6D), nonce: bytes16(16))
        statement.offset = Offset(0x6E)
        statement.statementOffset = Offset(0x6F)
        statement.receivedThrough = SequenceNumber(0x70)
        statement.floor = SequenceNumber(0x71)
        statement.settledThrough = SequenceNumber(0x72)
        return statement
    }

    static var envelopes: [(name: String, envelope: Envelope)] {
        let answers: [AnswerItem.Result] = [.accepted, .rejected, .expired, .owed]
        let contents: [(String, Envelope.Content)] = [
            ("deliver", .deliver([delivery(0x73)])),
            ("deliver-run", .deliver([delivery(0x73), delivery(0x74)])),
            ("deliver-none", .deliver([])),
            ("answer", .answer(answers.map(answer))),
            ("confirm-ask", .confirmAsk(statement)),
            ("confirmed", .confirmed(statement)),
            (
                "conflict",
                .conflict([
                    ConflictItem(
                        sequence: SequenceNumber(0x75), held: digest(17), offered: digest(18))
                ])
            ),
            (
                "refused",
                .refused([
                    RefusedItem(
                        sequence: SequenceNumber(0x76), code: Refusal.Code.clockSkew.rawValue,
                        difference: 0x77)
                ])
            ),
        ]
        return contents.map { ($0.0, Envelope(header: header, content: $0.1)) }
    }
}
