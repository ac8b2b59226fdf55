import LMDB
import Testing

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

@Suite("environment and transactions")
struct EnvironmentTests {
    private struct Stop: Error {}

    private let directory = TemporaryDirectory()

    private func open(_ change: (inout Environment.Options) -> Void = { _ in }) throws
        -> Environment
    {
        var options = scratchOptions()
        change(&options)
        return try Environment(path: directory.path, options: options)
    }

    private func put(
        _ environment: Environment, _ table: Table, _ key: UInt64, _ value: String
    ) throws {
        try environment.write { transaction in
            try transaction.put(table, key: key, value: text(value))
        }
    }

    private func count(_ environment: Environment, _ table: Table) throws -> Int {
        try environment.read { transaction in try transaction.entryCount(table) }
    }

    private func expectCode(
        _ code: LMDBError.Code, sourceLocation: SourceLocation = #_sourceLocation,
        _ body: () throws -> Void
    ) {
        do {
            try body()
            Issue.record("nothing was thrown", sourceLocation: sourceLocation)
        } catch let error as LMDBError {
            #expect(error.code == code, "\(error)", sourceLocation: sourceLocation)
        } catch {
            Issue.record(error, sourceLocation: sourceLocation)
        }
    }

    @Test("what is committed is read by the next transaction")
    func commit() throws {
        let environment = try open()
        let table = try environment.openTable(name: "log", create: true)
        try put(environment, table, 7, "seven")
        let read = try environment.read { transaction in
            try transaction.get(table, key: 7) { value in value.byteCount }
        }
        #expect(read == 5)
        let missing = try environment.read { transaction in
            try transaction.get(table, key: 8) { value in value.byteCount }
        }
        #expect(missing == nil)
        #expect(try environment.info().lastTransaction == 2)
    }

    @Test("a closure that throws writes nothing, and its error comes out as it is")
    func abort() throws {
        let environment = try open()
        let table = try environment.openTable(name: "log", create: true)
        #expect(throws: Stop.self) {
            try environment.write { transaction in
                try transaction.put(table, key: [1], value: [2])
                throw Stop()
            }
        }
        #expect(try count(environment, table) == 0)
        let kept = try environment.read { transaction in try transaction.get(table, key: [1]) }
        #expect(kept == nil)
    }

    @Test("a write transaction that is dropped is aborted, and the next one can begin")
    func drop() throws {
        let environment = try open()
        let table = try environment.openTable(name: "log", create: true)
        do {
            let transaction = try environment.beginWrite()
            try transaction.put(table, key: [1], value: [2])
        }
        let transaction = try environment.beginWrite()
        #expect(try transaction.entryCount(table) == 0)
        try transaction.put(table, key: [3], value: [4])
        try transaction.commit()
        #expect(try count(environment, table) == 1)
    }

    @Test("a read transaction keeps seeing the commit it began with")
    func snapshot() throws {
        let environment = try open()
        let table = try environment.openTable(name: "log", create: true)
        try put(environment, table, 1, "one")
        let before = try environment.beginRead()
        try put(environment, table, 2, "two")
        #expect(try before.entryCount(table) == 1)
        #expect(try count(environment, table) == 2)
    }

    @Test("appending at or before the last key is refused, and the transaction goes on")
    func appendOrder() throws {
        let environment = try open()
        let table = try environment.openTable(name: "log", create: true)
        try environment.write { transaction in
            try unsafe transaction.append(table, key: 10, byteCount: 0) { _ in }
            for key: UInt64 in [10, 9, 0] {
                expectCode(.keyExists) {
                    try unsafe transaction.append(table, key: key, byteCount: 1) { _ in }
                }
            }
            try unsafe transaction.append(table, key: 11, byteCount: 0) { _ in }
        }
        #expect(try count(environment, table) == 2)
    }

    @Test("a long value written in place is read back whole")
    func reserve() throws {
        let environment = try open()
        let table = try environment.openTable(name: "log", create: true)
        let byteCount = 3_000_001
        try environment.write { transaction in
            try unsafe transaction.append(table, key: 1, byteCount: byteCount) { buffer in
                for index in buffer.indices {
                    unsafe buffer[index] = UInt8(truncatingIfNeeded: index % 251)
                }
            }
        }
        let isWhole = try environment.read { transaction in
            try transaction.get(table, key: 1) { value in
                value.byteCount == byteCount
                    && (0..<byteCount).allSatisfy { index in
                        unsafe value.unsafeLoad(fromByteOffset: index, as: UInt8.self)
                            == UInt8(truncatingIfNeeded: index % 251)
                    }
            }
        }
        #expect(isWhole == true)
    }

    @Test("a cursor goes through the keys as numbers, both ways, and finds the next one")
    func cursor() throws {
        let environment = try open()
        let table = try environment.openTable(name: "log", create: true)
        let keys: [UInt64] = [0, 1, 255, 256, 65_536, 1 << 40, .max]
        try environment.write { transaction in
            for key in keys.reversed() {
                try transaction.put(table, key: key, value: text("\(key)"))
            }
        }
        try environment.read { transaction in
            try transaction.withCursor(table) { cursor in
                var seen: [UInt64] = []
                var key = try cursor.move(.first)
                while let found = key {
                    seen.append(found)
                    key = try cursor.move(.next)
                }
                #expect(seen == keys)
                #expect(try cursor.move(.last) == .max)
                #expect(try cursor.move(.previous) == 1 << 40)
                #expect(try cursor.move(.seek(toOrAfter: 2)) == 255)
                let isThere = try cursor.move(.seek(toOrAfter: 65_536)) { key, value in
                    #expect(key == 65_536)
                    #expect(value.byteCount == 5)
                }
                #expect(isThere)
                var scanned: [UInt64] = []
                try cursor.forEach(from: 3) { key, _ in
                    scanned.append(key)
                    return key < 65_536
                }
                #expect(scanned == [255, 256, 65_536])
            }
        }
    }

    @Test("an empty table has no first record")
    func emptyTable() throws {
        let environment = try open()
        let table = try environment.openTable(name: "log", create: true)
        try environment.read { transaction in
            try transaction.withCursor(table) { cursor in
                let key = try cursor.move(.first)
                let isThere = try cursor.move(.seek(toOrAfter: 0)) { _, _ in Issue.record() }
                #expect(key == nil)
                #expect(!isThere)
            }
        }
    }

    @Test("a key that is not 8 bytes long is reported as corruption by a cursor")
    func wrongKey() throws {
        let environment = try open()
        let table = try environment.openTable(name: "meta", create: true)
        try environment.write { transaction in
            try transaction.put(table, key: text("name"), value: text("value"))
        }
        let value = try environment.read { transaction in
            try transaction.get(table, key: text("name"))
        }
        #expect(value == text("value"))
        expectCode(.corrupted) {
            _ = try environment.read { transaction in
                try transaction.withCursor(table) { cursor in try cursor.move(.first) }
            }
        }
    }

    @Test("deleting says whether there was a record")
    func delete() throws {
        let environment = try open()
        let table = try environment.openTable(name: "log", create: true)
        try put(environment, table, 1, "one")
        try environment.write { transaction in
            let first = try transaction.delete(table, key: 1)
            let second = try transaction.delete(table, key: 1)
            #expect(first)
            #expect(!second)
        }
        #expect(try count(environment, table) == 0)
    }

    @Test("opening the same file twice is refused, by another path too, until it is closed")
    func alreadyOpen() throws {
        let environment = try open()
        expectCode(.alreadyOpen) { _ = try open() }
        expectCode(.alreadyOpen) { _ = try open { $0.access = .readOnly } }
        expectCode(.alreadyOpen) {
            _ = try Environment(path: directory.path + "/../" + directory.path.dropFirst(5))
        }
        try environment.close()
        try environment.close()
        let again = try open()
        _ = try again.info()
        expectCode(.closed) { _ = try environment.info() }
    }

    @Test("an environment does not close under a transaction")
    func closeWhileBusy() throws {
        let environment = try open()
        do {
            let transaction = try environment.beginRead()
            expectCode(.busy) { try environment.close() }
            _ = transaction.handle
        }
        try environment.close()
    }

    @Test("a transaction keeps its environment alive")
    func lifetime() throws {
        var environment: Environment? = try open()
        let table = try #require(try environment?.openTable(name: "log", create: true))
        let transaction = try #require(environment).beginRead()
        environment = nil
        #expect(try transaction.entryCount(table) == 0)
    }

    @Test("a second write transaction on one thread is refused, not waited for")
    func nestedWrite() throws {
        let environment = try open()
        try environment.write { _ in
            expectCode(.badTransaction) { try environment.write { _ in } }
        }
        try environment.write { _ in }
    }

    @Test("a full map is an error of its own, and nothing before it is lost")
    func mapFull() throws {
        let environment = try open { $0.mapSize = 256 << 10 }
        let table = try environment.openTable(name: "log", create: true)
        try put(environment, table, 1, "one")
        expectCode(.mapFull) {
            try environment.write { transaction in
                for key: UInt64 in 2...1000 {
                    try unsafe transaction.append(table, key: key, byteCount: 4000) { buffer in
                        unsafe buffer.initializeMemory(as: UInt8.self, repeating: 0)
                    }
                }
            }
        }
        #expect(try count(environment, table) == 1)
        try put(environment, table, 2, "two")
    }

    @Test("reading without the lock works in a directory that cannot be written, more than once")
    func readOnlyNoLock() throws {
        do {
            let environment = try open()
            let table = try environment.openTable(name: "log", create: true)
            try put(environment, table, 1, "one")
        }
        _ = unsafe unlink(directory.path + "/lock.mdb")
        _ = unsafe chmod(directory.path, 0o555)
        let first = try open { $0.access = .readOnlyNoLock }
        let second = try open { $0.access = .readOnlyNoLock }
        for environment in [first, second] {
            let table = try environment.openTable(name: "log", create: false)
            #expect(try count(environment, table) == 1)
        }
        #expect(!directory.exists("lock.mdb"))
    }

    @Test("a table that does not exist, and a directory that does not, are errors of their own")
    func missing() throws {
        let environment = try open()
        expectCode(.notFound) { _ = try environment.openTable(name: "none", create: false) }
        expectCode(.noSuchFile) { _ = try Environment(path: directory.path + "/none") }
    }

    @Test("a copy is a sound file with the same records")
    func copy() throws {
        let environment = try open()
        let table = try environment.openTable(name: "log", create: true)
        try put(environment, table, 1, "one")
        let target = TemporaryDirectory()
        try environment.copy(to: target.path)
        let report = try StructureCheck.check(file: target.dataFile, depth: .full)
        #expect(report.entries == 1)
        expectCode(.fileExists) { try environment.copy(to: target.path) }
    }

    @Test("an error says in one line what was tried, on what, and why it failed")
    func message() throws {
        do {
            _ = try Environment(path: "/nonexistent")
            Issue.record("nothing was thrown")
        } catch {
            #expect(
                error.description
                    == "mdb_env_open on /nonexistent: noSuchFile: No such file or directory")
        }
    }

    @Test("the small services answer")
    func services() throws {
        let environment = try open()
        #expect(try environment.checkStaleReaders() == 0)
        #expect(try environment.fileDescriptor >= 0)
        try environment.adviseSequential()
        try environment.sync()
        #expect(try environment.info().mapSize == 256 << 30)
        #expect(Environment.version.major == 0)
        #expect(Environment.version.minor == 9)
    }
}
