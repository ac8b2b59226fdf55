import CoreMetrics
import Foundation
import Synchronization
import TallyCommand

/// What a running venue's metrics show, a line a second over all shards; a factory of swift-metrics like
/// any other.
final class VenueMetrics: MetricsFactory {
    private struct State {
        var counters: [String: Int64] = [:]
        /// By label and shard.
        var gauges: [String: [String: Double]] = [:]
        /// Since the last line.
        var flushes: [Int64] = []
        var allFlushes: [Int64] = []
        var started: Date?
        var lastLine = Date()
        var lastCounters: [String: Int64] = [:]
    }

    private let state = Mutex(State())

    // MARK: The factory

    func makeCounter(
        label: String, dimensions: [(String, String)]
    ) -> any CounterHandler {
        Count(metrics: self, label: label)
    }

    func makeRecorder(
        label: String, dimensions: [(String, String)], aggregate: Bool
    ) -> any RecorderHandler {
        let names = dimensions.filter { $0.0 == "shard" }.map(\.1)
        return Level(metrics: self, label: label, shard: names.first ?? "")
    }

    func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler {
        Flush(metrics: self)
    }

    func destroyCounter(_ handler: any CounterHandler) {}
    func destroyRecorder(_ handler: any RecorderHandler) {}
    func destroyTimer(_ handler: any TimerHandler) {}

    private final class Count: CounterHandler {
        private let metrics: VenueMetrics
        private let label: String

        init(metrics: VenueMetrics, label: String) {
            self.metrics = metrics
            self.label = label
        }

        func increment(by amount: Int64) {
            metrics.state.withLock { $0.counters[label, default: 0] += amount }
        }

        func reset() { metrics.state.withLock { $0.counters[label] = 0 } }
    }

    private final class Level: RecorderHandler {
        private let metrics: VenueMetrics
        private let label: String
        private let shard: String

        init(metrics: VenueMetrics, label: String, shard: String) {
            self.metrics = metrics
            self.label = label
            self.shard = shard
        }

        func record(_ value: Int64) { record(Double(value)) }
        func record(_ value: Double) {
            metrics.state.withLock { $0.gauges[label, default: [:]][shard] = value }
        }
    }

    private final class Flush: TimerHandler {
        private let metrics: VenueMetrics

        init(metrics: VenueMetrics) { self.metrics = metrics }

        func recordNanoseconds(_ duration: Int64) {
            metrics.state.withLock { state in
                state.flushes.append(duration)
                state.allFlushes.append(duration)
            }
        }
    }

    // MARK: The lines

    static let columns = [
        "second", "commits", "events", "flush p50", "p99", "pending", "oldest", "owed",
        "sent again",
        "conflicts", "refused", "dropped",
    ]

    static var header: String { row(columns) }

    /// The last second, or a little more.
    func line() -> String {
        state.withLock { state in
            let started = state.started ?? state.lastLine
            state.started = started
            let now = Date()
            let seconds = max(0.001, now.timeIntervalSince(state.lastLine))
            func rate(_ label: String) -> String {
                let delta = (state.counters[label] ?? 0) - (state.lastCounters[label] ?? 0)
                return readable(Int64(Double(delta) / seconds))
            }
            func since(_ label: String) -> String {
                readable((state.counters[label] ?? 0) - (state.lastCounters[label] ?? 0))
            }
            defer {
                state.lastLine = now
                state.lastCounters = state.counters
                state.flushes = []
            }
            return Self.row(
                [
                    String(Int(now.timeIntervalSince(started).rounded())),
                    rate("tally_commits") + "/s", rate("tally_events") + "/s",
                ] + Self.levels(state, state.flushes) + [
                    since("tally_reemissions"), since("tally_conflicts"), since("tally_refusals"),
                    since("tally_dropped_envelopes"),
                ])
        }
    }

    /// From the beginning, and the last levels.
    func total() -> String {
        state.withLock { state in
            func sum(_ label: String) -> String { readable(state.counters[label] ?? 0) }
            return Self.row(
                ["total", sum("tally_commits"), sum("tally_events")]
                    + Self.levels(state, state.allFlushes) + [
                        sum("tally_reemissions"), sum("tally_conflicts"), sum("tally_refusals"),
                        sum("tally_dropped_envelopes"),
                    ])
        }
    }

    private static func levels(_ state: State, _ flushes: [Int64]) -> [String] {
        let sorted = flushes.sorted()
        func quantile(_ part: Double) -> String {
            guard !sorted.isEmpty else { return "-" }
            let index = min(sorted.count - 1, Int(Double(sorted.count) * part))
            return readable(nanoseconds: UInt64(max(0, sorted[index])))
        }
        func sum(_ label: String) -> Double { (state.gauges[label] ?? [:]).values.reduce(0, +) }
        let oldest = (state.gauges["tally_oldest_pending_seconds"] ?? [:]).values.max() ?? 0
        return [
            quantile(0.5), quantile(0.99), readable(Int64(sum("tally_pending"))),
            readable(nanoseconds: UInt64(max(0, oldest) * 1e9)), readable(Int64(sum("tally_owed"))),
        ]
    }

    private static func row(_ cells: [String]) -> String {
        let widths = [6, 9, 11, 9, 8, 8, 8, 5, 10, 9, 8, 8]
        return zip(cells, widths).map { cell, width in
            String(repeating: " ", count: max(0, width - cell.count)) + cell
        }.joined(separator: " ")
    }
}
