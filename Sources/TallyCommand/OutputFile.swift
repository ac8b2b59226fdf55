import TallyStore

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// A file that a verb was told to write. What is there already is written into, never exchanged for
/// another file: it may be a device, a pipe or a link.
struct OutputFile: ~Copyable {
    private let path: String
    private let descriptor: Int32

    /// - Throws: ``TallyStore/StoreError`` with the system's reason.
    init(_ path: String) throws {
        self.path = path
        descriptor = unsafe open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else {
            throw StoreError(
                .system,
                "cannot write \(path): \(Self.reason); name a file in a directory that can be written"
            )
        }
    }

    private static var reason: String { unsafe String(cString: strerror(errno)) }

    /// Writes everything; what a full disk leaves behind is not whole, and the error says so.
    func write(_ bytes: [UInt8]) throws {
        guard Console.writeAll(bytes, to: descriptor) else {
            throw StoreError(
                .system,
                "cannot write \(path): \(Self.reason); what is in it is not whole: free some space"
                    + " or name another file")
        }
    }

    deinit { close(descriptor) }
}
