import Foundation
import TallyStore

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// Where images are made into files again: one directory, used over and over.
struct CrashDisk {
    let root: String

    init(_ root: String) throws {
        self.root = root
        Files.removeTree(root)
        try Files.makeDirectory(root)
    }

    /// Makes the directory hold exactly these files.
    func hold(_ contents: [(path: String, bytes: [UInt8]?)], below prefix: String) throws {
        let wanted = Set(contents.map { prefix + $0.path })
        clear(root, "", wanted, keeping: prefix)
        var made = ""
        for part in prefix.split(separator: "/") {
            made += "/" + part
            if !Files.exists(root + made) { try Files.makeDirectory(root + made) }
        }
        for (path, bytes) in contents {
            let place = root + "/" + prefix + path
            if let bytes {
                try write(bytes, to: place)
            } else if !Files.exists(place) {
                try Files.makeDirectory(place)
            }
        }
    }

    /// Removes what an image does not hold.
    private func clear(
        _ directory: String, _ path: String, _ wanted: Set<String>, keeping prefix: String
    ) {
        for name in Files.list(directory) {
            let (place, inner) = (directory + "/" + name, path + name)
            if wanted.contains(inner) || prefix.hasPrefix(inner + "/") {
                if Files.isDirectory(place) { clear(place, inner + "/", wanted, keeping: prefix) }
            } else if Files.isDirectory(place) {
                Files.removeTree(place)
            } else {
                Files.remove(place)
            }
        }
    }

    /// Overwrites a file in its place: its pages are there already.
    func write(_ bytes: [UInt8], to path: String) throws {
        let file = unsafe open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard file >= 0 else { throw UsageError(description: "cannot write \(path)") }
        defer { close(file) }
        let count = unsafe bytes.withUnsafeBytes {
            unsafe pwrite(file, $0.baseAddress, $0.count, 0)
        }
        guard count == bytes.count, ftruncate(file, off_t(bytes.count)) == 0 else {
            throw UsageError(description: "cannot write \(path): is the disk full?")
        }
    }
}
