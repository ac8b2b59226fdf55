/// Why a ledger or a log cannot be opened, read or written: one line that says what, where and what to
/// do next.
///
/// Two errors are equal when their codes are equal.
public struct StoreError: Error, Equatable, Sendable, CustomStringConvertible {
    /// What kind of failure; stable.
    public enum Code: String, Sendable {
        /// The directory holds no ledger.
        case notALedger
        /// The ledger, or a file of it, has a format version that this program does not know.
        case newerFormat
        /// The manifest cannot be read or makes no sense.
        case manifest
        /// The manifest names a shard whose directory or file is not there.
        case missingShard
        /// A shard's `data.mdb` is empty.
        case emptyData
        /// Bytes of a log are not what was written.
        case damaged
        /// A log ends before what its mark says was released.
        case behindMark
        /// Another process, or this one, writes the shard already.
        case held
        /// The disk or the map is full; nothing was lost.
        case full
        /// The log has moved on since the head the caller expects; nothing was written.
        case moved
        /// The ledger is evidence (an import or a copy): it cannot be written.
        case sealed
        /// There is something in the place already.
        case exists
        /// No shard of that name, or no such offset.
        case unknown
        /// What is asked for is malformed.
        case malformed
        /// The operating system refused.
        case system
        /// A commit failed in a way that leaves its outcome open: close and open again.
        case unknownOutcome
    }

    /// What kind of failure.
    public var code: Code
    /// One line: what, where, what to do next.
    public var text: String

    /// What was thrown below, for whoever says the place and the next step in words of its own.
    package private(set) var cause: (any Error)?

    /// Makes an error of a code and a line.
    public init(_ code: Code, _ text: String) {
        self.code = code
        self.text = text
    }

    package init(_ code: Code, _ text: String, cause: any Error) {
        self.init(code, text)
        self.cause = cause
    }

    public static func == (left: Self, right: Self) -> Bool { left.code == right.code }
    public var description: String { text }
}
