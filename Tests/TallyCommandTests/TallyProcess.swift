import Foundation
import Testing

/// The `tally` that was built with these tests, run as a process.
enum Tally {
    /// What a run left behind.
    struct Outcome {
        var status: Int32
        var output: String
        var error: String

        var lines: [String] { output.split(separator: "\n").map(String.init) }
        var errorLines: [String] { error.split(separator: "\n").map(String.init) }
    }

    /// The repository, also when the sources are reached through a symbolic link.
    static let repository = URL(fileURLWithPath: #filePath).resolvingSymlinksInPath()
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent().path

    /// Beside the tests' own executable; else in the repository's build directory.
    static let executable: String = {
        let running = [
            CommandLine.arguments.first ?? "", Bundle.main.executablePath ?? "",
            Bundle.main.bundlePath,
        ]
        let beside = running.map {
            URL(fileURLWithPath: $0).resolvingSymlinksInPath().deletingLastPathComponent().path
                + "/tally"
        }
        let places = beside + [repository + "/.build/debug/tally"]
        return places.first { FileManager.default.isExecutableFile(atPath: $0) } ?? places[0]
    }()

    /// A run under way, its output going to files.
    final class Running {
        let process = Process()
        private let output: String
        private let error: String

        /// - Parameter directory: The working directory, and where the output is kept meanwhile.
        init(_ arguments: [String], in directory: String, as runner: [String] = []) throws {
            let token = UInt64.random(in: 0 ... .max)
            output = "/tmp/tally-test-\(token).out"
            error = "/tmp/tally-test-\(token).err"
            let command = runner + [Tally.executable] + arguments
            process.executableURL = URL(fileURLWithPath: command[0])
            process.arguments = Array(command.dropFirst())
            process.currentDirectoryURL = URL(fileURLWithPath: directory)
            var environment = ProcessInfo.processInfo.environment
            environment["NO_COLOR"] = "1"
            // A help text is as wide as here; a crash is reported by its signal alone.
            environment["COLUMNS"] = "80"
            environment["SWIFT_BACKTRACE"] = "enable=no"
            process.environment = environment
            process.standardInput = FileHandle.nullDevice
            process.standardOutput = try Self.make(output)
            process.standardError = try Self.make(error)
            try process.run()
        }

        private static func make(_ path: String) throws -> FileHandle {
            try Data().write(to: URL(fileURLWithPath: path))
            return try FileHandle(forWritingTo: URL(fileURLWithPath: path))
        }

        func kill() { _ = Foundation.kill(process.processIdentifier, SIGKILL) }

        /// Waits for the end, four minutes at most. A run that a signal ended has that signal's
        /// negative as its status.
        func wait(at location: SourceLocation = #_sourceLocation) -> Outcome {
            let end = Date(timeIntervalSinceNow: 240)
            while process.isRunning {
                usleep(1_000)
                guard Date() > end else { continue }
                let command = process.arguments ?? []
                Issue.record("\(command) did not end by itself", sourceLocation: location)
                kill()
                process.waitUntilExit()
            }
            defer {
                for path in [output, error] { try? FileManager.default.removeItem(atPath: path) }
            }
            let isSignal = process.terminationReason == .uncaughtSignal
            return Outcome(
                status: isSignal ? -process.terminationStatus : process.terminationStatus,
                output: Scratch.text(output), error: Scratch.text(error))
        }
    }
}

/// A directory of a test's own, removed with it.
final class Scratch {
    let path: String

    /// In memory where there is such a place: what is tested here survives a process, not more.
    init() throws {
        let root = FileManager.default.fileExists(atPath: "/dev/shm") ? "/dev/shm" : "/tmp"
        path = root + "/tally-command-\(UInt64.random(in: 0 ... .max))"
        try FileManager.default.createDirectory(
            atPath: path, withIntermediateDirectories: false,
            attributes: [.posixPermissions: 0o755])
    }

    deinit {
        // Whatever a test made read-only may be removed again.
        for name in Self.names(path) {
            try? FileManager.default.setAttributes(
                [.posixPermissions: 0o755], ofItemAtPath: path + "/" + name)
        }
        try? FileManager.default.removeItem(atPath: path)
    }

    func callAsFunction(_ name: String) -> String { path + "/" + name }

    /// Runs `tally` here and waits for it.
    @discardableResult
    func tally(_ arguments: String...) throws -> Tally.Outcome { try tally(arguments) }

    @discardableResult
    func tally(_ arguments: [String]) throws -> Tally.Outcome {
        try Tally.Running(arguments, in: path).wait()
    }

    /// Runs `tally`, which has to succeed.
    @discardableResult
    func clean(
        _ arguments: String..., at location: SourceLocation = #_sourceLocation
    ) throws -> Tally.Outcome {
        let outcome = try tally(arguments)
        #expect(
            outcome.status == 0, "tally \(arguments): \(outcome.error)", sourceLocation: location)
        return outcome
    }

    func write(_ text: String, to name: String) throws {
        try Data(text.utf8).write(to: URL(fileURLWithPath: self(name)))
    }

    func copy(_ name: String, to other: String) throws {
        try FileManager.default.copyItem(atPath: self(name), toPath: self(other))
    }

    func remove(_ name: String) throws { try FileManager.default.removeItem(atPath: self(name)) }

    /// Every file and directory below, and what the files hold: equal when no byte changed.
    func bytes(_ name: String = "") -> [String: Data] {
        let root = name.isEmpty ? path : self(name)
        var found: [String: Data] = [:]
        for name in Self.names(root) {
            let path = root + "/" + name
            var isDirectory: ObjCBool = false
            _ = unsafe FileManager.default.fileExists(atPath: path, isDirectory: &isDirectory)
            found[name] =
                isDirectory.boolValue
                ? Data() : (FileManager.default.contents(atPath: path) ?? Data())
        }
        return found
    }

    private static func names(_ root: String) -> [String] {
        FileManager.default.enumerator(atPath: root)?.compactMap { $0 as? String } ?? []
    }

    static func text(_ path: String) -> String {
        FileManager.default.contents(atPath: path).map { String(decoding: $0, as: UTF8.self) } ?? ""
    }
}

/// The paths whose bytes differ, for a failure that says which.
func changes(_ before: [String: Data], _ after: [String: Data]) -> [String] {
    Set(before.keys).union(after.keys).filter { before[$0] != after[$0] }.sorted()
}

/// Waits for something that another process does.
func waitUntil(
    _ what: String, seconds: Double = 30, at location: SourceLocation = #_sourceLocation,
    _ isSo: () throws -> Bool
) throws {
    let end = Date(timeIntervalSinceNow: seconds)
    while try !isSo() {
        guard Date() < end else {
            Issue.record("waited \(seconds) s in vain: \(what)", sourceLocation: location)
            return
        }
        usleep(5_000)
    }
}

/// SplitMix64: the same moments again for the same seed.
struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var word = state
        word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
        word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
        return word ^ (word >> 31)
    }
}
