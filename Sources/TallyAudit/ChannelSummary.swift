public import TallyCore

/// One channel, counted from both logs.
///
/// `sent` to `timedOut` count events. The others count messages, or for receipts that should not be
/// there, receipts.
public struct ChannelSummary: Equatable, Sendable {
    /// Sends in the origin's log.
    public var sent: UInt64 = 0
    /// Receipts, applied or expired.
    public var received: UInt64 = 0
    /// Answers in the destination's log.
    public var answered: UInt64 = 0
    /// Acknowledgements in the origin's log.
    public var acknowledged: UInt64 = 0
    /// Timeouts in the origin's log.
    public var timedOut: UInt64 = 0
    /// Sent and not settled; in a one-way log: sent, and no receipt of the same bytes.
    public var pending: UInt64 = 0
    /// Sends whose receipt holds the same bytes.
    public var matched: UInt64 = 0
    /// Pending, and not at the destination.
    public var undelivered: UInt64 = 0
    /// Pending, received and not answered.
    public var owed: UInt64 = 0
    /// Pending, and answered.
    public var unacknowledged: UInt64 = 0
    /// Pending, and expired at the destination.
    public var expired: UInt64 = 0
    /// Pending, and the destination's log cannot be read that far.
    public var unknown: UInt64 = 0
    /// Receipts with no send.
    public var unsent: UInt64 = 0
    /// Receipts of other bytes than were sent.
    public var conflicting: UInt64 = 0
    /// Further receipts of the same bytes.
    public var repeated: UInt64 = 0
    /// Timed out by force, and applied.
    public var overruled: UInt64 = 0
    /// Settled without what would justify it in the destination's log.
    public var unfounded: UInt64 = 0
    /// The other half lies outside the window of an import.
    public var outside: UInt64 = 0
    /// Halves that an operator's `recover accept` explains.
    public var lost: UInt64 = 0
    /// What the books need beside these.
    var books = Books()

    /// Nothing counted yet.
    public init() {}

    /// Where the two sides of a channel legitimately differ.
    struct Books: Equatable, Sendable {
        /// Applied receipts that no terminal event answers, because a tail was lost.
        var lostApplied: UInt64 = 0
        var lostExpired: UInt64 = 0
        /// Acknowledgements and timeouts whose receipt was lost.
        var lostAcknowledged: UInt64 = 0
        var lostTimedOut: UInt64 = 0
        /// Sends without a matching receipt: closed as lost, or timed out by force, or settled with
        /// the receipt lost, outside or unknown.
        var closedSends: UInt64 = 0
        var forced: UInt64 = 0
        /// Sends that an accepted loss closed.
        var closedAsLost: UInt64 = 0
        /// Forced timeouts of messages that had expired.
        var forcedExpired: UInt64 = 0
        /// Receipts whose send is outside or unknown, and terminal events whose receipt is.
        var isBounded = false
    }

    /// The counts by name, in the order of the interchange.
    public var fields: [(name: String, value: UInt64)] {
        [
            ("sent", sent), ("received", received), ("answered", answered),
            ("acknowledged", acknowledged), ("timedOut", timedOut), ("pending", pending),
            ("matched", matched), ("undelivered", undelivered), ("owed", owed),
            ("unacknowledged", unacknowledged), ("expired", expired), ("unknown", unknown),
            ("unsent", unsent), ("conflicting", conflicting), ("repeated", repeated),
            ("overruled", overruled), ("unfounded", unfounded), ("outside", outside),
            ("lost", lost),
        ]
    }
}

/// What is wrong with, or remarkable about, the halves of one message.
public enum HalfClass: String, CaseIterable, Sendable {
    /// A receipt with no send: forged, or the origin lost its tail.
    case unsent
    /// Same name, other bytes.
    case conflicting
    /// A further receipt of the same bytes.
    case repeated
    /// Timed out by force, and applied.
    case overruled
    /// Settled at the origin with no receipt, or with another outcome than the destination's.
    case unfounded
    /// Explained by a lost tail that an operator accepted.
    case lost
    /// The other half lies outside an import's window.
    case outside
    /// The other half lies in a log that cannot be read, or not that far.
    case unknown
}

/// One thing that the join says about one message.
public struct HalfFinding: Equatable, Sendable {
    /// Why settled halves contradict each other; stable.
    public enum Detail: String, Sendable {
        /// Nothing more to say.
        case none = ""
        /// Settled with no receipt.
        case noReceipt = "no-receipt"
        /// Acknowledged, and the destination has answered nothing.
        case noAnswer = "no-answer"
        /// Acknowledged with another outcome than was answered.
        case otherOutcome = "outcome-differs"
        /// Timed out, and no receipt says expired.
        case noExpiry = "timeout-without-expiry"
        /// Settled, and never sent.
        case noSend = "no-send"
    }

    /// The message it is about.
    public var message: MessageName
    /// What the halves say together.
    public var `class`: HalfClass
    /// Why, where the class alone does not tell.
    public var detail = Detail.none
    /// The places in the logs.
    public var evidence: [Evidence]
}
