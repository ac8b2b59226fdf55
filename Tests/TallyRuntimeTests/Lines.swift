import Logging
import Synchronization

/// Lines from any thread; a logger's messages among them.
final class Lines: Sendable {
    private let lines = Mutex<[String]>([])
    func add(_ line: String) { lines.withLock { $0.append(line) } }
    var all: [String] { lines.withLock { $0 } }

    /// Collects what is logged at `warning` and above, as text alone.
    var logger: Logger { logger(at: .warning) }

    func logger(at level: Logger.Level) -> Logger {
        Logger(label: "test") { _ in Handler(lines: self, logLevel: level) }
    }

    private struct Handler: LogHandler {
        let lines: Lines
        var logLevel: Logger.Level
        var metadata: Logger.Metadata = [:]

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) {
            var text = "\(event.message)"
            let all = metadata.merging(event.metadata ?? [:]) { $1 }
            if logLevel < .warning {
                text = "\(event.level) \(text)"
                for (key, value) in all.sorted(by: { $0.key < $1.key }) {
                    text += " \(key)=\(value)"
                }
            }
            lines.add(text)
        }
    }
}
