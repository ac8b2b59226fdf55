package import TallyCore

#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#else
    internal import Darwin
#endif

/// The few file operations a ledger needs, each with an error that names the file.
package enum Files {
    package static func text(ofError number: Int32) -> String {
        // Sound: strerror returns a valid string for every number.
        guard let text = unsafe strerror(number) else { return "error \(number)" }
        return unsafe String(cString: text)
    }

    static func failure(_ what: String, _ path: String) -> StoreError {
        let number = errno
        let code: StoreError.Code = number == ENOSPC || number == EDQUOT ? .full : .system
        let next = advice(onError: number)
        return StoreError(code, "cannot \(what) \(path): \(text(ofError: number))\(next)")
    }

    /// What to do about an error of the system's, as the end of a line; empty where its name says it.
    static func advice(onError number: Int32) -> String {
        switch number {
        case ENOSPC, EDQUOT: "; free some space and try again"
        case EFBIG: "; allow larger files (ulimit -f) and try again"
        case EMFILE, ENFILE: "; allow more open files (ulimit -n) and try again"
        case ENOMEM: "; allow more memory and address space (ulimit -v) and try again"
        case EACCES, EPERM: "; do it as the user whose ledger it is"
        case EROFS: "; the file system cannot be written: find out why before you mount it anew"
        case EIO: "; the disk failed: look at the system's log before you try again"
        default: ""
        }
    }

    /// Whether something is at a path; what the system will not tell is not taken for missing.
    package static func isThere(_ path: String) throws(StoreError) -> Bool {
        if exists(path) { return true }
        guard errno == ENOENT || errno == ENOTDIR else { throw failure("look at", path) }
        return false
    }

    package static func exists(_ path: String) -> Bool { unsafe access(path, F_OK) == 0 }

    package static func isDirectory(_ path: String) -> Bool {
        var status = stat()
        return unsafe stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
    }

    /// Bytes of a file; `nil` when there is none.
    static func length(of path: String) throws(StoreError) -> Int? {
        var status = stat()
        if unsafe stat(path, &status) == 0 { return Int(status.st_size) }
        guard errno == ENOENT || errno == ENOTDIR else { throw failure("look at", path) }
        return nil
    }

    package static func size(_ path: String) -> Int? {
        var status = stat()
        return unsafe stat(path, &status) == 0 ? Int(status.st_size) : nil
    }

    package static func isWritable(_ path: String) -> Bool { unsafe access(path, W_OK) == 0 }

    package static func makeDirectory(_ path: String) throws(StoreError) {
        guard unsafe mkdir(path, 0o700) == 0 else { throw failure("make the directory", path) }
    }

    /// Makes a file with its blocks allocated, if there is none: a map over a sparse file dies of a full
    /// disk, this says so.
    package static func allocate(_ path: String, bytes: Int) throws(StoreError) {
        let descriptor = unsafe open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else {
            if errno == EEXIST { return }
            throw failure("create", path)
        }
        defer { close(descriptor) }
        #if !canImport(Darwin)
            let number = posix_fallocate(descriptor, 0, off_t(bytes))
            guard number == 0 || number == EOPNOTSUPP || number == EINVAL else {
                remove(path)
                errno = number
                throw failure("allocate", path)
            }
        #endif
    }

    /// The names in a directory, sorted; empty when it cannot be read.
    package static func list(_ path: String) -> [String] { (try? names(in: path)) ?? [] }

    /// The names in a directory, sorted.
    package static func names(in path: String) throws(StoreError) -> [String] {
        guard let directory = unsafe opendir(path) else { throw failure("list", path) }
        defer { unsafe closedir(directory) }
        var names: [String] = []
        while let entry = unsafe readdir(directory) {
            let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                // Sound: d_name is NUL-terminated within the entry that readdir returned.
                unsafe pointer.withMemoryRebound(to: CChar.self, capacity: 256) {
                    unsafe String(cString: $0)
                }
            }
            if name != "." && name != ".." { names.append(name) }
        }
        return names.sorted()
    }

    package static func rename(_ from: String, to path: String) throws(StoreError) {
        guard renameFile(from, path) == 0 else { throw failure("rename \(from) to", path) }
    }

    package static func remove(_ path: String) { _ = unsafe unlink(path) }

    /// Removes a directory and all below it, as far as that is possible. Links are not followed.
    package static func removeTree(_ path: String) {
        for name in list(path) {
            var status = stat()
            let child = path + "/" + name
            guard unsafe lstat(child, &status) == 0 else { continue }
            if status.st_mode & S_IFMT == S_IFDIR { removeTree(child) } else { remove(child) }
        }
        _ = unsafe rmdir(path)
    }

    /// Makes a directory's entries durable.
    package static func syncDirectory(_ path: String) throws(StoreError) {
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw failure("open", path) }
        defer { close(descriptor) }
        guard fsync(descriptor) == 0 else { throw failure("flush", path) }
    }

    /// Reads a whole file.
    ///
    /// - Throws: ``StoreError/Code/malformed`` when it is larger than `max`.
    package static func read(_ path: String, max: Int) throws(StoreError) -> [UInt8] {
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw failure("open", path) }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = unsafe chunk.withUnsafeMutableBytes {
                unsafe Self.readSome(descriptor, $0.baseAddress, $0.count)
            }
            guard count >= 0 else { throw failure("read", path) }
            if count == 0 { return bytes }
            bytes.append(contentsOf: chunk[..<count])
            guard bytes.count <= max else {
                throw StoreError(.malformed, "\(path) is larger than \(max) bytes")
            }
        }
    }

    private static func readSome(
        _ descriptor: Int32, _ base: UnsafeMutableRawPointer?, _ count: Int
    ) -> Int {
        unsafe readFile(descriptor, base, count)
    }

    /// Writes a file under a temporary name, flushes it, renames it into place and flushes the
    /// directory: a reader sees the old bytes or the new ones.
    package static func replace(_ path: String, with bytes: [UInt8]) throws(StoreError) {
        let temporary = path + ".tmp"
        let descriptor = unsafe open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw failure("create", temporary) }
        do throws(StoreError) {
            try write(descriptor, bytes, at: 0, temporary)
            guard fsync(descriptor) == 0 else { throw failure("flush", temporary) }
        } catch {
            close(descriptor)
            remove(temporary)
            throw error
        }
        close(descriptor)
        try rename(temporary, to: path)
        try syncDirectory(parent(of: path))
    }

    static func write(
        _ descriptor: Int32, _ bytes: [UInt8], at offset: Int, _ path: String
    ) throws(StoreError) {
        var written = 0
        while written < bytes.count {
            let count = unsafe bytes.withUnsafeBytes { buffer -> Int in
                // In bounds: written < count.
                let rest = unsafe UnsafeRawBufferPointer(rebasing: buffer[written...])
                return unsafe pwrite(
                    descriptor, rest.baseAddress, rest.count, off_t(offset + written))
            }
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { throw failure("write", path) }
            written += count
        }
    }

    package static func parent(of path: String) -> String {
        var trimmed = path[...]
        while trimmed.count > 1, trimmed.last == "/" { trimmed.removeLast() }
        guard let slash = trimmed.lastIndex(of: "/") else { return "." }
        return slash == trimmed.startIndex ? "/" : String(trimmed[..<slash])
    }

    /// Random bytes from the system, for nonces and identities; never for anything that is folded.
    package static func random16() -> Bytes16 {
        var generator = SystemRandomNumberGenerator()
        return Bytes16(low: generator.next() | 1, high: generator.next())
    }
}

private func renameFile(_ from: String, _ to: String) -> Int32 { unsafe rename(from, to) }
private func readFile(
    _ descriptor: Int32, _ base: UnsafeMutableRawPointer?, _ count: Int
) -> Int {
    unsafe read(descriptor, base, count)
}
