internal import CLMDB
internal import Synchronization

#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#else
    internal import Darwin
#endif

/// One LMDB file and its lock file, open in this process.
///
/// A damaged file crashes liblmdb, so ``StructureCheck`` comes first, always. Opening does not
/// flush: what a crashed process left in the page cache is read as if it were durable, so
/// ``sync()`` comes second, before anything read is acted on.
///
/// Transactions keep their environment alive and ``close()`` refuses while one lives, so no
/// transaction can outlast the map it points into.
///
/// `@unchecked Sendable`: the handle is read and cleared under `state`, liblmdb's own functions are
/// thread-safe on an environment, and everything else here is immutable.
public final class Environment: @unchecked Sendable {
    public enum Access: Sendable {
        case readWrite
        /// Reads beside a live writer: takes a reader slot, and so writes the lock file.
        case readOnly
        /// Touches no lock file. Only for files that nobody writes: copies and read-only media.
        case readOnlyNoLock
    }

    public struct Options: Sendable {
        /// Bytes of address space, and the largest the file can become. Costs nothing until used.
        public var mapSize = 256 << 30
        public var maxTables = 4
        public var maxReaders = 126
        public var access = Access.readWrite
        /// Permissions of a file that is created.
        public var fileMode: UInt32 = 0o600
        /// Danger: a commit's meta page is flushed by the next commit or by ``Environment/sync()``.
        /// Until then a power loss takes that commit back, whole.
        public var noMetaSync = false
        /// Danger: nothing is flushed but by ``Environment/sync()``. A power loss may leave a file
        /// that is damaged beyond opening. For files that can be made again.
        public var noSync = false

        public init() {}

        public init(access: Access) {
            self.access = access
        }
    }

    /// The directory that holds `data.mdb`.
    public let path: String
    public let access: Access

    private let identity: FileIdentity?
    private let processIdentifier: pid_t
    private let state: Mutex<State>
    private let tableOpening = Mutex<Void>(())
    /// The thread that holds the write transaction, 0 when none does.
    private let writerThread = Atomic<UInt>(0)

    private struct State {
        var handle: EnvironmentHandle?
        var liveTransactions = 0
    }

    /// The version of the linked liblmdb.
    public static var version: (major: Int, minor: Int, patch: Int) {
        var major: Int32 = 0
        var minor: Int32 = 0
        var patch: Int32 = 0
        _ = unsafe mdb_version(&major, &minor, &patch)
        return (Int(major), Int(minor), Int(patch))
    }

    /// Opens the environment in the directory `path`, which must exist; a file that is missing is
    /// created when the access is `readWrite`. C: `mdb_env_open`.
    ///
    /// - Throws: ``LMDBError/Code/alreadyOpen`` when this process has this very file open, by
    ///   whatever path: closing one of two would drop the locks of both.
    public init(path: String, options: Options = Options()) throws(LMDBError) {
        let (handle, identity) = try Environment.open(path, options)
        self.path = path
        self.access = options.access
        self.identity = identity
        self.processIdentifier = getpid()
        self.state = Mutex(State(handle: handle))
    }

    deinit {
        // No transaction can be alive here: each holds a reference to this object.
        guard let handle = state.withLock({ $0.handle }) else { return }
        dispose(handle)
    }

    /// Unmaps and closes the file. Closing twice is allowed and does nothing.
    ///
    /// - Throws: ``LMDBError/Code/busy`` while a transaction is alive, and nothing is closed.
    public func close() throws(LMDBError) {
        let (handle, isBusy) = state.withLock { state -> (EnvironmentHandle?, Bool) in
            guard state.liveTransactions == 0 else { return (nil, true) }
            defer { state.handle = nil }
            return (state.handle, false)
        }
        if isBusy { throw LMDBError(.busy, "mdb_env_close", path) }
        if let handle { dispose(handle) }
    }

    private func dispose(_ handle: EnvironmentHandle) {
        // In a forked child the locks and reader slots are the parent's: leave everything alone.
        guard getpid() == processIdentifier else { return }
        Environment.close(handle, identity)
    }

    /// Opens a table in a transaction of its own, one such opening at a time.
    ///
    /// liblmdb forbids two transactions that open tables at the same time; this keeps that rule.
    public func openTable(name: String, create: Bool) throws(LMDBError) -> Table {
        let result = tableOpening.withLock { _ -> Result<Table, LMDBError> in
            do throws(LMDBError) {
                if create {
                    let transaction = try beginWrite()
                    let table = try transaction.openTable(name: name, create: true)
                    try transaction.commit()
                    return .success(table)
                }
                return .success(try beginRead().openTable(name: name))
            } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }

    /// Flushes everything, whatever the options say. C: `mdb_env_sync` with force.
    public func sync() throws(LMDBError) {
        let handle = try enter("mdb_env_sync")
        defer { leave() }
        try check(unsafe mdb_env_sync(handle.pointer, 1), "mdb_env_sync")
    }

    /// Makes sure that what was committed has a name: liblmdb goes on in a file that was removed.
    ///
    /// A path that leads nowhere any more is no fault: the whole directory may have been moved.
    ///
    /// - Throws: ``LMDBError/Code/replaced``.
    public func checkInPlace() throws(LMDBError) {
        guard let identity else { return }
        var status = stat()
        guard unsafe fstat(try fileDescriptor, &status) == 0 else {
            throw LMDBError(errno, "fstat", path)
        }
        var isReplaced = status.st_nlink == 0
        if unsafe stat(path + "/data.mdb", &status) == 0, FileIdentity(status) != identity {
            isReplaced = true
        }
        if isReplaced { throw LMDBError(.replaced, "fstat", path) }
    }

    /// Frees the slots of readers that died, and returns how many. C: `mdb_reader_check`.
    @discardableResult
    public func checkStaleReaders() throws(LMDBError) -> Int {
        let handle = try enter("mdb_reader_check")
        defer { leave() }
        var count: Int32 = 0
        try check(unsafe mdb_reader_check(handle.pointer, &count), "mdb_reader_check")
        return Int(count)
    }

    /// Writes a consistent copy into an existing, empty directory. C: `mdb_env_copy2`.
    ///
    /// Neither the copy nor its directory is flushed. Holds a read transaction meanwhile.
    public func copy(to directory: String) throws(LMDBError) {
        let handle = try enter("mdb_env_copy2")
        defer { leave() }
        try check(unsafe mdb_env_copy2(handle.pointer, directory, 0), "mdb_env_copy2")
    }

    /// C: `mdb_env_info`.
    public func info() throws(LMDBError) -> EnvironmentInfo {
        let handle = try enter("mdb_env_info")
        defer { leave() }
        var info = unsafe MDB_envinfo()
        try check(unsafe mdb_env_info(handle.pointer, &info), "mdb_env_info")
        return unsafe EnvironmentInfo(
            lastTransaction: UInt64(info.me_last_txnid), mapSize: Int(info.me_mapsize),
            lastPage: UInt64(info.me_last_pgno), readers: Int(info.me_numreaders),
            maxReaders: Int(info.me_maxreaders))
    }

    /// The descriptor of `data.mdb`, valid until the environment closes. C: `mdb_env_get_fd`.
    public var fileDescriptor: Int32 {
        get throws(LMDBError) {
            let handle = try enter("mdb_env_get_fd")
            defer { leave() }
            var descriptor: mdb_filehandle_t = -1
            try check(unsafe mdb_env_get_fd(handle.pointer, &descriptor), "mdb_env_get_fd")
            return descriptor
        }
    }

    /// Tells the kernel that the whole file is about to be read in order; cold scans get several
    /// times faster. Does nothing where there is no `posix_fadvise`.
    public func adviseSequential() throws(LMDBError) {
        #if canImport(Glibc) || canImport(Musl)
            let descriptor = try fileDescriptor
            for advice in [POSIX_FADV_SEQUENTIAL, POSIX_FADV_WILLNEED] {
                try check(posix_fadvise(descriptor, 0, 0, Int32(advice)), "posix_fadvise")
            }
        #endif
    }
}

/// What an environment says of itself.
public struct EnvironmentInfo: Sendable, Equatable {
    public let lastTransaction: UInt64
    /// Bytes.
    public let mapSize: Int
    public let lastPage: UInt64
    /// Reader slots ever used at once, and how many there are.
    public let readers: Int
    public let maxReaders: Int
}

// MARK: - Transactions

extension Environment {
    /// Begins a transaction that sees the last commit and nothing after it. C: `mdb_txn_begin`.
    public func beginRead() throws(LMDBError) -> ReadTransaction {
        ReadTransaction(try begin(UInt32(MDB_RDONLY)))
    }

    /// Begins the one write transaction, waiting until another one ends. C: `mdb_txn_begin`.
    ///
    /// It must end on the thread it began on; ending elsewhere blocks all later writers for ever.
    ///
    /// - Throws: ``LMDBError/Code/badTransaction`` when this thread is writing already, which
    ///   liblmdb would wait for without end.
    public func beginWrite() throws(LMDBError) -> WriteTransaction {
        let thread = Environment.currentThread
        if writerThread.load(ordering: .relaxed) == thread {
            throw LMDBError(.badTransaction, "mdb_txn_begin", path)
        }
        let handle = try begin(0)
        writerThread.store(thread, ordering: .relaxed)
        return WriteTransaction(handle)
    }

    private func begin(_ flags: UInt32) throws(LMDBError) -> TransactionHandle {
        let handle = try enter("mdb_txn_begin")
        var pointer: OpaquePointer?
        let returnCode = unsafe mdb_txn_begin(handle.pointer, nil, flags, &pointer)
        guard returnCode == MDB_SUCCESS, let pointer = unsafe pointer else {
            leave()
            throw LMDBError(returnCode, "mdb_txn_begin", path)
        }
        return unsafe TransactionHandle(environment: self, pointer: pointer)
    }

    /// Called before a write transaction gives up liblmdb's writer lock.
    func willEndWrite() {
        writerThread.store(0, ordering: .relaxed)
    }

    /// Called after a transaction has ended.
    func didEndTransaction() {
        leave()
    }

    func check(_ returnCode: Int32, _ operation: String) throws(LMDBError) {
        if returnCode != MDB_SUCCESS { throw LMDBError(returnCode, operation, path) }
    }

    /// Counts a user of the handle, so that `close()` cannot pull it away.
    private func enter(_ operation: String) throws(LMDBError) -> EnvironmentHandle {
        guard getpid() == processIdentifier else { throw LMDBError(.forked, operation, path) }
        let handle = state.withLock { state -> EnvironmentHandle? in
            if state.handle != nil { state.liveTransactions += 1 }
            return state.handle
        }
        guard let handle else { throw LMDBError(.closed, operation, path) }
        return handle
    }

    private func leave() {
        state.withLock { $0.liveTransactions -= 1 }
    }

    private static var currentThread: UInt {
        #if canImport(Glibc) || canImport(Musl)
            return UInt(pthread_self())
        #else
            return UInt(bitPattern: pthread_self())
        #endif
    }
}
