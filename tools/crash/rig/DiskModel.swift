/// The disk as a power loss may find it: of each file and each directory what is flushed, and, in order,
/// what is only written.
///
/// The strict reading of POSIX: a flush of a file makes its bytes and its length durable and says nothing
/// of the directory that names it; a flush of a directory makes its entries durable; whatever is not
/// flushed may be on the disk or not, page by page, in any order. A write through a descriptor that
/// flushes makes the pages durable that it touches, and the length.
struct DiskModel {
    static let pageLength = 4096

    enum Change {
        case write(offset: Int, [UInt8])
        case size(Int)
    }

    struct File {
        var durable: [UInt8] = []
        var pending: [Change] = []

        /// The file as its process sees it.
        var latest: [UInt8] {
            var bytes = durable
            for change in pending { DiskModel.apply(change, to: &bytes) }
            return bytes
        }
    }

    /// A change of one directory's entries; a rename within it is one change.
    enum Entry {
        case set(String, UInt64)
        case remove(String)
        case rename(String, String, UInt64)
    }

    struct Directory {
        var durable: [String: UInt64] = [:]
        var pending: [Entry] = []

        func entries(where isChosen: (Int) -> Bool) -> [String: UInt64] {
            var entries = durable
            for (index, entry) in pending.enumerated() where isChosen(index) {
                switch entry {
                case .set(let name, let inode): entries[name] = inode
                case .remove(let name): entries[name] = nil
                case .rename(let from, let to, let inode):
                    if entries[from] == inode { entries[from] = nil }
                    entries[to] = inode
                }
            }
            return entries
        }
    }

    /// Inode 0 is the root, which is durable.
    private(set) var directories: [UInt64: Directory] = [0: Directory()]
    private(set) var files: [UInt64: File] = [:]

    static func apply(_ change: Change, to bytes: inout [UInt8]) {
        switch change {
        case .size(let size):
            if size < bytes.count {
                bytes.removeLast(bytes.count - size)
            } else {
                bytes.append(contentsOf: repeatElement(0, count: size - bytes.count))
            }
        case .write(let offset, let part):
            let end = offset + part.count
            if end > bytes.count {
                bytes.append(contentsOf: repeatElement(0, count: end - bytes.count))
            }
            bytes.replaceSubrange(offset..<end, with: part)
        }
    }

    /// The directory and the name of a path, as the process sees them.
    func place(_ path: String) throws -> (directory: UInt64, name: String) {
        var parts = path.split(separator: "/").map(String.init)
        guard let name = parts.popLast() else {
            throw UsageError(description: "the root itself was renamed or removed")
        }
        var directory: UInt64 = 0
        for part in parts {
            let entries = directories[directory]?.entries { _ in true } ?? [:]
            guard let next = entries[part], directories[next] != nil else {
                throw UsageError(description: "the record names \(path) before its directory")
            }
            directory = next
        }
        return (directory, name)
    }

    /// What a path names now, as the process sees it.
    func inode(_ path: String) -> UInt64? {
        guard let place = try? place(path) else { return nil }
        return directories[place.directory]?.entries { _ in true }[place.name]
    }

    /// Takes one entry of the record. A write that flushes itself is only written here: its flush is
    /// ``flush(_:pages:)``.
    mutating func take(_ entry: TraceEntry) throws {
        switch entry {
        case .line: break
        case .write(let file, let offset, let bytes, _):
            files[file, default: File()].pending.append(.write(offset: offset, bytes))
        case .size(let file, let size):
            if files[file, default: File()].latest.count != size {
                files[file, default: File()].pending.append(.size(size))
            }
        case .flush(let inode): flush(inode)
        case .make(let inode, let path, let isDirectory):
            let place = try place(path)
            // An inode is used again once its file is gone.
            directories[inode] = isDirectory ? Directory() : nil
            files[inode] = isDirectory ? nil : File()
            directories[place.directory]?.pending.append(.set(place.name, inode))
        case .rename(let inode, let from, let to):
            let (old, new) = (try place(from), try place(to))
            guard old.directory == new.directory else {
                throw UsageError(description: "a rename from one directory to another: \(from)")
            }
            directories[old.directory]?.pending.append(.rename(old.name, new.name, inode))
        case .unlink(let path):
            let place = try place(path)
            directories[place.directory]?.pending.append(.remove(place.name))
        }
    }

    /// Makes a file's bytes or a directory's entries durable. The root is known by no inode of its own:
    /// a flush of an unknown one is the root's.
    mutating func flush(_ inode: UInt64) {
        if var file = files[inode] {
            file.durable = file.latest
            file.pending = []
            files[inode] = file
            return
        }
        let known = directories[inode] == nil ? 0 : inode
        guard let directory = directories[known] else { return }
        directories[known] = Directory(durable: directory.entries { _ in true })
    }

    /// Makes the pages durable that the last write of a file touches, and the length.
    mutating func flushLastWrite(_ inode: UInt64) {
        guard var file = files[inode], case .write(let offset, let bytes)? = file.pending.last
        else { return }
        let latest = file.latest
        Self.apply(.size(max(latest.count, file.durable.count)), to: &file.durable)
        let start = offset / Self.pageLength * Self.pageLength
        let end = (offset + bytes.count + Self.pageLength - 1) / Self.pageLength * Self.pageLength
        let range = start..<min(end, latest.count)
        file.durable.replaceSubrange(range, with: latest[range])
        // Earlier writes to other pages go on waiting; those to these pages are over.
        file.pending = file.pending.filter { change in
            guard case .write(let offset, let bytes) = change else { return false }
            return offset < range.lowerBound || offset + bytes.count > range.upperBound
        }
        files[inode] = file
    }
}
