import LMDB
import Synchronization

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

/// A directory of its own, removed with its files when the process ends: not sooner, for the object
/// may be released while its path is still in use.
struct TemporaryDirectory: Sendable {
    let path: String

    private static let made = Mutex<[String]>([])

    init() {
        var template = Array("/tmp/tally-lmdb-XXXXXX".utf8CString)
        guard let name = unsafe mkdtemp(&template) else { fatalError("mkdtemp failed") }
        let path = unsafe String(cString: name)
        self.path = path
        let isFirst = TemporaryDirectory.made.withLock { made in
            made.append(path)
            return made.count == 1
        }
        if isFirst { atexit { TemporaryDirectory.removeAll() } }
    }

    private static func removeAll() {
        for path in made.withLock({ $0 }) {
            _ = unsafe chmod(path, 0o700)
            for name in ["/data.mdb", "/lock.mdb"] { _ = unsafe unlink(path + name) }
            _ = unsafe rmdir(path)
        }
    }

    var dataFile: String { path + "/data.mdb" }

    func exists(_ name: String) -> Bool { unsafe access(path + "/" + name, F_OK) == 0 }
}

/// SplitMix64: the same numbers for the same seed, everywhere.
struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}

func readFile(_ path: String) -> [UInt8] {
    let descriptor = unsafe open(path, O_RDONLY)
    guard descriptor >= 0 else { fatalError("cannot open \(path)") }
    defer { _ = close(descriptor) }
    var status = stat()
    _ = unsafe fstat(descriptor, &status)
    var bytes = [UInt8](repeating: 0, count: Int(status.st_size))
    let count = unsafe read(descriptor, &bytes, bytes.count)
    guard count == bytes.count else { fatalError("cannot read \(path)") }
    return bytes
}

func writeFile(_ path: String, _ bytes: some Collection<UInt8>) {
    let descriptor = unsafe open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
    guard descriptor >= 0 else { fatalError("cannot open \(path)") }
    defer { _ = close(descriptor) }
    let array = Array(bytes)
    let count = unsafe write(descriptor, array, array.count)
    guard count == array.count else { fatalError("cannot write \(path)") }
}

/// Fast options for files that nobody will miss.
func scratchOptions() -> Environment.Options {
    var options = Environment.Options()
    options.noSync = true
    return options
}

func text(_ value: String) -> [UInt8] { Array(value.utf8) }

/// A file with two tables: `log`, appended, every 17th value long; `index`, in no order, with
/// deletions. Empty when `records` is 0.
func makeSample(records: UInt64, commits: UInt64 = 4) throws -> TemporaryDirectory {
    let directory = TemporaryDirectory()
    let environment = try Environment(path: directory.path, options: scratchOptions())
    guard records > 0 else { return directory }
    let log = try environment.openTable(name: "log", create: true)
    let index = try environment.openTable(name: "index", create: true)
    let step = max(1, records / commits)
    var next: UInt64 = 1
    var generator = SeededGenerator(seed: records)
    var scattered: [UInt64] = []
    while next <= records {
        try environment.write { transaction in
            for key in next..<min(records + 1, next + step) {
                let byteCount = key % 17 == 0 ? 9000 : Int(key % 200)
                try unsafe transaction.append(log, key: key, byteCount: byteCount) { buffer in
                    unsafe buffer.initializeMemory(
                        as: UInt8.self, repeating: UInt8(truncatingIfNeeded: key))
                }
                scattered.append(generator.next())
                let value = [UInt8](repeating: 7, count: Int(key % 50))
                try transaction.put(
                    index, key: scattered[scattered.count - 1], value: value)
            }
            for position in stride(from: 0, to: scattered.count, by: 5) {
                try transaction.delete(index, key: scattered[position])
            }
            if next > step { try transaction.delete(log, key: next - step + 3) }
        }
        next += step
    }
    try environment.sync()
    return directory
}

/// Reads every record of the sample's tables by liblmdb; an ``LMDBError`` is an answer, too.
func readThrough(_ directory: String) -> Int {
    var bytes = 0
    do {
        let environment = try Environment(
            path: directory, options: Environment.Options(access: .readOnlyNoLock))
        for name in ["log", "index"] {
            let table = try environment.openTable(name: name, create: false)
            try environment.read { transaction in
                try transaction.withCursor(table) { cursor in
                    try cursor.forEach { _, value in
                        for offset in 0..<value.byteCount {
                            bytes &+= Int(
                                unsafe value.unsafeLoad(fromByteOffset: offset, as: UInt8.self))
                        }
                        return true
                    }
                }
            }
        }
    } catch {}
    return bytes
}
