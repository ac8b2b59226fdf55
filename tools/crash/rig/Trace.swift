import TallyStore

/// What a process asked of its disk, as `tools/crash/trace.c` recorded it.
enum TraceEntry {
    case line(String)
    /// `isFlushed`: through a descriptor that flushes what is written.
    case write(file: UInt64, offset: Int, bytes: [UInt8], isFlushed: Bool)
    case size(file: UInt64, Int)
    case flush(inode: UInt64)
    case make(inode: UInt64, path: String, isDirectory: Bool)
    case rename(inode: UInt64, from: String, to: String)
    case unlink(path: String)

    /// Reads a record; paths are made relative to the root.
    ///
    /// - Throws: ``UsageError`` for a record that is cut short, or of a call that the model does not know.
    static func read(_ path: String, root: String) throws -> [TraceEntry] {
        let bytes = try Files.read(path, max: 1 << 31)
        var reader = TraceReader(bytes: bytes)
        var entries: [TraceEntry] = []
        while !reader.isAtEnd {
            guard let kind = reader.number(4), let length = reader.number(4),
                let inode = reader.number(8), let offset = reader.number(8),
                let payload = reader.take(Int(length))
            else { throw UsageError(description: "\(path) is cut short") }
            let text = String(decoding: payload, as: UTF8.self)
            let paths = text.split(separator: "\0", omittingEmptySubsequences: false).map {
                $0.hasPrefix(root + "/") ? String($0.dropFirst(root.count + 1)) : String($0)
            }
            switch kind {
            case 1:
                entries.append(.line(String(text.prefix { $0 != "\n" })))
            case 2, 3:
                entries.append(
                    .write(
                        file: inode, offset: Int(offset), bytes: payload, isFlushed: kind == 3))
            case 4: entries.append(.size(file: inode, Int(offset)))
            case 5: entries.append(.flush(inode: inode))
            case 6, 7:
                entries.append(.make(inode: inode, path: paths[0], isDirectory: kind == 7))
            case 8:
                entries.append(.rename(inode: inode, from: paths[0], to: paths[1]))
            case 9: entries.append(.unlink(path: paths[0]))
            default:
                throw UsageError(
                    description: "\(path) holds a call that the model of the disk does not know:"
                        + " \(kind) \(text); teach it, or the images mean nothing")
            }
        }
        return entries
    }
}

extension TraceEntry {
    /// A record in which every process that said `killed` died inside its last flush: what that one has
    /// written is in memory, where the next process reads it, and not on the disk.
    static func killedInsideFlush(_ entries: [TraceEntry]) -> [TraceEntry] {
        var result: [TraceEntry] = []
        for entry in entries {
            if case .line("killed") = entry,
                let last = result.lastIndex(where: {
                    if case .write(_, _, _, true) = $0 { true } else { false }
                }), case .write(let file, let offset, let bytes, _) = result[last]
            {
                result[last] = .write(file: file, offset: offset, bytes: bytes, isFlushed: false)
            }
            result.append(entry)
        }
        return result
    }
}

private struct TraceReader {
    let bytes: [UInt8]
    var place = 0

    var isAtEnd: Bool { place == bytes.count }

    mutating func take(_ count: Int) -> [UInt8]? {
        guard bytes.count - place >= count else { return nil }
        defer { place += count }
        return Array(bytes[place..<place + count])
    }

    mutating func number(_ count: Int) -> UInt64? {
        take(count)?.reversed().reduce(0 as UInt64) { $0 << 8 | UInt64($1) }
    }
}
