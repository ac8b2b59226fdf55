/// The application: its state, its fold, its decision. All of it is pure and synchronous; it sees no
/// clock, no randomness, and no order but that of the log.
public protocol Program: Sendable {
    /// The application's state of one shard.
    associatedtype State: Sendable

    /// The program's name in the manifest, for example `venue`.
    static var name: String { get }

    /// Plus one whenever `evolve` or `encode` gives another state for the same events. Recorded in
    /// each `opened`; snapshots of another version are not used.
    static var foldVersion: UInt32 { get }

    /// The empty state of a shard.
    static func initial(_ shard: ShardContext) -> State

    /// Decides what a stimulus leads to, from the state before it.
    ///
    /// - Throws: ``Refusal`` for a command that makes no sense in this state; it leaves no trace in the
    ///   log. A message or an outcome cannot be refused: answer a message with `rejected` instead.
    ///   What is thrown for those is a broken program, and the shard stops.
    static func decide(
        _ stimulus: Stimulus, _ state: State, _ shard: ShardContext
    ) throws(Refusal) -> Decision

    /// Folds one event into the state: the only place where state changes.
    ///
    /// Called for every event of the kinds `commanded`, `sent`, `received`, `answered`, `acknowledged`,
    /// `timedOut`, `intervened` and `noted`, in log order. Must be total: an event that makes no sense
    /// must not trap; let ``law(_:)`` report what it did.
    ///
    /// - Parameters:
    ///   - state: The state before the event, and after it.
    ///   - event: The event's fields.
    ///   - payload: The event's payload; borrowed for the call.
    ///   - shard: The shard whose log it is.
    static func evolve(
        _ state: inout State, _ event: Event, _ payload: RawSpan, _ shard: ShardContext)

    /// Reads a payload of an older form as today's.
    ///
    /// A log keeps the bytes that were written, for ever; a message sent by an older version may still
    /// be pending when this one starts. So every payload passes through here before ``decide(_:_:_:)``,
    /// ``evolve(_:_:_:_:)`` or ``describe(_:)`` sees it: those know today's form alone. The log, its
    /// heads and the digests of messages stay as they are.
    ///
    /// A payload has to tell its own form, by a tag in front for example: the version of the session
    /// that recorded it does not, because the receiver of a message records what the sender wrote.
    ///
    /// - Parameters:
    ///   - payload: Borrowed for the call.
    ///   - kind: Of the event that holds the payload, or will hold it.
    /// - Returns: Today's form; `nil` when the payload has it already, which costs no copy.
    static func upcast(_ payload: RawSpan, of kind: EventKind) -> [UInt8]?

    /// The state's canonical bytes: equal states give equal bytes.
    static func encode(_ state: State) -> [UInt8]

    /// Reads what ``encode(_:)`` wrote.
    ///
    /// - Returns: `nil` when the bytes are no state.
    static func decode(_ bytes: [UInt8], _ shard: ShardContext) -> State?

    /// Named values of a state, in a fixed order, for people and for comparisons.
    static func fields(_ state: State) -> [(name: String, value: String)]

    /// The program's own conservation law over the states of one cut.
    ///
    /// - Returns: A sentence for each way in which the law does not hold; empty when it holds.
    static func law(_ states: [(shard: ShardContext, state: State)]) -> [String]

    /// One line of text for a payload, for a person.
    static func describe(_ payload: [UInt8]) -> String
}

extension Program {
    /// There was never another form.
    public static func upcast(_ payload: RawSpan, of kind: EventKind) -> [UInt8]? { nil }

    /// No named values.
    public static func fields(_ state: State) -> [(name: String, value: String)] { [] }

    /// No law of its own.
    public static func law(_ states: [(shard: ShardContext, state: State)]) -> [String] { [] }

    /// Text when the payload is printable ASCII, else hexadecimal, at most 64 characters of either.
    public static func describe(_ payload: [UInt8]) -> String { Opaque.text(of: payload) }

    /// A recorded payload in today's form.
    public static func current(_ payload: [UInt8], of kind: EventKind) -> [UInt8] {
        // The span ends before the array does.
        unsafe upcast(payload.span.bytes, of: kind) ?? payload
    }

    /// Folds an event of a log into a state, its payload in today's form.
    ///
    /// - Complexity: What `evolve` costs; a payload of today's form is not copied.
    public static func fold(
        _ view: EventView, into state: inout State, _ shard: ShardContext
    ) {
        let event = view.event
        view.withPayload { payload in
            if let current = upcast(payload, of: event.kind) {
                // The span ends before the array does.
                unsafe evolve(&state, event, current.span.bytes, shard)
            } else {
                evolve(&state, event, payload, shard)
            }
        }
    }
}

/// What a program may know about the shard it runs on.
public struct ShardContext: Hashable, Sendable {
    /// The shard's id.
    public var shard: ShardID
    /// The ledger's names.
    public var directory: ShardDirectory

    /// Makes the context of a shard.
    public init(shard: ShardID, directory: ShardDirectory) {
        self.shard = shard
        self.directory = directory
    }

    /// The shard's own name.
    public var name: String { directory.name(of: shard) }

    /// A shard of the same ledger by its name.
    ///
    /// - Throws: ``Refusal/Code/unknownShard``.
    public func id(of name: String) throws(Refusal) -> ShardID {
        guard let shard = directory.id(of: name) else {
            throw Refusal(
                .unknownShard,
                "there is no shard \(name); there are \(directory.names.joined(separator: ", "))")
        }
        return shard
    }
}

/// What a decision is made on.
public enum Stimulus: Equatable, Sendable {
    /// A command from outside.
    case command(payload: [UInt8])
    /// A message that arrived in time. Expired messages are never shown to the program.
    case message(name: MessageName, payload: [UInt8])
    /// The outcome of a message this shard has sent.
    case outcome(name: MessageName, result: MessageResult, payload: [UInt8])
}

/// The terminal outcome of a message, as its origin knows it.
public enum MessageResult: String, Equatable, Sendable {
    /// The destination's answer, or its record that the message came too late.
    case accepted, rejected, timedOut
}

/// What a program wants to happen; appended behind its stimulus, in one commit: answers, then notes,
/// then sends.
public struct Decision: Equatable, Sendable {
    /// Answers to this message or to messages owed so far.
    public var answers: [Answer]
    /// Facts of the application.
    public var notes: [[UInt8]]
    /// Messages to other shards.
    public var sends: [Send]
    /// The result of a command, recorded and given to whoever asks again.
    public var result: [UInt8]

    /// Makes a decision; nothing unless given.
    public init(
        answers: [Answer] = [], notes: [[UInt8]] = [], sends: [Send] = [], result: [UInt8] = []
    ) {
        self.answers = answers
        self.notes = notes
        self.sends = sends
        self.result = result
    }

    /// An answer to one message.
    public struct Answer: Equatable, Sendable {
        /// The message answered.
        public var message: MessageName
        /// Yes or no.
        public var accepted: Bool
        /// The answer's bytes.
        public var payload: [UInt8]

        /// Makes an answer.
        public init(_ message: MessageName, accepted: Bool, payload: [UInt8] = []) {
            self.message = message
            self.accepted = accepted
            self.payload = payload
        }
    }

    /// One message to another shard.
    public struct Send: Equatable, Sendable {
        /// To whom.
        public var destination: ShardID
        /// The program's bytes.
        public var payload: [UInt8]
        /// Nanoseconds from the commit's timestamp to the deadline for receipt; `nil`: none.
        public var deadlineAfter: UInt64?
        /// `nil`: inherited from the stimulus.
        public var correlation: Bytes16?

        /// Makes a message; no deadline and the inherited correlation unless given.
        public init(
            to destination: ShardID, _ payload: [UInt8], deadlineAfter: UInt64? = nil,
            correlation: Bytes16? = nil
        ) {
            self.destination = destination
            self.payload = payload
            self.deadlineAfter = deadlineAfter
            self.correlation = correlation
        }
    }
}

/// Why a request makes no sense now. Nothing was recorded; it may be asked again later.
public struct Refusal: Error, Equatable, Sendable, CustomStringConvertible {
    /// Why; the numbers are stable and travel between shards.
    public enum Code: UInt32, Sendable {
        /// The program refused the command.
        case program = 1
        /// Too many messages of a channel are not settled.
        case backpressure = 2
        /// The client's sequence lies below what is remembered.
        case tooOld = 3
        /// The client used this sequence for another command.
        case conflicting = 4
        /// The payload is larger than 16 MiB.
        case payloadTooLarge = 5
        /// The destination is no shard of this ledger.
        case unknownShard = 6
        /// The log runs ahead of the wall clock by more than allowed.
        case clockBehind = 7
        /// The shard has stopped.
        case stopped = 8
        /// The disk or the map is full.
        case full = 9
        /// A peer's time is too far ahead.
        case clockSkew = 10
        /// The ledger is closing.
        case closing = 11
        /// The request names something that does not exist or is not in the state it needs.
        case notApplicable = 12
    }

    /// Why.
    public var code: Code
    /// One line for a person.
    public var text: String

    /// Makes a refusal of a code and a line.
    public init(_ code: Code, _ text: String) {
        self.code = code
        self.text = text
    }

    /// A refusal by the program itself.
    public init(_ text: String) { self.init(.program, text) }

    public var description: String { text }
}
