import Foundation
import Testing

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// A process on a terminal of its own, with a screen of a given size.
final class PseudoTerminal {
    private let master: Int32
    private let process: pid_t
    private(set) var output: [UInt8] = []
    private var isEnded = false

    /// - Parameter environment: On top of this process's own, without its settings for pagers and
    ///   colours.
    init(
        _ arguments: [String], of executable: String = Tally.executable, rows: UInt16 = 24,
        columns: UInt16 = 100,
        environment changes: [String: String] = [:]
    ) throws {
        var ends: (master: Int32, terminal: Int32) = (-1, -1)
        var name = [CChar](repeating: 0, count: 128)
        var size = winsize(ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0)
        guard unsafe openpty(&ends.master, &ends.terminal, &name, nil, &size) == 0 else {
            throw Failure(text: "there is no pseudo-terminal: \(errno)")
        }
        master = ends.master
        let terminal = String(decoding: name.prefix { $0 != 0 }.map(UInt8.init), as: UTF8.self)
        defer { close(ends.terminal) }
        for end in [ends.master, ends.terminal] { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        var environment = ProcessInfo.processInfo.environment
        for name in ["NO_COLOR", "PAGER", "TALLY_PAGER", "LESS", "LC_ALL", "LC_CTYPE"] {
            environment[name] = nil
        }
        environment["TERM"] = "xterm"
        environment["LANG"] = "C"
        environment["SWIFT_BACKTRACE"] = "enable=no"
        for (name, value) in changes { environment[name] = value }
        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        // The first terminal that the leader of a session opens controls it.
        unsafe posix_spawn_file_actions_addopen(&actions, 0, terminal, O_RDWR, 0)
        unsafe posix_spawn_file_actions_adddup2(&actions, 0, 1)
        unsafe posix_spawn_file_actions_adddup2(&actions, 0, 2)
        var attributes = posix_spawnattr_t()
        unsafe posix_spawnattr_init(&attributes)
        unsafe posix_spawnattr_setflags(&attributes, Self.newSession)
        let words = unsafe ([executable] + arguments).map { unsafe strdup($0) }
        let settings = unsafe environment.map { unsafe strdup("\($0.key)=\($0.value)") }
        defer {
            unsafe (words + settings).forEach { unsafe free($0) }
            unsafe posix_spawn_file_actions_destroy(&actions)
            unsafe posix_spawnattr_destroy(&attributes)
        }
        var started: pid_t = 0
        let failure = unsafe posix_spawn(
            &started, executable, &actions, &attributes, words + [nil], settings + [nil])
        guard failure == 0 else { throw Failure(text: "no process: \(failure)") }
        process = started
    }

    #if canImport(Darwin)
        private static let newSession: Int16 = 0x400
    #else
        // POSIX_SPAWN_SETSID
        private static let newSession: Int16 = 0x80
    #endif

    struct Failure: Error { var text: String }

    /// Whether this system has pseudo-terminals: a bare root without `/dev/pts` has none.
    static let isAvailable: Bool = {
        var ends: (master: Int32, terminal: Int32) = (-1, -1)
        guard unsafe openpty(&ends.master, &ends.terminal, nil, nil, nil) == 0 else { return false }
        close(ends.master)
        close(ends.terminal)
        return true
    }()

    deinit {
        if !isEnded {
            kill(process, SIGKILL)
            var status: Int32 = 0
            unsafe waitpid(process, &status, 0)
        }
        close(master)
    }

    /// What the screen was sent, lines ended by a newline alone.
    var text: String {
        String(decoding: output, as: UTF8.self).replacing("\r\n", with: "\n")
    }

    func type(_ keys: String) {
        let bytes = Array(keys.utf8)
        _ = unsafe write(master, bytes, bytes.count)
    }

    /// Reads what the process shows until the closure is content or the process has gone.
    ///
    /// - Parameter keys: Typed again and again meanwhile: who is busy may throw a key away.
    /// - Returns: False when that was in vain.
    @discardableResult
    func watch(
        _ what: String, typing keys: String? = nil, at location: SourceLocation = #_sourceLocation,
        until isSo: (String) -> Bool
    ) -> Bool {
        let end = Date(timeIntervalSinceNow: 60)
        var typedAt = Date.distantPast
        while !isSo(text) {
            guard Date() < end else {
                Issue.record("in vain: \(what); so far:\n\(text)", sourceLocation: location)
                return false
            }
            if let keys, Date().timeIntervalSince(typedAt) > 0.5 {
                type(keys)
                typedAt = Date()
            }
            guard readSome() else { return true }
        }
        return true
    }

    /// - Returns: False when nobody has the terminal open any more.
    private func readSome() -> Bool {
        var request = pollfd(fd: master, events: Int16(POLLIN), revents: 0)
        guard unsafe poll(&request, 1, 100) > 0 else { return true }
        var buffer = [UInt8](repeating: 0, count: 65_536)
        let count = unsafe read(master, &buffer, buffer.count)
        guard count > 0 else { return false }
        output += buffer.prefix(count)
        return true
    }

    /// Reads to the end.
    ///
    /// - Returns: The exit code, or a signal's negative number.
    func wait(
        typing keys: String? = nil, at location: SourceLocation = #_sourceLocation
    ) -> Int32 {
        if !watch("the end", typing: keys, at: location, until: { _ in false }) {
            kill(process, SIGKILL)
        }
        var status: Int32 = 0
        unsafe waitpid(process, &status, 0)
        isEnded = true
        return status & 0x7F == 0 ? (status >> 8) & 0xFF : -(status & 0x7F)
    }
}
