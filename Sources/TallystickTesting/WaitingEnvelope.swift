public import TallyCore

/// An envelope that waits in the network of a ``TestLedger``.
public struct WaitingEnvelope: Identifiable, Sendable, CustomStringConvertible {
    public enum Kind: String, Sendable {
        case deliver, answer, confirmAsk, confirmed, conflict, refused
    }

    /// Its number, from 1, in the order in which envelopes were released and duplicated.
    public let id: Int
    /// What will be delivered.
    public let bytes: [UInt8]
    /// What the bytes say.
    public let envelope: Envelope
    private let directory: ShardDirectory
    private let describe: @Sendable ([UInt8]) -> String

    init(
        id: Int, bytes: [UInt8], envelope: Envelope, directory: ShardDirectory,
        describe: @escaping @Sendable ([UInt8]) -> String
    ) {
        self.id = id
        self.bytes = bytes
        self.envelope = envelope
        self.directory = directory
        self.describe = describe
    }

    /// The name of the shard it comes from.
    public var from: String { directory.name(of: envelope.header.sender) }
    /// The name of the shard it goes to.
    public var to: String { directory.name(of: envelope.header.receiver) }

    public var kind: Kind {
        switch envelope.content {
        case .deliver: .deliver
        case .answer: .answer
        case .confirmAsk: .confirmAsk
        case .confirmed: .confirmed
        case .conflict: .conflict
        case .refused: .refused
        }
    }

    /// The messages that it carries, or speaks of.
    public var messages: [MessageName] {
        let (sender, receiver) = (envelope.header.sender, envelope.header.receiver)
        func named(_ sequence: SequenceNumber) -> MessageName {
            MessageName(from: receiver, to: sender, sequence)
        }
        return switch envelope.content {
        case .deliver(let items):
            items.map { MessageName(from: sender, to: receiver, $0.sequence) }
        case .answer(let items): items.map { named($0.sequence) }
        case .conflict(let items): items.map { named($0.sequence) }
        case .refused(let items): items.map { named($0.sequence) }
        case .confirmAsk, .confirmed: []
        }
    }

    /// One line: who says what to whom.
    public var description: String {
        let names = messages.map { directory.text($0) }
        let items: [String]
        switch envelope.content {
        case .deliver(let deliveries):
            items = zip(names, deliveries).map { "\($0) \"\(describe(Array($1.payload)))\"" }
        case .answer(let answers):
            items = zip(names, answers).map { name, answer in
                let said = answer.payload.isEmpty ? "" : " \"\(describe(Array(answer.payload)))\""
                return "\(name) \(answer.result)\(said)"
            }
        case .confirmAsk(let statement):
            items = ["has seen " + text(statement, of: envelope.header.receiver)]
        case .confirmed(let statement):
            // It repeats what the receiver has said of the sender's log.
            items = ["it has seen " + text(statement, of: envelope.header.sender)]
        case .conflict, .refused:
            items = names
        }
        return "\(from) -> \(to) \(kind.rawValue): " + items.joined(separator: ", ")
    }

    private func text(_ statement: Statement, of shard: ShardID) -> String {
        statement.session == .none ? "nothing" : directory.address(shard, statement.offset)
    }
}
