#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#else
    internal import Darwin
#endif

/// The right to write one shard: a lock on a file of our own (`writer`), taken before the log is opened
/// and held until the process lets go or dies. LMDB's own lock file is left to LMDB.
public final class WriterLock {
    private let descriptor: Int32

    #if canImport(Darwin)
        private static let testCommand: Int32 = 92
        private static let setCommand: Int32 = 90
    #else
        // F_OFD_GETLK and F_OFD_SETLK: locks that belong to the open file, not to the process, so
        // that a second opening in the same process is refused as well.
        private static let testCommand: Int32 = 36
        private static let setCommand: Int32 = 37
    #endif

    /// Takes the lock.
    ///
    /// - Throws: ``StoreError/Code/held`` naming the process that has it.
    public init(_ path: String, shard: String) throws(StoreError) {
        let opened = unsafe open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard opened >= 0 else { throw Files.failure("open", path) }
        var request = Self.wholeFile(F_WRLCK)
        guard unsafe fcntl(opened, Self.setCommand, &request) == 0 else {
            let reason = errno
            let holder = (try? Files.read(path, max: 4096)).map {
                String(decoding: $0, as: UTF8.self)
            }
            close(opened)
            guard reason == EAGAIN || reason == EACCES else {
                errno = reason
                throw Files.failure("lock", path)
            }
            let who = holder.flatMap { $0.isEmpty ? nil : $0 } ?? "another process"
            throw StoreError(
                .held,
                "shard \(shard) is being written by \(who.filter { !$0.isNewline }); stop it first,"
                    + " or read the ledger with a reading verb")
        }
        descriptor = opened
        _ = ftruncate(opened, 0)
        try Files.write(opened, Array("process \(getpid())\n".utf8), at: 0, path)
    }

    deinit { close(descriptor) }

    private static func wholeFile(_ type: Int32) -> flock {
        var request = flock()
        request.l_type = Int16(type)
        request.l_whence = Int16(SEEK_SET)
        return request
    }

    /// Whether a process holds the lock now; asking takes nothing.
    ///
    /// - Returns: The holder's own words (`process 4711`); `nil` when nobody does. Somebody may, when
    ///   the file is there and cannot be read.
    public static func holder(_ path: String) -> String? {
        let opened = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard opened >= 0 else {
            return errno == ENOENT || errno == ENOTDIR
                ? nil : "a process that cannot be told: \(path) cannot be read"
        }
        defer { close(opened) }
        var request = wholeFile(F_WRLCK)
        guard unsafe fcntl(opened, testCommand, &request) == 0 else {
            return "a process that cannot be told: who holds \(path) cannot be asked"
        }
        guard request.l_type != Int16(F_UNLCK) else { return nil }
        let text = (try? Files.read(path, max: 4096)).map { String(decoding: $0, as: UTF8.self) }
        return text.map { $0.filter { !$0.isNewline } } ?? "another process"
    }
}
