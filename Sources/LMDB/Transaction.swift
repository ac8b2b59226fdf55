internal import CLMDB

/// The pointer behind a transaction. Opaque: only this module can use it.
@safe public struct TransactionHandle {
    let environment: Environment
    let pointer: OpaquePointer

    init(environment: Environment, pointer: OpaquePointer) {
        self.environment = environment
        unsafe self.pointer = pointer
    }
}

/// A named table, valid in the environment that opened it for as long as that is open.
public struct Table: Sendable, Hashable {
    let identifier: MDB_dbi
}

/// What both kinds of transaction can do: look.
///
/// A transaction lives inside one synchronous scope, never across `await`. Bytes that it shows are
/// valid inside the closure that gets them; in a write transaction, do not write while looking.
public protocol Transaction: ~Copyable {
    var handle: TransactionHandle { get }
}

/// A snapshot: the state after one commit.
///
/// While it lives, no page that it can see is used again, so the file grows: keep it short.
public struct ReadTransaction: ~Copyable, Transaction {
    public let handle: TransactionHandle

    init(_ handle: TransactionHandle) {
        self.handle = handle
    }

    deinit {
        // For a reader, commit means abort, except that tables opened here stay open.
        // Sound: the pointer came from mdb_txn_begin and ends only here.
        _ = unsafe mdb_txn_commit(handle.pointer)
        handle.environment.didEndTransaction()
    }

    /// Opens a table that exists. C: `mdb_dbi_open`.
    ///
    /// No other transaction of the process may open tables meanwhile;
    /// ``Environment/openTable(name:create:)`` sees to that.
    public func openTable(name: String) throws(LMDBError) -> Table {
        try handle.openTable(name, flags: 0)
    }
}

/// The one write transaction. What it wrote is nothing until ``commit()``.
///
/// It begins and ends on one thread.
public struct WriteTransaction: ~Copyable, Transaction {
    public let handle: TransactionHandle
    private var isLive = true

    init(_ handle: TransactionHandle) {
        self.handle = handle
    }

    deinit {
        guard isLive else { return }
        handle.environment.willEndWrite()
        // Sound: commit() clears isLive, so the pointer ends once, here or there.
        unsafe mdb_txn_abort(handle.pointer)
        handle.environment.didEndTransaction()
    }

    /// Makes everything written visible and, under the default options, durable.
    ///
    /// An error is an unknown outcome: the commit may be there after the next open. Close the
    /// environment, open it again and look. C: `mdb_txn_commit`.
    public consuming func commit() throws(LMDBError) {
        isLive = false
        handle.environment.willEndWrite()
        // liblmdb frees the transaction whatever it returns.
        let returnCode = unsafe mdb_txn_commit(handle.pointer)
        handle.environment.didEndTransaction()
        try handle.environment.check(returnCode, "mdb_txn_commit")
    }

    /// Opens a table, or makes it. C: `mdb_dbi_open`. If the transaction aborts, the table is void.
    public func openTable(name: String, create: Bool) throws(LMDBError) -> Table {
        try handle.openTable(name, flags: create ? UInt32(MDB_CREATE) : 0)
    }
}

extension TransactionHandle {
    func openTable(_ name: String, flags: UInt32) throws(LMDBError) -> Table {
        var identifier: MDB_dbi = 0
        try environment.check(
            unsafe mdb_dbi_open(pointer, name, flags, &identifier), "mdb_dbi_open")
        var found: UInt32 = 0
        try environment.check(unsafe mdb_dbi_flags(pointer, identifier, &found), "mdb_dbi_flags")
        // Other orders and duplicates are not ours; the checks in this module know only plain
        // tables.
        guard found == 0 else { throw LMDBError(.badTable, "mdb_dbi_open", environment.path) }
        return Table(identifier: identifier)
    }
}

// MARK: - Scopes

extension Environment {
    /// Runs `body` in a read transaction.
    ///
    /// Write `{ transaction throws(LMDBError) in ... }` to get this overload; a closure without it
    /// throws any error.
    public func read<Value>(
        _ body: (borrowing ReadTransaction) throws(LMDBError) -> Value
    ) throws(LMDBError) -> Value {
        try body(try beginRead())
    }

    /// Runs `body` in a read transaction.
    @_disfavoredOverload
    public func read<Value>(
        _ body: (borrowing ReadTransaction) throws -> Value
    ) throws -> Value {
        try body(try beginRead())
    }

    /// Runs `body` in the write transaction; commits when it returns, aborts when it throws.
    ///
    /// - Throws: What `body` throws, and then nothing is written; an error of the commit is an
    ///   unknown outcome, see ``WriteTransaction/commit()``.
    public func write<Value>(
        _ body: (borrowing WriteTransaction) throws(LMDBError) -> Value
    ) throws(LMDBError) -> Value {
        let transaction = try beginWrite()
        let value = try body(transaction)
        try transaction.commit()
        return value
    }

    /// Runs `body` in the write transaction; commits when it returns, aborts when it throws.
    @_disfavoredOverload
    public func write<Value>(
        _ body: (borrowing WriteTransaction) throws -> Value
    ) throws -> Value {
        let transaction = try beginWrite()
        let value = try body(transaction)
        try transaction.commit()
        return value
    }
}
