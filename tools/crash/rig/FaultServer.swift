import Foundation
import Synchronization
import TallyStore

/// How a run under a plan ended.
enum Ended: Equatable {
    case exit(Int32)
    case signal(Int32)
    /// It did not end in time, and was killed.
    case hang

    init(status: Int32) {
        self = status & 0x7F == 0 ? .exit(status >> 8 & 0xFF) : .signal(status & 0x7F)
    }

    static let killed = Ended.signal(SIGKILL)

    var text: String {
        switch self {
        case .exit(let code): "it ended with exit code \(code)"
        case .signal(let number): "it died of signal \(number)"
        case .hang: "it did not end in time"
        }
    }
}

/// This program under `fault.c`, stopped before main: each run is a fork of it, in a directory of its
/// own, under a plan of its own. Owned by one thread.
final class FaultServer {
    private let process: pid_t
    private let requests: Int32
    private let replies: Int32

    /// - Parameters:
    ///   - library: `fault.c`, compiled.
    ///   - arguments: The verb of every run, and what stands behind it.
    init(library: String, _ arguments: [String]) throws {
        // One at a time: an end that another server inherits is never closed.
        (process, requests, replies) = try starting.withLock { _ in
            let (requestsRead, requestsWrite) = try Self.ends()
            let (repliesRead, repliesWrite) = try Self.ends()
            defer {
                close(requestsRead)
                close(repliesWrite)
            }
            let process = try spawn(
                arguments,
                [
                    "LD_PRELOAD=\(library)", "TALLY_FAULT=server", "SWIFT_BACKTRACE=enable=no",
                    "LD_BIND_NOW=1",
                ], [(requestsRead, 198), (repliesWrite, 199)])
            return (process, requestsWrite, repliesRead)
        }
    }

    deinit {
        close(requests)
        close(replies)
        var status: Int32 = 0
        _ = unsafe waitpid(process, &status, 0)
    }

    private static func ends() throws -> (Int32, Int32) {
        var ends: [Int32] = [0, 0]
        guard unsafe pipe(&ends) == 0 else { throw UsageError(description: "no pipe") }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        return (ends[0], ends[1])
    }

    /// Runs a plan in a directory; what it says is appended to the files.
    ///
    /// - Parameters:
    ///   - limit: Milliseconds after which it is killed.
    ///   - killAfter: Microseconds after which it is killed on purpose.
    func run(
        _ plan: String, in directory: String, out: String, err: String, limit: Int = 10_000,
        killAfter: UInt32? = nil
    ) throws -> Ended {
        let child = try start(plan, in: directory, out: out, err: err)
        if let killAfter {
            usleep(killAfter)
            // Not reaped before its status was sent, and that is read below: the id is the child's, or
            // nobody's for the moment.
            kill(child, SIGKILL)
        }
        return try wait(for: child, limit: limit)
    }

    /// Starts a run; ``wait(for:limit:)`` has to follow before the next one.
    ///
    /// - Returns: Its process.
    func start(
        _ plan: String, in directory: String, out: String, err: String
    ) throws -> pid_t {
        let line = Array("\(plan) \(directory) \(out) \(err)\n".utf8)
        let written = unsafe line.withUnsafeBytes { buffer in
            unsafe write(requests, buffer.baseAddress, buffer.count)
        }
        guard written == line.count, let child = reply(within: 10_000) else {
            throw UsageError(description: "the fault server does not answer; is fault.so whole?")
        }
        return child
    }

    /// Waits for the run that was started; it is killed when that takes too long.
    func wait(for child: pid_t, limit: Int = 10_000) throws -> Ended {
        if let status = reply(within: limit) { return Ended(status: status) }
        kill(child, SIGKILL)
        guard reply(within: 10_000) != nil else {
            throw UsageError(description: "process \(child) cannot be killed")
        }
        return .hang
    }

    private func reply(within milliseconds: Int) -> Int32? {
        var waiting = pollfd(fd: replies, events: Int16(POLLIN), revents: 0)
        guard unsafe poll(&waiting, 1, Int32(milliseconds)) == 1 else { return nil }
        var word: Int32 = 0
        let count = unsafe withUnsafeMutableBytes(of: &word) { buffer in
            unsafe read(replies, buffer.baseAddress, buffer.count)
        }
        return count == 4 ? word : nil
    }
}

private let starting = Mutex<Void>(())

/// Starts this program again with other arguments.
///
/// - Parameter descriptors: Which descriptors of this process are which of the other's.
func spawn(
    _ arguments: [String], _ environment: [String],
    _ descriptors: [(ours: Int32, theirs: Int32)]
) throws -> pid_t {
    var actions = unsafe posix_spawn_file_actions_t()
    unsafe posix_spawn_file_actions_init(&actions)
    defer { unsafe posix_spawn_file_actions_destroy(&actions) }
    for (ours, theirs) in descriptors {
        unsafe posix_spawn_file_actions_adddup2(&actions, ours, theirs)
    }
    let program = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
    var words = unsafe ([program] + arguments).map { unsafe strdup($0) } + [nil]
    let inherited = ProcessInfo.processInfo.environment.compactMap { name, value in
        environment.contains { $0.hasPrefix(name + "=") } ? nil : "\(name)=\(value)"
    }
    var variables = unsafe (inherited + environment).map { unsafe strdup($0) } + [nil]
    defer { unsafe (words + variables).forEach { unsafe free($0) } }
    var process: pid_t = 0
    let number = unsafe posix_spawn(&process, program, &actions, nil, &words, &variables)
    guard number == 0 else {
        throw UsageError(description: "cannot start \(program): \(Files.text(ofError: number))")
    }
    return process
}

/// A directory's files in memory, to be laid out again and again.
struct Image {
    private var directories: [String] = []
    private var files: [(path: String, bytes: [UInt8])] = []

    /// Nothing.
    init() {}

    init(of directory: String) throws { try add(directory, "") }

    private mutating func add(_ directory: String, _ path: String) throws {
        for name in Files.list(directory + path) {
            let child = path + "/" + name
            if Files.isDirectory(directory + child) {
                directories.append(child)
                try add(directory, child)
            } else {
                files.append((child, try Files.read(directory + child, max: 1 << 30)))
            }
        }
    }

    /// Makes a directory with these files, and nothing else.
    func lay(out directory: String) throws {
        Files.removeTree(directory)
        try Files.makeDirectory(directory)
        for path in directories { try Files.makeDirectory(directory + path) }
        for (path, bytes) in files {
            try Scratch.write(bytes, to: directory + path)
        }
    }
}

/// Where runs take place.
enum Scratch {
    /// Writes a file that nobody has to be able to rely on.
    static func write(_ bytes: [UInt8], to path: String) throws {
        let opened = unsafe open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        guard opened >= 0 else { throw UsageError(description: "cannot make \(path)") }
        defer { close(opened) }
        var start = 0
        while start < bytes.count {
            let count = unsafe bytes.withUnsafeBytes { buffer in
                unsafe writePart(opened, UnsafeRawBufferPointer(rebasing: buffer[start...]))
            }
            guard count > 0 else { throw UsageError(description: "cannot write \(path)") }
            start += count
        }
    }

    static func text(_ path: String) -> String {
        String(decoding: (try? Files.read(path, max: 1 << 30)) ?? [], as: UTF8.self)
    }
}

private func writePart(_ descriptor: Int32, _ bytes: UnsafeRawBufferPointer) -> Int {
    unsafe write(descriptor, bytes.baseAddress, bytes.count)
}
