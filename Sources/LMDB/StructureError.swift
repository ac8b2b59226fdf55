/// The first place where a file is not what liblmdb would have written.
///
/// Two errors are equal when their codes are equal; the rest says where, and in words what.
public struct StructureError: Error, Equatable, Sendable, CustomStringConvertible {
    public enum Code: Sendable, Hashable {
        /// The operating system would not let the file be read.
        case unreadable
        /// The file has no bytes.
        case empty
        /// The file begins with two pages of zeros: creation did not get to the end.
        case blank
        /// The file ends before something it must hold.
        case truncated
        /// No LMDB file at all.
        case notADatabase
        /// An LMDB file of another format version.
        case version
        /// A meta page has an impossible field.
        case meta
        /// The two metas cannot be those of two neighbouring transactions.
        case transactions
        /// A table has an order or duplicates that this library never makes.
        case table
        /// A page's header is wrong, or it is not the page that was asked for.
        case page
        /// A record or branch entry does not fit its page, or has impossible fields.
        case node
        /// Keys are out of order, or outside what the page above says.
        case order
        /// A page number beyond the last page.
        case range
        /// A page is used twice, or used and free.
        case shared
        /// A value's own pages are wrong.
        case overflow
        /// A list of free pages is wrong.
        case freeList
        /// A count is not what was counted.
        case count
        /// A writer kept changing the file while it was read: take a reader slot first.
        case unsettled
    }

    public let code: Code
    public let page: UInt64
    /// Bytes from the beginning of the file.
    public let offset: UInt64
    public let message: String

    public static func == (first: StructureError, second: StructureError) -> Bool {
        first.code == second.code
    }

    public var description: String {
        "page \(page), byte \(offset): \(message)"
    }
}
