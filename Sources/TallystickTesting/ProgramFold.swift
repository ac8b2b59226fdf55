internal import TallyCore

/// Folds events as a shard does: through their byte form, into the messaging state and the program's.
struct ProgramFold<P: Program>: Sendable {
    let context: ShardContext
    private(set) var messaging: MessagingState
    private(set) var application: P.State
    /// The time of the last commit; each commit comes a second after the one before.
    private(set) var time = Timestamp(1_700_000_000_000_000_000)

    init(_ context: ShardContext) {
        self.context = context
        messaging = MessagingState(
            shard: context.shard, shardCount: context.directory.count,
            rules: MessagingState.Rules())
        application = P.initial(context)
    }

    /// The time of the next commit.
    var nextTime: Timestamp { time.advanced(byNanoseconds: 1_000_000_000) }

    /// Folds events as one commit.
    ///
    /// - Returns: The anomalies that they made.
    mutating func fold(_ records: [LogRecord]) -> [Anomaly] {
        let before = messaging.anomalies.count
        time = nextTime
        var commit = CommitBuilder()
        commit.open(
            firstOffset: Offset(messaging.offset.rawValue + 1), timestamp: time, epoch: Epoch(1))
        for record in records {
            commit.append(record.event, payload: record.payload, result: record.result)
        }
        for index in records.indices {
            commit.withEvent(index) { view in
                messaging.fold(view, timestamp: time, epoch: Epoch(1))
                if view.kind.isForPrograms {
                    view.withPayload { P.evolve(&application, view.event, $0, context) }
                }
            }
        }
        return Array(messaging.anomalies[before...])
    }
}

extension ShardContext {
    /// A shard by its name, among the names of its ledger.
    init(_ shard: String, of names: [String]) throws(TestMisuse) {
        guard let directory = ShardDirectory(names) else {
            throw TestMisuse(
                "\(names) are no names of shards: at least one, each once, of a-z, 0-9 and -")
        }
        self.init(shard: try directory.shard(shard), directory: directory)
    }
}

extension ShardDirectory {
    func shard(_ name: String) throws(TestMisuse) -> ShardID {
        guard let shard = id(of: name) else {
            throw TestMisuse(
                "there is no shard \"\(name)\"; there are \(names.joined(separator: ", "))")
        }
        return shard
    }
}

extension Decision {
    /// One line for each thing decided.
    func lines<P: Program>(_ program: P.Type, _ directory: ShardDirectory) -> [String] {
        var lines: [String] = []
        for answer in answers {
            let verb = answer.accepted ? "accepts" : "rejects"
            lines.append(
                "\(verb) \(directory.text(answer.message))" + text(P.self, answer.payload))
        }
        for note in notes { lines.append("notes" + text(P.self, note)) }
        for send in sends {
            let deadline = send.deadlineAfter.map { ", to be received within \($0) ns" } ?? ""
            let correlation = send.correlation.map { ", correlation \($0)" } ?? ""
            lines.append(
                "sends to \(directory.name(of: send.destination))" + text(P.self, send.payload)
                    + deadline + correlation)
        }
        if !result.isEmpty { lines.append("results in" + text(P.self, result)) }
        return lines.isEmpty ? ["nothing"] : lines
    }

    private func text<P: Program>(_ program: P.Type, _ payload: [UInt8]) -> String {
        payload.isEmpty ? "" : ": \(P.describe(payload)) [\(hexadecimal(payload))]"
    }
}

/// Bytes in hexadecimal, the first 48 of them.
func hexadecimal(_ bytes: [UInt8]) -> String {
    let digits = Array("0123456789abcdef".utf8)
    let text = bytes.prefix(48).flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }
    return String(decoding: text, as: UTF8.self)
        + (bytes.count > 48 ? "... (\(bytes.count) bytes)" : "")
}
