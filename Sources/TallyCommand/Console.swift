internal import Foundation
internal import Synchronization

#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#else
    internal import Darwin
#endif

/// Where the verbs print: results on standard output, buffered; messages and progress on standard
/// error. Colour and progress bars only on a terminal.
package enum Console {
    package static let isOutputTerminal = isatty(STDOUT_FILENO) == 1
    package static let isErrorTerminal = isatty(STDERR_FILENO) == 1
    private static let refusesColor = Atomic<Bool>(false)
    private static let environmentHasColor: Bool = {
        let environment = ProcessInfo.processInfo.environment
        func says(_ name: String) -> Bool { environment[name].map { !$0.isEmpty } ?? false }
        if says("NO_COLOR") { return false }
        if says("CLICOLOR_FORCE"), environment["CLICOLOR_FORCE"] != "0" { return true }
        return isOutputTerminal && environment["TERM"] != "dumb"
    }()

    /// Whether results are coloured: on a terminal, unless `--no-color`, `NO_COLOR` or `TERM=dumb`
    /// say no; elsewhere only when `CLICOLOR_FORCE` says so.
    package static var hasColor: Bool {
        environmentHasColor && !refusesColor.load(ordering: .relaxed)
    }

    /// `--no-color`: from here on nothing is coloured.
    package static func refuseColor() { refusesColor.store(true, ordering: .relaxed) }

    /// Whether results may hold characters beyond ASCII for drawing: a terminal that reads UTF-8.
    package static let drawsBoxes: Bool = {
        let environment = ProcessInfo.processInfo.environment
        let names = ["LC_ALL", "LC_CTYPE", "LANG"]
        let locale = names.lazy.compactMap { environment[$0] }.first { !$0.isEmpty } ?? ""
        let isUTF8 = locale.uppercased().replacing("-", with: "").hasSuffix("UTF8")
        return isOutputTerminal && isUTF8 && environment["TERM"] != "dumb"
    }()

    /// Writes bytes to a descriptor; ends the process quietly when nobody reads them any more.
    package static func write(_ bytes: [UInt8], to descriptor: Int32) {
        guard writeAll(bytes, to: descriptor) else { exit(errno == EPIPE ? 0 : 3) }
    }

    /// Writes bytes to a descriptor.
    ///
    /// - Returns: False when some could not be written; `errno` says why.
    static func writeAll(_ bytes: [UInt8], to descriptor: Int32) -> Bool {
        var start = 0
        while start < bytes.count {
            let written = unsafe bytes.withUnsafeBytes { buffer -> Int in
                // In bounds: start < count.
                let rest = unsafe UnsafeRawBufferPointer(rebasing: buffer[start...])
                return unsafe writeFile(descriptor, rest.baseAddress, rest.count)
            }
            if written < 0 && errno == EINTR { continue }
            guard written > 0 else { return false }
            start += written
        }
        return true
    }

    package static func note(_ text: String) {
        // While a pager has the terminal, messages go where the results go, in their order.
        if isErrorTerminal, Pager.isOn {
            fflush(nil)
            write(Array((text + "\n").utf8), to: STDOUT_FILENO)
        } else {
            write(Array((text + "\n").utf8), to: STDERR_FILENO)
        }
    }

    /// Says what could not be read; the text says why and what to do.
    package static func notRead(_ text: String) { note("not read: \(escaped(text, max: 2000))") }

    package enum Style: String {
        case bold = "1"
        case dim = "2"
        case red = "31"
        case green = "32"
        case yellow = "33"
    }

    package static func styled(_ text: String, _ style: Style) -> String {
        hasColor ? "\u{1B}[\(style.rawValue)m\(text)\u{1B}[0m" : text
    }

    /// A line of foreign text made harmless: control characters escaped, at most one line.
    package static func escaped(_ text: String, max: Int = 200) -> String {
        var out = ""
        for scalar in text.unicodeScalars.prefix(max) {
            let isControl =
                scalar.value < 0x20 || (0x7F...0x9F).contains(scalar.value)
                || (0x202A...0x202E).contains(scalar.value)
                || (0x2066...0x2069).contains(scalar.value)
            out +=
                isControl
                ? "\\u{\(String(scalar.value, radix: 16))}" : String(Character(scalar))
        }
        return out
    }
}

private func writeFile(
    _ descriptor: Int32, _ base: UnsafeRawPointer?, _ count: Int
) -> Int {
    unsafe write(descriptor, base, count)
}

/// Standard output, buffered.
package struct Output: ~Copyable {
    private var bytes: [UInt8] = []

    package init() {}

    package mutating func line(_ text: String = "") {
        bytes.append(contentsOf: text.utf8)
        bytes.append(UInt8(ascii: "\n"))
        if bytes.count > 1 << 16 { flush() }
    }

    package mutating func raw(_ more: [UInt8]) {
        bytes.append(contentsOf: more)
        if bytes.count > 1 << 16 { flush() }
    }

    package mutating func flush() {
        Console.write(bytes, to: STDOUT_FILENO)
        bytes.removeAll(keepingCapacity: true)
    }

    deinit { Console.write(bytes, to: STDOUT_FILENO) }
}

/// A bar on a terminal for work that takes longer than a second; plain lines now and then elsewhere
/// when asked for.
package final class Progress: @unchecked Sendable {
    // Sound: whoever reports progress does so from one thread at a time.
    private var title: String
    private let total: UInt64?
    private let printsLines: Bool
    private let started = Date()
    private var drawnAt = Date.distantPast
    private var isDrawn = false

    package init(_ title: String, total: UInt64? = nil, printsLines: Bool = false) {
        self.title = title
        self.total = total
        self.printsLines = printsLines
    }

    /// - Parameter part: What is counted now, when there are several things one after the other.
    package func update(_ done: UInt64, of part: String? = nil) {
        if let part { title = part }
        let now = Date()
        guard now.timeIntervalSince(drawnAt) > (Console.isErrorTerminal ? 0.1 : 2) else { return }
        if Console.isErrorTerminal {
            guard now.timeIntervalSince(started) > 0.3 else { return }
            drawnAt = now
            isDrawn = true
            Console.write(Array("\r\u{1B}[K\(bar(done))".utf8), to: STDERR_FILENO)
        } else if printsLines, done > 0 {
            drawnAt = now
            let of = total.map { " of \($0)" } ?? ""
            Console.note("  \(title): \(done)\(of)")
        }
    }

    private func bar(_ done: UInt64) -> String {
        guard let total, total > 0 else { return "  \(title) \(done)" }
        let width = 32
        let filled = min(width, Int(UInt64(width) * min(done, total) / total))
        return "  \(title) [" + String(repeating: "=", count: filled)
            + String(repeating: " ", count: width - filled) + "] \(done) of \(total)"
    }

    /// An error leaves no half of a bar before its line.
    deinit { finish() }

    package func finish() {
        if isDrawn { Console.write(Array("\r\u{1B}[K".utf8), to: STDERR_FILENO) }
        isDrawn = false
    }
}

/// Columns of text, aligned; numbers to the right.
package struct TextTable {
    private let header: [String]
    private let right: Set<Int>
    private var rows: [[String]] = []

    package init(_ header: [String], right: Set<Int> = []) {
        self.header = header
        self.right = right
    }

    package mutating func add(_ row: [String]) { rows.append(row) }

    package var lines: [String] {
        let all = [header] + rows
        let widths = header.indices.map { column in
            all.map { $0.indices.contains(column) ? $0[column].count : 0 }.max() ?? 0
        }
        return all.enumerated().map { index, row in
            let cells = row.indices.map { column -> String in
                let pad = String(repeating: " ", count: widths[column] - row[column].count)
                return right.contains(column) ? pad + row[column] : row[column] + pad
            }
            var line = cells.joined(separator: "  ")
            while line.hasSuffix(" ") { line.removeLast() }
            return index == 0 ? Console.styled(line, .dim) : line
        }
    }
}

/// Durations for people.
package func readable(nanoseconds: UInt64) -> String {
    let seconds = Double(nanoseconds) / 1e9
    if nanoseconds < 1_000_000 { return "\(nanoseconds / 1000) us" }
    if seconds < 1 { return "\(nanoseconds / 1_000_000) ms" }
    if seconds < 120 { return "\((seconds * 10).rounded() / 10) s" }
    if seconds < 7200 { return "\(Int(seconds / 60)) min" }
    if seconds < 172_800 { return "\(Int(seconds / 3600)) h" }
    return "\(Int(seconds / 86_400)) d"
}

/// A number of things: `1 orphan`, `2 orphans`.
package func readable(_ number: some BinaryInteger, _ noun: String) -> String {
    "\(readable(number)) \(noun)\(number == 1 ? "" : "s")"
}

/// A number with its thousands set apart.
package func readable(_ number: some BinaryInteger) -> String {
    let digits = String(number)
    var out = ""
    for (index, digit) in digits.enumerated() {
        if index > 0, (digits.count - index) % 3 == 0, digits[digits.startIndex] != "-" || index > 1
        {
            out.append(",")
        }
        out.append(digit)
    }
    return out
}
