public import TallyCore

/// What happened to a shard before the stimulus under test; see ``ProgramTest/given(_:)``.
///
/// Shards are named. A sequence that is left out is the next one of its channel, or the oldest one
/// that fits: the oldest message owed, the oldest one pending.
public enum Fact: Equatable, Sendable {
    /// A command was accepted.
    case commanded([UInt8], result: [UInt8] = [])
    /// A message left; nanoseconds to its deadline.
    case sent(to: String, [UInt8], deadlineAfter: UInt64? = nil)
    /// A message arrived and was applied; it is owed an answer from here on.
    case received(from: String, [UInt8], sequence: UInt64? = nil)
    /// A message arrived too late.
    case expired(from: String, [UInt8])
    /// A message of another shard was answered.
    case answered(from: String, accepted: Bool, [UInt8] = [], sequence: UInt64? = nil)
    /// The answer to an own message arrived.
    case acknowledged(by: String, accepted: Bool, [UInt8] = [], sequence: UInt64? = nil)
    /// An own message was recorded as expired by its destination.
    case timedOut(by: String, sequence: UInt64? = nil)
    /// A fact of the application.
    case noted([UInt8])
    /// Any event, as it stands in a log.
    case event(Event, [UInt8] = [])
}

/// What a program is asked to decide on; see ``ProgramTest/when(_:)``.
public enum TestStimulus: Equatable, Sendable {
    case command([UInt8])
    /// A message arrives in time.
    case message(from: String, [UInt8], sequence: UInt64? = nil)
    /// A message of this shard becomes terminal.
    case outcome(from: String, MessageResult, [UInt8] = [], sequence: UInt64? = nil)
}

/// An answer that a decision is expected to hold.
public struct ExpectedAnswer: Equatable, Sendable {
    var accepted: Bool
    var payload: [UInt8]
    var message: String?

    /// An acceptance.
    ///
    /// - Parameters:
    ///   - payload: The answer's bytes.
    ///   - message: `origin/destination/sequence`; `nil`: the message under test.
    public static func accepted(_ payload: [UInt8] = [], of message: String? = nil) -> Self {
        Self(accepted: true, payload: payload, message: message)
    }

    /// A rejection.
    public static func rejected(_ payload: [UInt8] = [], of message: String? = nil) -> Self {
        Self(accepted: false, payload: payload, message: message)
    }

    /// A rejection whose payload is a text.
    public static func rejected(_ text: String, of message: String? = nil) -> Self {
        rejected(Array(text.utf8), of: message)
    }
}

/// A message that a decision is expected to send.
public struct ExpectedSend: Equatable, Sendable {
    var destination: String
    var payload: [UInt8]
    var deadlineAfter: UInt64?
    var correlation: Bytes16?

    /// A message to a shard.
    ///
    /// - Parameters:
    ///   - destination: The shard's name.
    ///   - payload: The message's bytes.
    ///   - deadlineAfter: Nanoseconds from the commit's timestamp to the deadline.
    ///   - correlation: `nil`: inherited from the stimulus.
    public static func to(
        _ destination: String, _ payload: [UInt8], deadlineAfter: UInt64? = nil,
        correlation: Bytes16? = nil
    ) -> Self {
        Self(
            destination: destination, payload: payload, deadlineAfter: deadlineAfter,
            correlation: correlation)
    }
}

extension Stimulus {
    /// One line for a person.
    func text<P: Program>(_ program: P.Type, _ shard: ShardContext) -> String {
        switch self {
        case .command(let payload):
            return "the command \"\(P.describe(payload))\" at \(shard.name)"
        case .message(let name, let payload):
            return "the message \(shard.directory.text(name)) \"\(P.describe(payload))\""
        case .outcome(let name, let result, let payload):
            let said = payload.isEmpty ? "" : " \"\(P.describe(payload))\""
            return "the outcome \(result.rawValue)\(said) of \(shard.directory.text(name))"
        }
    }
}
