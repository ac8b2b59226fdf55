/// Histories as text, run by the same engine as random runs: production shards over simulated disks.
///
///     # The story, in one comment or more; the first line is required.
///     send trades-0 collateral-0 "reserve 100"
///     deliver collateral-0
///     ---
///     trades-0@3 commanded
///     trades-0@4 sent trades-0/collateral-0/1 "reserve 100"
///     collateral-0@3 received trades-0/collateral-0/1 applied
///     collateral-0@4 answered trades-0/collateral-0/1 accepted
///
/// A scenario is blocks with an empty line between them. A block is directives, one a line, then
/// `---`, then its transcript: the events that were appended, in order, and what was said. The
/// directives are described at ``ScenarioRun``.
public enum Scenario {
    /// Why a scenario does not run, or runs otherwise than recorded.
    public struct Failure: Error, CustomStringConvertible {
        /// The scenario's name, and the line.
        public var name: String
        public var line: Int
        /// What is wrong and what to do, or the difference.
        public var text: String

        public var description: String { "\(name):\(line): \(text)" }
    }

    /// Runs a scenario.
    ///
    /// - Parameters:
    ///   - text: Blocks with or without transcripts; those that it has are not looked at.
    ///   - name: For messages.
    /// - Returns: The same text with the transcripts of this run.
    /// - Throws: ``Failure`` when the text is no scenario, a directive does not apply, or a law broke.
    public static func run(_ text: String, name: String) throws(Failure) -> String {
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        guard let first = lines.first, first.hasPrefix("# "), first.count > 12 else {
            throw Failure(
                name: name, line: 1,
                text: "a scenario begins with its story: a first line '# What happens'")
        }
        let run = ScenarioRun()
        var output: [String] = []
        var isTranscript = false
        var isBlock = false
        var blocks = 0
        var last = 1
        func finish() throws(Failure) {
            guard isBlock else { return }
            let said = try attempt(name, last) { try run.finishBlock() }
            output += ["---"] + said + [""]
            blocks += 1
            isBlock = false
            isTranscript = false
        }
        for (index, line) in lines.enumerated() {
            if line.isEmpty {
                // Comments alone are no block; the empty line behind them stays.
                if !isBlock, output.last?.isEmpty == false { output.append("") }
                try finish()
            } else if line == "---" {
                guard isBlock, !isTranscript else {
                    throw Failure(
                        name: name, line: index + 1,
                        text: "a transcript without directives; an empty line stands between blocks"
                    )
                }
                isTranscript = true
            } else if !isTranscript {
                output.append(line)
                guard !line.hasPrefix("#") else { continue }
                isBlock = true
                last = index + 1
                try attempt(name, last) { try run.perform(line) }
            }
        }
        try finish()
        guard blocks > 0 else {
            throw Failure(name: name, line: 1, text: "nothing happens: directives are missing")
        }
        try attempt(name, last) { try run.end() }
        return output.joined(separator: "\n")
    }

    private static func attempt<Value>(
        _ name: String, _ line: Int, _ body: () throws -> Value
    ) throws(Failure) -> Value {
        do {
            return try body()
        } catch let broken as LawBroken {
            throw Failure(
                name: name, line: line, text: "a law is broken: \(broken.law): \(broken.text)")
        } catch let misuse as ScenarioMisuse {
            throw Failure(name: name, line: line, text: misuse.text)
        } catch {
            throw Failure(name: name, line: line, text: "\(error)")
        }
    }

    /// Runs a scenario and compares its transcripts with those in the text.
    ///
    /// - Throws: ``Failure``, with the lines that differ: `-` is recorded, `+` is what happened.
    public static func check(_ text: String, name: String) throws(Failure) {
        let recorded = text.split(separator: "\n", omittingEmptySubsequences: false)
        let printed = try run(text, name: name)
            .split(separator: "\n", omittingEmptySubsequences: false)
        guard recorded != printed else { return }
        var start = 0
        while start < min(recorded.count, printed.count), recorded[start] == printed[start] {
            start += 1
        }
        var tail = 0
        while tail < min(recorded.count, printed.count) - start,
            recorded[recorded.count - 1 - tail] == printed[printed.count - 1 - tail]
        {
            tail += 1
        }
        let difference =
            recorded[start..<(recorded.count - tail)].map { "\n- \($0)" }
            + printed[start..<(printed.count - tail)].map { "\n+ \($0)" }
        throw Failure(
            name: name, line: start + 1,
            text: "it happened otherwise than recorded:\(difference.joined())")
    }
}

/// A directive that is none, or does not apply.
struct ScenarioMisuse: Error {
    var text: String

    init(_ text: String) { self.text = text }
}

/// The words of one directive, taken one by one.
struct ScenarioWords {
    private var words: [(text: String, isQuoted: Bool)] = []
    private var next = 0
    let verb: String

    init(_ line: String) throws {
        var rest = line[...]
        while let first = rest.first {
            if first == " " {
                rest.removeFirst()
            } else if first == "\"" {
                rest.removeFirst()
                guard let end = rest.firstIndex(of: "\"") else {
                    throw ScenarioMisuse("a quotation mark is missing: \(line)")
                }
                words.append((String(rest[..<end]), true))
                rest = rest[rest.index(after: end)...]
            } else {
                let word = rest.prefix { $0 != " " }
                words.append((String(word), false))
                rest = rest.dropFirst(word.count)
            }
        }
        guard let first = words.first, !first.isQuoted else {
            throw ScenarioMisuse("a directive begins with its verb: \(line)")
        }
        verb = first.text
        next = 1
    }

    /// The next word, if it is no quotation.
    var peek: String? { next < words.count && !words[next].isQuoted ? words[next].text : nil }

    /// Takes a word that is just this one.
    mutating func take(_ word: String) -> Bool {
        guard peek == word else { return false }
        next += 1
        return true
    }

    /// Takes a word that a closure knows.
    mutating func takeKnown<Value>(_ known: (String) -> Value?) -> Value? {
        guard let word = peek, let value = known(word) else { return nil }
        next += 1
        return value
    }

    mutating func need<Value>(_ what: String, _ known: (String) -> Value?) throws -> Value {
        if let value = takeKnown(known) { return value }
        throw ScenarioMisuse("\(verb): \(what) is expected\(peek.map { ", not '\($0)'" } ?? "")")
    }

    mutating func quotation() throws -> String {
        guard next < words.count, words[next].isQuoted, !words[next].text.isEmpty else {
            throw ScenarioMisuse("\(verb): a \"text\" is expected")
        }
        next += 1
        return words[next - 1].text
    }

    /// A duration: `50ms`, `2s`, `1h`; in nanoseconds.
    static func duration(_ word: some StringProtocol) -> UInt64? {
        let units: [(String, UInt64)] = [
            ("ms", 1_000_000), ("h", 3_600_000_000_000), ("s", 1_000_000_000),
        ]
        guard let (unit, nanoseconds) = units.first(where: { word.hasSuffix($0.0) }),
            let count = UInt64(word.dropLast(unit.count)), count <= 100_000
        else { return nil }
        return count * nanoseconds
    }

    mutating func duration() throws -> UInt64 {
        try need("a duration such as 50ms or 2s") { Self.duration($0) }
    }

    func end() throws {
        guard next == words.count else {
            throw ScenarioMisuse("\(verb): what is '\(words[next].text)'?")
        }
    }
}
