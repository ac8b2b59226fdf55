#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#else
    internal import Darwin
#endif

/// Reads a file in aligned blocks and keeps the last few.
///
/// Pointers that it returns are valid until the next call.
@safe final class PageReader {
    private let descriptor: Int32
    private let blockSize: Int
    private let memory: UnsafeMutableRawPointer
    /// Per slot: which block it holds (or `noBlock`) and how many bytes of it there are.
    private var blocks: [UInt64]
    private var lengths: [Int]
    private(set) var bytesRead: UInt64 = 0

    private static let slots = 64
    private static let noBlock = UInt64.max

    /// - Parameter blockSize: A power of two, no less than the largest page.
    init(path: String, blockSize: Int) throws(StructureError) {
        let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw PageReader.unreadable(0, path) }
        self.descriptor = descriptor
        self.blockSize = blockSize
        unsafe memory = .allocate(byteCount: PageReader.slots * blockSize, alignment: 4096)
        blocks = Array(repeating: PageReader.noBlock, count: PageReader.slots)
        lengths = Array(repeating: 0, count: PageReader.slots)
    }

    deinit {
        unsafe memory.deallocate()
        _ = close(descriptor)
    }

    func forget() {
        for slot in blocks.indices { blocks[slot] = PageReader.noBlock }
    }

    func adviseSequential() {
        #if canImport(Glibc) || canImport(Musl)
            _ = posix_fadvise(descriptor, 0, 0, Int32(POSIX_FADV_SEQUENTIAL))
        #endif
    }

    func fileSize() throws(StructureError) -> UInt64 {
        var status = stat()
        guard unsafe fstat(descriptor, &status) == 0 else { throw PageReader.unreadable(0) }
        guard status.st_mode & S_IFMT == S_IFREG else {
            throw StructureError(
                code: .notADatabase, page: 0, offset: 0, message: "this is not a regular file")
        }
        return UInt64(max(0, status.st_size))
    }

    /// The head of the file, enough for two metas of the largest page; shorter at its end.
    func metaBytes() throws(StructureError) -> [UInt8] {
        _ = try fileSize()
        var bytes: [UInt8] = []
        let wanted = FileMeta.pageSizeMax + FileMeta.byteCount
        while bytes.count < wanted {
            let (start, count) = unsafe try chunk(at: UInt64(bytes.count))
            if count == 0 { break }
            // Sound: the chunk has `count` bytes and nothing is read meanwhile.
            unsafe bytes.append(
                contentsOf: UnsafeRawBufferPointer(
                    start: start, count: min(count, wanted - bytes.count)))
        }
        return bytes
    }

    /// A whole page.
    func page(_ number: UInt64, size: Int) throws(StructureError) -> UnsafeRawPointer {
        // No overflow: callers pass page numbers within the file.
        let offset = number &* UInt64(size)
        let (start, count) = unsafe try chunk(at: offset)
        guard count >= size else {
            throw StructureError(
                code: .truncated, page: number, offset: offset,
                message: "the file ends inside this page")
        }
        return unsafe start
    }

    /// The bytes from `offset` to the end of its block, or of the file: 0 bytes past that.
    func chunk(at offset: UInt64) throws(StructureError) -> (UnsafeRawPointer, Int) {
        let block = offset / UInt64(blockSize)
        let inside = Int(offset % UInt64(blockSize))
        let slot = Int(block % UInt64(PageReader.slots))
        if blocks[slot] != block { try fill(slot, block) }
        let start = unsafe memory + slot * blockSize + min(inside, lengths[slot])
        return (UnsafeRawPointer(start), max(0, lengths[slot] - inside))
    }

    private func fill(_ slot: Int, _ block: UInt64) throws(StructureError) {
        blocks[slot] = PageReader.noBlock
        let offset = block * UInt64(blockSize)
        var length = 0
        while length < blockSize {
            guard let position = off_t(exactly: offset + UInt64(length)) else { break }
            // Sound: the slot has blockSize bytes, of which `length` are filled.
            let count = unsafe pread(
                descriptor, memory + slot * blockSize + length, blockSize - length, position)
            if count < 0 {
                if errno == EINTR { continue }
                throw PageReader.unreadable(offset)
            }
            if count == 0 { break }
            length += count
        }
        bytesRead += UInt64(length)
        blocks[slot] = block
        lengths[slot] = length
    }

    private static func unreadable(_ offset: UInt64, _ path: String = "") -> StructureError {
        let cause = errno
        // Sound: strerror returns a terminated string, never NULL.
        let reason = unsafe strerror(cause).map { text in unsafe String(cString: text) }
        return StructureError(
            code: .unreadable, page: 0, offset: offset,
            message: "cannot read \(path.isEmpty ? "the file" : path): \(reason ?? "\(cause)")")
    }
}
