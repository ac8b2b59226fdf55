internal import CLMDB

// Keys are unsigned 64-bit integers, stored as 8 big-endian bytes so that byte order is number
// order, or byte arrays of 1 to 511 bytes. One table holds one kind.

extension Transaction where Self: ~Copyable {
    /// How many records the table has. O(1). C: `mdb_stat`.
    public func entryCount(_ table: Table) throws(LMDBError) -> Int {
        var statistics = MDB_stat()
        let returnCode = unsafe mdb_stat(handle.pointer, table.identifier, &statistics)
        try handle.environment.check(returnCode, "mdb_stat")
        return Int(statistics.ms_entries)
    }

    /// Shows the value at `key` to `body`; nil when there is none. O(log n). C: `mdb_get`.
    public func get<Value>(
        _ table: Table, key: UInt64, _ body: (RawSpan) throws(LMDBError) -> Value
    ) throws(LMDBError) -> Value? {
        guard let value = unsafe try handle.value(table, key) else { return nil }
        return try unsafe body(value.bytes)
    }

    /// Shows the value at `key` to `body`; nil when there is none. O(log n). C: `mdb_get`.
    @_disfavoredOverload
    public func get<Value>(
        _ table: Table, key: UInt64, _ body: (RawSpan) throws -> Value
    ) throws -> Value? {
        guard let value = unsafe try handle.value(table, key) else { return nil }
        return try unsafe body(value.bytes)
    }

    /// A copy of the value at `key`; nil when there is none. C: `mdb_get`.
    public func get(_ table: Table, key: [UInt8]) throws(LMDBError) -> [UInt8]? {
        let found = unsafe key.span.withUnsafeBytes { key in unsafe handle.find(table, key) }
        guard let value = unsafe try handle.result(found) else { return nil }
        return unsafe [UInt8](value)
    }
}

extension TransactionHandle {
    fileprivate typealias Found = (returnCode: Int32, value: MDB_val)

    /// The bytes are liblmdb's: valid until the next write or the transaction's end.
    func value(_ table: Table, _ key: UInt64) throws(LMDBError) -> UnsafeRawBufferPointer? {
        var bigEndian = key.bigEndian
        let found = unsafe withUnsafeBytes(of: &bigEndian) { key in unsafe find(table, key) }
        return unsafe try result(found)
    }

    fileprivate func find(_ table: Table, _ key: UnsafeRawBufferPointer) -> Found {
        var key = unsafe MDB_val(key)
        var value = unsafe MDB_val()
        let returnCode = unsafe mdb_get(pointer, table.identifier, &key, &value)
        return unsafe (returnCode, value)
    }

    fileprivate func result(_ found: Found) throws(LMDBError) -> UnsafeRawBufferPointer? {
        if unsafe found.returnCode == MDB_NOTFOUND { return nil }
        unsafe try environment.check(found.returnCode, "mdb_get")
        return unsafe found.value.buffer
    }
}

extension WriteTransaction {
    /// Appends a record past the last key, its value written in place by `body`.
    ///
    /// The bytes that `body` gets are not zeroed; it must write every one. `body` must not use the
    /// transaction. C: `mdb_put` with `MDB_APPEND | MDB_RESERVE`.
    ///
    /// - Throws: ``LMDBError/Code/keyExists`` when `key` is not past the table's last key; nothing
    ///   is written and the transaction can go on.
    public func append(
        _ table: Table, key: UInt64, byteCount: Int,
        _ body: (UnsafeMutableRawBufferPointer) -> Void
    ) throws(LMDBError) {
        guard byteCount >= 0 else {
            throw LMDBError(MDB_BAD_VALSIZE, "mdb_put", handle.environment.path)
        }
        var value = unsafe MDB_val(mv_size: byteCount, mv_data: nil)
        let returnCode = unsafe put(table, key, &value, UInt32(MDB_APPEND | MDB_RESERVE))
        try handle.environment.check(returnCode, "mdb_put")
        // Sound: liblmdb has set mv_data to byteCount writable bytes, valid until the next write.
        unsafe body(UnsafeMutableRawBufferPointer(start: value.mv_data, count: byteCount))
    }

    /// Writes a record, over the one with this key if there is one. C: `mdb_put`.
    public func put(_ table: Table, key: UInt64, value: RawSpan) throws(LMDBError) {
        let returnCode = unsafe value.withUnsafeBytes { bytes in
            var value = unsafe MDB_val(bytes)
            return unsafe put(table, key, &value, 0)
        }
        try handle.environment.check(returnCode, "mdb_put")
    }

    /// Writes a record, over the one with this key if there is one. C: `mdb_put`.
    public func put(_ table: Table, key: UInt64, value: [UInt8]) throws(LMDBError) {
        // Sound: bytes have no padding.
        try put(table, key: key, value: unsafe value.span.bytes)
    }

    /// Writes a record, over the one with this key if there is one. C: `mdb_put`.
    public func put(_ table: Table, key: [UInt8], value: [UInt8]) throws(LMDBError) {
        let returnCode = unsafe key.span.withUnsafeBytes { key in
            unsafe value.span.withUnsafeBytes { value in
                var key = unsafe MDB_val(key)
                var value = unsafe MDB_val(value)
                return unsafe mdb_put(handle.pointer, table.identifier, &key, &value, 0)
            }
        }
        try handle.environment.check(returnCode, "mdb_put")
    }

    /// Deletes a record, and says whether there was one. C: `mdb_del`.
    @discardableResult
    public func delete(_ table: Table, key: UInt64) throws(LMDBError) -> Bool {
        var bigEndian = key.bigEndian
        let returnCode = unsafe withUnsafeBytes(of: &bigEndian) { key in
            unsafe delete(table, key)
        }
        return try wasDeleted(returnCode)
    }

    /// Deletes a record, and says whether there was one. C: `mdb_del`.
    @discardableResult
    public func delete(_ table: Table, key: [UInt8]) throws(LMDBError) -> Bool {
        try wasDeleted(unsafe key.span.withUnsafeBytes { key in unsafe delete(table, key) })
    }

    private func put(
        _ table: Table, _ key: UInt64, _ value: inout MDB_val, _ flags: UInt32
    ) -> Int32 {
        var bigEndian = key.bigEndian
        return unsafe withUnsafeBytes(of: &bigEndian) { key in
            var key = unsafe MDB_val(key)
            return unsafe mdb_put(handle.pointer, table.identifier, &key, &value, flags)
        }
    }

    private func delete(_ table: Table, _ key: UnsafeRawBufferPointer) -> Int32 {
        var key = unsafe MDB_val(key)
        return unsafe mdb_del(handle.pointer, table.identifier, &key, nil)
    }

    private func wasDeleted(_ returnCode: Int32) throws(LMDBError) -> Bool {
        if returnCode == MDB_NOTFOUND { return false }
        try handle.environment.check(returnCode, "mdb_del")
        return true
    }
}

extension MDB_val {
    /// For liblmdb to read; it does not write through the keys and values it is given.
    init(_ bytes: UnsafeRawBufferPointer) {
        unsafe self.init(
            mv_size: bytes.count, mv_data: UnsafeMutableRawPointer(mutating: bytes.baseAddress))
    }

    /// What liblmdb answered with. Sound: it sets both fields on success.
    var buffer: UnsafeRawBufferPointer {
        unsafe UnsafeRawBufferPointer(start: mv_data, count: mv_size)
    }
}
