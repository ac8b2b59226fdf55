internal import CLMDB

/// A place in a table with 8-byte keys. It lives inside ``Transaction/withCursor(_:_:)``.
@safe public struct Cursor: ~Copyable {
    public enum Move: Sendable {
        case first
        case last
        case next
        case previous
        /// To this key, or to the first one after it.
        case seek(toOrAfter: UInt64)
    }

    private let pointer: OpaquePointer
    private let environment: Environment

    fileprivate init(_ transaction: TransactionHandle, _ table: Table) throws(LMDBError) {
        var opened: OpaquePointer?
        let returnCode = unsafe mdb_cursor_open(transaction.pointer, table.identifier, &opened)
        guard returnCode == MDB_SUCCESS, let opened = unsafe opened else {
            throw LMDBError(returnCode, "mdb_cursor_open", transaction.environment.path)
        }
        unsafe self.pointer = opened
        self.environment = transaction.environment
    }

    deinit {
        // Sound: a cursor is made and dropped inside withCursor, so its transaction is still alive.
        unsafe mdb_cursor_close(pointer)
    }

    /// Moves, and shows the record there to `body`.
    ///
    /// - Returns: Whether there is a record; if not, `body` is not called.
    /// - Throws: ``LMDBError/Code/corrupted`` when the key is not 8 bytes long.
    @discardableResult
    public func move(
        _ move: Move, _ body: (_ key: UInt64, _ value: RawSpan) throws(LMDBError) -> Void
    ) throws(LMDBError) -> Bool {
        guard let record = unsafe try record(move) else { return false }
        try unsafe body(record.key, record.value.bytes)
        return true
    }

    /// Moves, and shows the record there to `body`.
    @_disfavoredOverload
    @discardableResult
    public func move(
        _ move: Move, _ body: (_ key: UInt64, _ value: RawSpan) throws -> Void
    ) throws -> Bool {
        guard let record = unsafe try record(move) else { return false }
        try unsafe body(record.key, record.value.bytes)
        return true
    }

    /// Moves, and returns the key there; nil when there is no record.
    @discardableResult
    public func move(_ move: Move) throws(LMDBError) -> UInt64? {
        unsafe try record(move)?.key
    }

    /// Shows each record from the first one at or after `key` to the last one, until `body` returns
    /// false. Copies nothing and allocates nothing.
    public func forEach(
        from key: UInt64 = 0, _ body: (_ key: UInt64, _ value: RawSpan) throws(LMDBError) -> Bool
    ) throws(LMDBError) {
        var next = unsafe try record(.seek(toOrAfter: key))
        while let record = unsafe next {
            guard try unsafe body(record.key, record.value.bytes) else { return }
            unsafe next = try step(MDB_NEXT)
        }
    }

    /// Shows each record from the first one at or after `key` to the last one, until `body` returns
    /// false. Copies nothing and allocates nothing.
    @_disfavoredOverload
    public func forEach(
        from key: UInt64 = 0, _ body: (_ key: UInt64, _ value: RawSpan) throws -> Bool
    ) throws {
        var next = unsafe try record(.seek(toOrAfter: key))
        while let record = unsafe next {
            guard try unsafe body(record.key, record.value.bytes) else { return }
            unsafe next = try step(MDB_NEXT)
        }
    }

    private typealias Record = (key: UInt64, value: UnsafeRawBufferPointer)

    private func record(_ move: Move) throws(LMDBError) -> Record? {
        switch move {
        case .first: return unsafe try step(MDB_FIRST)
        case .last: return unsafe try step(MDB_LAST)
        case .next: return unsafe try step(MDB_NEXT)
        case .previous: return unsafe try step(MDB_PREV)
        case .seek(let key): return unsafe try step(MDB_SET_RANGE, key)
        }
    }

    @inline(__always)
    private func step(_ operation: MDB_cursor_op, _ key: UInt64 = 0) throws(LMDBError) -> Record? {
        var bigEndian = key.bigEndian
        var value = unsafe MDB_val()
        // On success liblmdb points the key into the map; until then it points to `bigEndian`.
        let (returnCode, found) = unsafe withUnsafeBytes(of: &bigEndian) {
            bytes -> (Int32, UInt64?) in
            var key = unsafe MDB_val(bytes)
            let returnCode = unsafe mdb_cursor_get(pointer, &key, &value, operation)
            guard returnCode == MDB_SUCCESS, unsafe key.mv_size == 8 else {
                return (returnCode, nil)
            }
            return (returnCode, unsafe key.buffer.loadUnaligned(as: UInt64.self))
        }
        if returnCode == MDB_NOTFOUND { return nil }
        try environment.check(returnCode, "mdb_cursor_get")
        guard let found else { throw LMDBError(.corrupted, "mdb_cursor_get", environment.path) }
        return unsafe (UInt64(bigEndian: found), value.buffer)
    }
}

extension Transaction where Self: ~Copyable {
    /// Runs `body` with a cursor on `table`. C: `mdb_cursor_open`, `mdb_cursor_close`.
    public func withCursor<Value>(
        _ table: Table, _ body: (borrowing Cursor) throws(LMDBError) -> Value
    ) throws(LMDBError) -> Value {
        try body(try Cursor(handle, table))
    }

    /// Runs `body` with a cursor on `table`. C: `mdb_cursor_open`, `mdb_cursor_close`.
    @_disfavoredOverload
    public func withCursor<Value>(
        _ table: Table, _ body: (borrowing Cursor) throws -> Value
    ) throws -> Value {
        try body(try Cursor(handle, table))
    }
}
