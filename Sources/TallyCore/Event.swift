/// The kinds of facts a log holds.
public enum EventKind: UInt8, CaseIterable, Sendable {
    /// A writer started: a session began.
    case opened = 1
    /// A command from outside was accepted.
    case commanded = 2
    /// A message left for another shard; it is pending from here on.
    case sent = 3
    /// A message arrived; it was applied, or it came too late and expired.
    case received = 4
    /// The answer to a received message was decided.
    case answered = 5
    /// The answer to a sent message arrived.
    case acknowledged = 6
    /// The destination's record of an expired receipt arrived, or an operator forced it.
    case timedOut = 7
    /// Pending messages were sent again.
    case reemitted = 8
    /// Bytes arrived that differ from what this log holds under that name.
    case conflicted = 9
    /// What this log has seen of a peer's log.
    case witnessed = 10
    /// An operator decided.
    case intervened = 11
    /// A fact of the application.
    case noted = 12

    /// Its name in text and in the interchange form.
    public var name: String {
        switch self {
        case .opened: "opened"
        case .commanded: "commanded"
        case .sent: "sent"
        case .received: "received"
        case .answered: "answered"
        case .acknowledged: "acknowledged"
        case .timedOut: "timedOut"
        case .reemitted: "reemitted"
        case .conflicted: "conflicted"
        case .witnessed: "witnessed"
        case .intervened: "intervened"
        case .noted: "noted"
        }
    }

    /// The kind of a name.
    public init?(name: some StringProtocol) {
        guard let kind = Self.allCases.first(where: { $0.name == name }) else { return nil }
        self = kind
    }

    /// Whether a decision begins at an event of this kind.
    public var isStimulus: Bool {
        switch self {
        case .commanded, .received, .acknowledged, .timedOut: true
        default: false
        }
    }
}

/// The disposition of a `received`, the outcome of an `answered` or `acknowledged`.
public enum Outcome: UInt8, CaseIterable, Sendable {
    /// The kind of event has none.
    case none = 0
    /// A receipt: in time, shown to the program.
    case applied = 1
    /// A receipt: too late, never shown to the program.
    case expired = 2
    /// An answer: yes.
    case accepted = 3
    /// An answer: no.
    case rejected = 4

    /// Its name in text and in the interchange form; empty for none.
    public var name: String {
        switch self {
        case .none: ""
        case .applied: "applied"
        case .expired: "expired"
        case .accepted: "accepted"
        case .rejected: "rejected"
        }
    }

    /// The outcome of a name.
    public init?(name: some StringProtocol) {
        guard let outcome = Self.allCases.first(where: { $0.name == name && $0 != .none })
        else { return nil }
        self = outcome
    }
}

/// Why an event of some kinds came about.
public enum Reason: UInt8, CaseIterable, Sendable {
    /// The event has none.
    case none = 0
    /// `reemitted`: no answer within the channel's backoff.
    case retry = 1
    /// `reemitted`: the deadline has passed and the outcome is unknown.
    case deadline = 2
    /// `reemitted`: a recovery plan.
    case recovery = 3
    /// `timedOut`: an operator, without evidence.
    case forced = 4
    /// `conflicted`: a delivery differs from the receipt.
    case delivery = 5
    /// `conflicted`: an answer names other bytes than were sent.
    case answer = 6
    /// `conflicted`: the destination says that it holds other bytes.
    case notice = 7
    /// `conflicted`: an answer to a message that was timed out by force.
    case overruled = 8
    /// `intervened`: a lost tail, as a peer stated it, was accepted.
    case peer = 9
    /// `intervened`: a log behind its own mark was accepted.
    case mark = 10
    /// `intervened`: a log ahead of the wall clock was accepted.
    case clock = 11

    /// Its name in text and in the interchange form; empty for none.
    public var name: String {
        switch self {
        case .none: ""
        case .retry: "retry"
        case .deadline: "deadline"
        case .recovery: "recovery"
        case .forced: "forced"
        case .delivery: "delivery"
        case .answer: "answer"
        case .notice: "notice"
        case .overruled: "overruled"
        case .peer: "peer"
        case .mark: "mark"
        case .clock: "clock"
        }
    }

    /// The reason of a name.
    public init?(name: some StringProtocol) {
        guard let reason = Self.allCases.first(where: { $0.name == name && $0 != .none })
        else { return nil }
        self = reason
    }
}

/// One event without its payload: every field of the byte table (``CommitFormat``), zero where it
/// does not apply. A plain value; decoding one allocates nothing.
public struct Event: Equatable, Sendable {
    /// What kind of fact.
    public var kind: EventKind
    /// `opened`: the session before this one was closed in good order.
    public var clean = false
    /// What became of the message.
    public var outcome = Outcome.none
    /// Why it came about.
    public var reason = Reason.none
    /// The destination of what was sent, the origin of what was received, the shard witnessed.
    public var peer = ShardID(0)
    /// `reemitted`: the count of attempts since something settled.
    public var attempt: UInt32 = 0
    /// The message's place in its channel; `commanded`: the client's own count; `reemitted`: the
    /// first of a range.
    public var sequence = SequenceNumber.none
    /// `sent`, `received`: the time by which it must be received.
    public var deadline = Timestamp.none
    /// The offset, in the same log, of what led to this event: of a `sent` or `noted` the
    /// stimulus, of an `answered` the receipt, of an `acknowledged` or `timedOut` the `sent`.
    public var cause = Offset.none
    /// Sixteen opaque bytes, inherited from the stimulus unless set.
    public var correlation = Bytes16.none

    /// `opened`: random bytes. `commanded`: the client. `reemitted`: the plan. `witnessed`,
    /// `intervened`: the random bytes of the peer's session.
    public var identity = Bytes16.none
    /// `opened`: the fold version of the program.
    public var foldVersion: UInt32 = 0
    /// `commanded`: bytes of the result, which stands behind the payload.
    public var resultLength: UInt32 = 0
    /// `received`: when the message was sent, by the origin's log.
    public var sentAt = Timestamp.none
    /// `received`, `acknowledged`, `timedOut`, `witnessed`, `intervened`: an offset of the peer's log.
    public var peerOffset = Offset.none
    /// `received`, `commanded`, `intervened`: all sequences through this one are terminal there.
    public var settledThrough = SequenceNumber.none
    /// `reemitted`: the last sequence of the range that begins at `sequence`.
    public var through = SequenceNumber.none
    /// `witnessed`, `intervened`: the epoch of the peer's session.
    public var peerEpoch = Epoch.none
    /// `conflicted`: what this log holds. `witnessed`: the peer's head. `intervened`: the mark's head.
    public var held = Digest.none
    /// `conflicted`: what arrived.
    public var offered = Digest.none
    /// `intervened`: the offset of the peer's statement in the peer's log.
    public var statementOffset = Offset.none
    /// `intervened`: the highest sequence that the peer has received from this shard.
    public var receivedThrough = SequenceNumber.none
    /// `intervened`: the peer's floor for messages of this shard.
    public var floor = SequenceNumber.none
    /// `intervened`: nanoseconds by which the log ran ahead of the wall clock.
    public var difference: UInt64 = 0

    /// An event of a kind, every other field zero.
    public init(_ kind: EventKind) { self.kind = kind }

    /// The session a `witnessed` or `intervened` names.
    public var peerSession: Session { Session(epoch: peerEpoch, nonce: identity) }
}
