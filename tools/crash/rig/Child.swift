import Foundation

/// This program again, in a process of its own.
final class Child {
    private let process = Process()
    private let output = Pipe()

    /// Starts it; its standard output is kept, its standard error is ours.
    init(_ arguments: [String], environment: [String: String]) throws {
        process.executableURL = Bundle.main.executableURL
        process.arguments = arguments
        process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        process.standardOutput = output
        try process.run()
    }

    /// Waits for its end.
    ///
    /// - Returns: Its exit code, or 1000 and the signal's number; what it printed.
    func wait() -> (status: Int32, output: String) {
        let bytes = output.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        let isKilled = process.terminationReason == .uncaughtSignal
        return (
            (isKilled ? 1000 : 0) + process.terminationStatus,
            String(decoding: bytes, as: UTF8.self)
        )
    }

    static func run(
        _ arguments: [String], environment: [String: String]
    ) throws -> (status: Int32, output: String) {
        try Child(arguments, environment: environment).wait()
    }
}
