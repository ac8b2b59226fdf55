#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#else
    internal import Darwin
#endif

/// Reads a file, or standard input, line by line; holds no more than one line and one chunk.
package final class LineReader {
    /// The file as a person knows it.
    package let name: String
    /// The number of the line read last, from 1.
    package private(set) var number = 0
    private let descriptor: Int32
    private let isOwned: Bool
    private let lengthMax: Int
    private var buffer: [UInt8]
    /// The bytes of `buffer` that were read and not yet given out.
    private var unread = 0..<0
    private var line = 0..<0
    private var isAtEnd = false

    private static let chunkLength = 1 << 18

    /// - Parameters:
    ///   - path: `-` is standard input.
    ///   - lengthMax: Bytes of a line at most, without its newline.
    package init(_ path: String, lengthMax: Int) throws(StoreError) {
        isOwned = path != "-"
        name = isOwned ? path : "standard input"
        self.lengthMax = lengthMax
        buffer = [UInt8](repeating: 0, count: Self.chunkLength)
        descriptor = isOwned ? unsafe open(path, O_RDONLY | O_CLOEXEC) : 0
        guard descriptor >= 0 else { throw Files.failure("open", path) }
    }

    deinit { if isOwned { close(descriptor) } }

    /// Goes to the next line. The last one may lack its newline.
    ///
    /// - Returns: Whether there is one.
    /// - Throws: ``StoreError/Code/malformed`` with its number when a line is too long.
    package func next() throws(StoreError) -> Bool {
        var searched = unread.lowerBound
        while true {
            if let newline = newline(in: searched..<unread.upperBound) {
                try take(unread.lowerBound..<newline, through: newline + 1)
                return true
            }
            let pending = unread.count
            guard pending <= lengthMax else { throw tooLong }
            if isAtEnd {
                guard pending > 0 else { return false }
                try take(unread, through: unread.upperBound)
                return true
            }
            try fill()
            searched = unread.lowerBound + pending
        }
    }

    /// Runs a closure over the line read last, without its newline.
    package func withLine<R, E: Error>(_ body: (Span<UInt8>) throws(E) -> R) throws(E) -> R {
        // A reference of its own for the span to borrow; nothing is copied.
        let bytes = buffer
        return try body(bytes.span.extracting(line))
    }

    private var tooLong: StoreError {
        StoreError(
            .malformed, "line \(number + 1): a line of more than \(lengthMax) bytes is refused")
    }

    private func take(_ line: Range<Int>, through end: Int) throws(StoreError) {
        guard line.count <= lengthMax else { throw tooLong }
        self.line = line
        unread = end..<unread.upperBound
        number += 1
    }

    private func newline(in range: Range<Int>) -> Int? {
        guard !range.isEmpty else { return nil }
        return unsafe buffer.withUnsafeBytes { bytes -> Int? in
            guard let base = bytes.baseAddress,
                // In bounds: the range lies within the buffer.
                let found = unsafe memchr(base + range.lowerBound, 0x0A, range.count)
            else { return nil }
            return unsafe UnsafeRawPointer(found) - base
        }
    }

    /// Reads one chunk more behind what is unread.
    private func fill() throws(StoreError) {
        let pending = unread.count
        if unread.lowerBound > 0 {
            let start = unread.lowerBound
            unsafe buffer.withUnsafeMutableBytes { bytes in
                guard let base = bytes.baseAddress else { return }
                // In bounds: the unread bytes end within the buffer.
                unsafe memmove(base, base + start, pending)
            }
        }
        if buffer.count - pending < Self.chunkLength / 2 {
            let more = max(buffer.count, Self.chunkLength)
            buffer += [UInt8](repeating: 0, count: more)
        }
        var count = 0
        repeat {
            count = unsafe buffer.withUnsafeMutableBytes { bytes in
                // In bounds: pending < count.
                let rest = unsafe UnsafeMutableRawBufferPointer(rebasing: bytes[pending...])
                return unsafe readSome(descriptor, rest.baseAddress, rest.count)
            }
        } while count < 0 && errno == EINTR
        guard count >= 0 else { throw Files.failure("read", name) }
        if count == 0 { isAtEnd = true }
        unread = 0..<pending + count
    }
}

private func readSome(
    _ descriptor: Int32, _ base: UnsafeMutableRawPointer?, _ count: Int
) -> Int {
    unsafe read(descriptor, base, count)
}
