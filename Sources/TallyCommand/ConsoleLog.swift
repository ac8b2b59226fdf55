package import Logging

/// Shows what a running ledger logs on standard error, a line each: for a command, whose reader wants the
/// sentence and not the machinery around it.
package struct ConsoleLog: LogHandler {
    package var metadata: Logger.Metadata = [:]
    package var logLevel = Logger.Level.warning

    package init() {}

    /// A logger that shows warnings and worse.
    package static var logger: Logger { Logger(label: "tally") { _ in ConsoleLog() } }

    package subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    package func log(event: LogEvent) {
        Console.note(Console.escaped("\(event.level): \(event.message)", max: 2000))
    }
}
