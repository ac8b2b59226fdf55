import ArgumentParser
internal import Foundation
internal import Synchronization
import TallyCore

#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#else
    internal import Darwin
#endif

/// A verb whose output goes through a pager when it is longer than the screen.
protocol PagedVerb {
    var json: JSONFlag { get }
    /// Whether this run may be paged, as far as its arguments say.
    var isPaged: Bool { get }
}

extension PagedVerb {
    var isPaged: Bool { !json.isOn && !json.display.noPager }
}

extension Show: PagedVerb {}
extension TraceVerb: PagedVerb {}
extension Orphans: PagedVerb {}
extension Pending: PagedVerb {}
extension StateVerb: PagedVerb {}
extension VerifyVerb: PagedVerb {}
extension Log: PagedVerb {
    var isPaged: Bool { !follow && !json.isOn && !json.display.noPager }
}

/// The way of a verb's results to a person: straight to the terminal when they fit on the screen,
/// else through a pager.
///
/// The pager is `$TALLY_PAGER`, else `$PAGER`, else `less`, run by the shell, with `LESS=FRX` unless
/// `LESS` is set. Empty or `cat` means none. Standard output is led into a pipe; a thread reads it,
/// keeps what comes until it is longer than the screen, and then starts the pager. Whoever prints
/// knows nothing of it. At exit the rest is brought out, and the pager is waited for.
///
/// A pager that is quit early closes the pipe, which ends the verb quietly at its next write.
package enum Pager {
    private static let isStarted = Atomic<Bool>(false)

    /// Whether results go through here.
    static var isOn: Bool { isStarted.load(ordering: .acquiring) }

    /// The command to run; `nil` when the environment wants none.
    static func command(_ environment: [String: String]) -> String? {
        let installed = isInstalled("less", environment["PATH"] ?? "") ? "less" : ""
        let command = environment["TALLY_PAGER"] ?? environment["PAGER"] ?? installed
        let trimmed = command.trimmingCharacters(in: .whitespaces)
        return trimmed.isEmpty || trimmed == "cat" ? nil : trimmed
    }

    private static func isInstalled(_ name: String, _ path: String) -> Bool {
        path.split(separator: ":").contains {
            FileManager.default.isExecutableFile(atPath: "\($0)/\(name)")
        }
    }

    /// Leads the results of this process through a pager from here on, if they go to a terminal.
    static func start() {
        guard Console.isOutputTerminal, !isOn, let screen = Screen(STDOUT_FILENO),
            let command = command(ProcessInfo.processInfo.environment)
        else { return }
        var ends: [Int32] = [-1, -1]
        let terminal = dup(STDOUT_FILENO)
        guard terminal >= 0, unsafe pipe(&ends) == 0 else { return }
        for descriptor in [terminal, ends[0]] { _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC) }
        guard dup2(ends[1], STDOUT_FILENO) >= 0 else { return }
        close(ends[1])
        let source = ends[0]
        Thread.detachNewThread {
            var stream = PagedStream(source, terminal, screen, command)
            stream.run()
            finished.signal()
        }
        isStarted.store(true, ordering: .releasing)
        atexit { Pager.finish() }
    }

    private static let finished = DispatchSemaphore(value: 0)

    /// Ends the results, and waits until they were read.
    private static func finish() {
        fflush(nil)
        close(STDOUT_FILENO)
        finished.wait()
    }
}

/// The size of a terminal.
struct Screen {
    var rows: Int
    var columns: Int

    /// `nil` when the terminal does not say.
    init?(_ descriptor: Int32) {
        var size = winsize()
        guard unsafe ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0, size.ws_row > 0,
            size.ws_col > 0
        else { return nil }
        rows = Int(size.ws_row)
        columns = Int(size.ws_col)
    }

    init(rows: Int, columns: Int) { (self.rows, self.columns) = (rows, columns) }

    /// How many rows a text takes, its colours left out.
    func rows(of text: [UInt8]) -> Int {
        var rows = 0
        var column = 0
        var isEscape = false
        for byte in text {
            if isEscape {
                isEscape = byte != UInt8(ascii: "m")
            } else if byte == 0x1B {
                isEscape = true
            } else if byte == UInt8(ascii: "\n") {
                rows += max(1, (column + columns - 1) / columns)
                column = 0
            } else if byte & 0xC0 != 0x80 {
                column += 1
            }
        }
        return rows + (column + columns - 1) / columns
    }

    /// Whether a text and the prompt behind it stand on the screen together.
    func holds(_ text: [UInt8]) -> Bool { rows(of: text) < rows }
}

/// What flows from the verb to the terminal, on a thread of its own.
private struct PagedStream {
    private let source: Int32
    private let terminal: Int32
    private let screen: Screen
    private let command: String
    /// What came so far, as long as it may still have to be brought out without the pager.
    private var kept: [UInt8] = []

    /// More than a pipe holds: what a pager that could not be started may have been handed.
    private static let keptMax = 1 << 20

    init(_ source: Int32, _ terminal: Int32, _ screen: Screen, _ command: String) {
        (self.source, self.terminal, self.screen) = (source, terminal, screen)
        self.command = command
    }

    mutating func run() {
        defer { close(source) }
        var chunk = next()
        while !chunk.isEmpty {
            kept += chunk
            guard screen.holds(kept) else { break }
            chunk = next()
        }
        guard !chunk.isEmpty, let (pager, sink) = spawn() else {
            _ = copy(kept, to: terminal)
            pass(to: terminal)
            return
        }
        // Ctrl-C is the pager's as long as it runs.
        signal(SIGINT, SIG_IGN)
        if copy(kept, to: sink) { pass(to: sink) }
        close(sink)
        var status: Int32 = 0
        while unsafe waitpid(pager, &status, 0) < 0, errno == EINTR {}
        // The shell's exit codes for a command that is not there, or that cannot be run; the shell
        // has said so.
        let code = (status >> 8) & 0xFF
        guard status & 0x7F == 0, code == 126 || code == 127, kept.count <= Self.keptMax else {
            return
        }
        _ = copy(kept, to: terminal)
        pass(to: terminal)
    }

    /// The next bytes; none at the end.
    private func next() -> [UInt8] {
        unsafe [UInt8](unsafeUninitializedCapacity: 1 << 16) { buffer, count in
            // In bounds: as many bytes as the buffer has.
            var got = unsafe read(source, buffer.baseAddress, buffer.count)
            while got < 0, errno == EINTR {
                got = unsafe read(source, buffer.baseAddress, buffer.count)
            }
            count = max(0, got)
        }
    }

    /// Hands on everything that comes.
    private mutating func pass(to sink: Int32) {
        var chunk = next()
        while !chunk.isEmpty {
            if kept.count <= Self.keptMax { kept += chunk }
            guard copy(chunk, to: sink) else { return }
            chunk = next()
        }
    }

    /// - Returns: False when nobody reads any more.
    private func copy(_ bytes: [UInt8], to sink: Int32) -> Bool {
        var start = 0
        while start < bytes.count {
            let written = unsafe bytes.withUnsafeBytes { buffer in
                // In bounds: start < count.
                let rest = unsafe UnsafeRawBufferPointer(rebasing: buffer[start...])
                return unsafe write(sink, rest.baseAddress, rest.count)
            }
            if written < 0, errno == EINTR { continue }
            guard written > 0 else { return false }
            start += written
        }
        return true
    }

    /// Starts the pager, with the signals' own effects.
    ///
    /// - Returns: Its process, and where to write; `nil` when the system gives none.
    private func spawn() -> (pid_t, Int32)? {
        var ends: [Int32] = [-1, -1]
        guard unsafe pipe(&ends) == 0 else { return nil }
        defer { close(ends[0]) }
        _ = fcntl(ends[1], F_SETFD, FD_CLOEXEC)
        var environment = ProcessInfo.processInfo.environment
        if environment["LESS"] == nil { environment["LESS"] = "FRX" }
        if environment["LV"] == nil { environment["LV"] = "-c" }
        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        unsafe posix_spawn_file_actions_adddup2(&actions, ends[0], STDIN_FILENO)
        unsafe posix_spawn_file_actions_adddup2(&actions, terminal, STDOUT_FILENO)
        var attributes = posix_spawnattr_t()
        unsafe posix_spawnattr_init(&attributes)
        var signals = sigset_t()
        unsafe sigemptyset(&signals)
        unsafe sigaddset(&signals, SIGPIPE)
        unsafe sigaddset(&signals, SIGINT)
        unsafe posix_spawnattr_setsigdefault(&attributes, &signals)
        unsafe posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGDEF))
        defer {
            unsafe posix_spawn_file_actions_destroy(&actions)
            unsafe posix_spawnattr_destroy(&attributes)
        }
        // Freed below; the system copies them.
        let arguments: [String] = ["sh", "-c", command]
        let words = unsafe arguments.map { unsafe strdup($0) }
        let settings = unsafe environment.map { unsafe strdup("\($0.key)=\($0.value)") }
        defer { unsafe (words + settings).forEach { unsafe free($0) } }
        var process: pid_t = 0
        let failure = unsafe posix_spawn(
            &process, "/bin/sh", &actions, &attributes, words + [nil], settings + [nil])
        guard failure == 0 else {
            close(ends[1])
            return nil
        }
        return (process, ends[1])
    }
}
