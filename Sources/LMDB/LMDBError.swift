internal import CLMDB

#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#else
    internal import Darwin
#endif

/// What liblmdb, or this wrapper before it, refused to do.
///
/// Two errors are equal when their codes are equal; the rest is for the person who reads the
/// message.
public struct LMDBError: Error, Equatable, Sendable, CustomStringConvertible {
    public enum Code: Sendable, Hashable {
        /// The file would outgrow the map. The transaction must be aborted; nothing is lost.
        case mapFull
        /// Another process has grown the file beyond this environment's map.
        case mapResized
        /// Every reader slot is taken.
        case readersFull
        /// More tables than `Options.maxTables`.
        case tablesFull
        /// The transaction has too many dirty pages.
        case transactionFull
        /// The key is there already, or an appended key is not past the last one.
        case keyExists
        case notFound
        /// A page, or a key of a table with 8-byte keys, is not what it must be.
        case corrupted
        /// The file is not an LMDB file.
        case invalid
        case versionMismatch
        /// Writing a meta page has failed before; close the environment and open it again.
        case panic
        /// The transaction cannot go on, or this thread is already writing.
        case badTransaction
        case badReaderSlot
        /// A key of 0 or more than 511 bytes, or a value too long.
        case badValueSize
        /// The table was made with other flags, or the handle is of another environment.
        case badTable
        /// This process has this file open already.
        case alreadyOpen
        /// `data.mdb` was removed, or another file was put in its place, while it was open.
        case replaced
        /// Transactions are still alive, so the environment cannot be closed.
        case busy
        /// The environment is closed.
        case closed
        /// This process is a fork of the one that opened the environment.
        case forked
        case noSuchFile
        case fileExists
        case accessDenied
        case diskFull
        /// EIO. On a full disk liblmdb reports this and not ``diskFull``.
        case inputOutput
        case other
    }

    public let code: Code
    /// What the C function returned: an `MDB_` code, an `errno`, or 0 when the wrapper refused.
    public let returnCode: Int32
    /// The name of the C function.
    public let operation: String
    /// The environment's directory.
    public let path: String

    public static func == (first: LMDBError, second: LMDBError) -> Bool {
        first.code == second.code
    }

    public var description: String {
        "\(operation) on \(path): \(code): \(reason)"
    }

    private var reason: String {
        switch code {
        case .alreadyOpen: return "this process has the file open already"
        case .replaced: return "data.mdb was removed or replaced while it was open"
        case .busy: return "transactions are still alive"
        case .closed: return "the environment is closed"
        case .forked: return "the environment was opened before a fork"
        case .badTransaction where returnCode == 0: return "this thread is already writing"
        case .badTable where returnCode == 0: return "the table was made with other flags"
        case .corrupted where returnCode == 0: return "a key is not 8 bytes long"
        default:
            // Sound: mdb_strerror returns a static string, or one of strerror's, and never NULL.
            guard let text = unsafe mdb_strerror(returnCode) else { return "code \(returnCode)" }
            return unsafe String(cString: text)
        }
    }

    init(_ returnCode: Int32, _ operation: String, _ path: String) {
        self.code = Code(returnCode)
        self.returnCode = returnCode
        self.operation = operation
        self.path = path
    }

    init(_ code: Code, _ operation: String, _ path: String) {
        self.code = code
        self.returnCode = 0
        self.operation = operation
        self.path = path
    }
}

extension LMDBError.Code {
    init(_ returnCode: Int32) {
        switch returnCode {
        case MDB_MAP_FULL: self = .mapFull
        case MDB_MAP_RESIZED: self = .mapResized
        case MDB_READERS_FULL: self = .readersFull
        case MDB_DBS_FULL: self = .tablesFull
        case MDB_TXN_FULL: self = .transactionFull
        case MDB_KEYEXIST: self = .keyExists
        case MDB_NOTFOUND: self = .notFound
        case MDB_CORRUPTED, MDB_PAGE_NOTFOUND, MDB_CURSOR_FULL, MDB_PAGE_FULL: self = .corrupted
        case MDB_INVALID: self = .invalid
        case MDB_VERSION_MISMATCH: self = .versionMismatch
        case MDB_PANIC: self = .panic
        case MDB_BAD_TXN: self = .badTransaction
        case MDB_BAD_RSLOT: self = .badReaderSlot
        case MDB_BAD_VALSIZE: self = .badValueSize
        case MDB_BAD_DBI, MDB_INCOMPATIBLE: self = .badTable
        case ENOENT: self = .noSuchFile
        case EEXIST: self = .fileExists
        case EACCES, EPERM, EROFS: self = .accessDenied
        case ENOSPC: self = .diskFull
        case EIO: self = .inputOutput
        case EBUSY: self = .busy
        default: self = .other
        }
    }
}
