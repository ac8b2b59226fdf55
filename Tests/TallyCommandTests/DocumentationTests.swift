import Foundation
import TallyCore
import TallyStore
import Testing

/// The articles name verbs, options, codes and bytes: what they name is there.
@Suite("Documentation")
struct DocumentationTests {
    private static let catalog = Tally.repository + "/Sources/Tallystick/Tallystick.docc"

    /// The texts that people read, by file name.
    private static let articles: [String: String] = {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: catalog)) ?? []
        var texts = ["README.md": Scratch.text(Tally.repository + "/README.md")]
        for name in names where name.hasSuffix(".md") {
            texts[name] = Scratch.text(catalog + "/" + name)
        }
        return texts
    }()

    private static func article(_ name: String) throws -> String { try #require(articles[name]) }

    private static func source(_ name: String) -> String {
        Scratch.text(Tally.repository + "/Sources/" + name)
    }

    /// What stands in code: the lines of code blocks, and the pieces between single backticks.
    private static func code(in text: String) -> [String] {
        var found: [String] = []
        var isBlock = false
        for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
            if line.hasPrefix("```") {
                isBlock.toggle()
            } else if isBlock || line.hasPrefix("    ") {
                found.append(String(line))
            } else {
                let pieces = line.split(separator: "`", omittingEmptySubsequences: false)
                for (index, piece) in pieces.enumerated() where index % 2 == 1 {
                    found.append(String(piece))
                }
            }
        }
        return found
    }

    /// The cells of the tables' rows, first column first, below a heading.
    private static func rows(below heading: String, of text: String) throws -> [[String]] {
        let start = try #require(text.range(of: heading + "\n"), "\(heading)")
        var found: [[String]] = []
        for line in text[start.upperBound...].split(separator: "\n") {
            if line.hasPrefix("#") { break }
            guard line.hasPrefix("|"), !line.hasPrefix("|---") else { continue }
            let cells = line.dropFirst().dropLast().split(
                separator: "|", omittingEmptySubsequences: false)
            found.append(cells.map { $0.trimmingCharacters(in: .whitespaces) })
        }
        return Array(found.dropFirst())
    }

    private static func plain(_ cell: String) -> String {
        cell.replacingOccurrences(of: "`", with: "")
    }

    /// The names in backticks of the paragraph that contains a text.
    private static func names(inParagraphWith text: String, of article: String) throws -> [String] {
        let paragraph = try #require(
            article.components(separatedBy: "\n\n").first { $0.contains(text) }, "\(text)")
        let tail = try #require(paragraph.range(of: text))
        let pieces = paragraph[tail.upperBound...].split(
            separator: "`", omittingEmptySubsequences: false)
        return pieces.enumerated().compactMap { $0.offset % 2 == 1 ? String($0.element) : nil }
    }

    // MARK: Verbs and options

    /// A `tally` command as an article names it.
    private struct Named: Hashable {
        var verb: String
        var options: Set<String>
        var article: String
    }

    private static let named: Set<Named> = {
        var found: Set<Named> = []
        for (article, text) in articles {
            for line in code(in: text) {
                let words = line.split(whereSeparator: { " `'\"();,".contains($0) }).map(
                    String.init)
                for (index, word) in words.enumerated()
                where word == "tally" || word.hasSuffix("/tally") {
                    let rest = words[(index + 1)...].prefix { $0 != "tally" }
                    let verbs = rest.prefix(2).prefix {
                        $0.allSatisfy { $0.isASCII && $0.isLowercase }
                    }
                    guard let verb = verbs.first, verb != "help" else { continue }
                    let groups = ["recover", "venue"]
                    found.insert(
                        Named(
                            verb: groups.contains(verb) ? verbs.joined(separator: " ") : verb,
                            options: Set(
                                rest.filter { $0.hasPrefix("-") && $0.count > 1 }
                                    .filter {
                                        !$0.dropFirst().allSatisfy { "0123456789smhd".contains($0) }
                                    }),
                            article: article))
                }
            }
        }
        return found
    }()

    @Test("every verb and every option of a command in the articles is in that verb's help")
    func verbs() throws {
        let scratch = try Scratch()
        #expect(Self.articles.count >= 11)
        let verbs = Set(Self.named.map(\.verb))
        #expect(verbs.count >= 15, "\(verbs.sorted())")
        for verb in verbs.sorted() {
            let help = try scratch.help(verb)
            let name = Self.named.first { $0.verb == verb }?.article ?? ""
            #expect(help.contains("USAGE: tally \(verb) "), "\(name) says tally \(verb)")
            for named in Self.named where named.verb == verb {
                for option in named.options {
                    #expect(
                        help.contains(option + " ") || help.contains(option + ",")
                            || help.contains(option + "]"),
                        "\(named.article) says tally \(verb) \(option)")
                }
            }
        }
    }

    @Test("an option that an article names alone is an option of some verb")
    func options() throws {
        let scratch = try Scratch()
        let verbs = Set(Self.named.map(\.verb)).sorted()
        let helps = try verbs.map { try scratch.help($0) }.joined()
        var count = 0
        for (article, text) in Self.articles {
            for piece in Self.code(in: text) where piece.hasPrefix("--") {
                let option = piece.prefix { $0 == "-" || $0.isLetter }
                count += 1
                #expect(
                    helps.contains(option + " ") || helps.contains(option + "]"),
                    "\(article) says \(option)")
            }
        }
        #expect(count >= 5)
    }

    // MARK: Codes

    @Test("the exit codes of the articles are those of the help")
    func exitCodes() throws {
        let scratch = try Scratch()
        let help = try scratch.clean("--help").output
            .split(whereSeparator: \.isWhitespace).joined(separator: " ")
        let rows = try Self.rows(below: "## The command", of: Self.article("Operating.md"))
        #expect(rows.map { $0[0] } == ["0", "1", "2", "3", "4"])
        for row in rows {
            let word = row[1].prefix { $0.isLetter }
            #expect(help.contains("\(row[0]) \(word)"), "\(row)")
        }
    }

    @Test("every error code of the articles exists, and none is missing")
    func errorCodes() throws {
        let article = try Self.article("Operating.md")
        let errors = try Self.names(inParagraphWith: "``TallyStore/StoreError/Code``", of: article)
        for name in errors { #expect(StoreError.Code(rawValue: name) != nil, "\(name)") }
        // The enumeration's own list, as it is written.
        let written = Self.source("TallyStore/StoreError.swift").split(separator: "\n")
            .map { $0.trimmingCharacters(in: .whitespaces) }
            .filter { $0.hasPrefix("case ") }.map { String($0.dropFirst(5)) }
        #expect(errors == written)
        let refusals = try Self.names(inParagraphWith: "``TallyCore/Refusal/Code``", of: article)
        #expect(
            refusals == (0...1000).compactMap { Refusal.Code(rawValue: $0) }.map { "\($0)" })
    }

    /// The codes that the audit's sources give to findings.
    private static func writtenCodes() throws -> Set<String> {
        var codes: Set<String> = ["unsent", "conflicting", "repeated", "overruled", "unfounded"]
        let patterns = [
            "VerifyFinding\\(\\s*\\.\\w+, (?:isFirst \\? )?\"([a-z-]+)\"( : \"([a-z-]+)\")?",
            "broken\\(\\s*\"([a-z-]+)\"()()", "case \\.\\w+: \"([a-z-]+)\"()()",
            "case (?:otherOutcome|noExpiry) = \"([a-z-]+)\"()()",
        ]
        for file in [
            "Verify.swift", "Verify+Halves.swift", "LogScan.swift", "VerifyReport.swift",
            "ChannelSummary.swift",
        ] {
            let text = source("TallyAudit/" + file)
            for pattern in patterns {
                let expression = try NSRegularExpression(pattern: pattern)
                let whole = NSRange(text.startIndex..., in: text)
                for match in expression.matches(in: text, range: whole) {
                    for group in 1..<match.numberOfRanges {
                        guard let range = Range(match.range(at: group), in: text) else { continue }
                        codes.insert(String(text[range]))
                    }
                }
            }
        }
        return codes.filter { !$0.isEmpty && !$0.contains(":") }
    }

    @Test("every finding code of the articles exists, and none is missing")
    func findingCodes() throws {
        let article = try Self.article("Operating.md")
        let table = try Self.rows(below: "### Findings of `tally verify`", of: article)
            .map { Self.plain($0[0]) }
        let anomalies = try Self.names(
            inParagraphWith: "An anomaly of the fold is a finding, too:", of: article)
        #expect(table.count == Set(table).count)
        #expect(anomalies.count == Anomaly.Code.allCases.count)
        #expect(Set(table + anomalies) == (try Self.writtenCodes()))
    }

    // MARK: Bytes

    @Test("the numbers of kinds, outcomes and reasons are those of the code")
    func numbers() throws {
        let text = try Self.article("LogFormat.md")
        let rows = try Self.rows(below: "## The event", of: text)
        let numbered = rows.filter { $0.count == 4 && UInt8($0[0]) != nil }
        #expect(numbered.count == EventKind.allCases.count + 1)
        for row in numbered {
            let number = try #require(UInt8(row[0]))
            #expect(Self.plain(row[1]) == EventKind(rawValue: number)?.name ?? "-")
            let outcome = Outcome(rawValue: number).map { $0 == .none ? "none" : $0.name }
            #expect(Self.plain(row[2]) == outcome ?? "-")
            let reason = Reason(rawValue: number).map { $0 == .none ? "none" : $0.name }
            #expect(Self.plain(row[3]) == reason ?? "-")
        }
    }

    @Test("the article's byte tables are those at the head of the code")
    func byteTables() throws {
        let article = Self.code(in: try Self.article("LogFormat.md"))
        func words(_ line: Substring) -> [String] {
            line.split(whereSeparator: { " ,;:/".contains($0) }).map(String.init)
        }
        let rows = Set(article.map { words($0[...]).prefix(3).joined(separator: " ") })
        let lengths = Set(article.map { words($0[...]).prefix(2).joined(separator: " ") })
        var count = 0
        for line in Self.source("TallyCore/CommitFormat.swift").split(separator: "\n")
        where line.hasPrefix("///") {
            let parts = words(line)
            guard parts.count >= 2 else { continue }
            if parts.count >= 3, UInt(parts[0]) != nil, UInt(parts[1]) != nil {
                count += 1
                #expect(rows.contains(parts[0..<3].joined(separator: " ")), "\(line)")
            } else if EventKind(name: parts[0]) != nil, UInt(parts[1]) != nil {
                count += 1
                #expect(lengths.contains(parts[0..<2].joined(separator: " ")), "\(line)")
            }
        }
        #expect(count == 11 + 11 + EventKind.allCases.count)
    }

    @Test("the keys of the interchange form stand in the article's order, and all of them are used")
    func interchangeKeys() throws {
        let text = try Self.article("LogFormat.md")
        let keys = try Self.rows(below: "## The interchange form", of: text)
            .map { Self.plain($0[0]) }
        let lines = Scratch.text(Tally.repository + "/fixtures/interchange/all-kinds.jsonl")
            .split(separator: "\n").dropFirst()
        #expect(!lines.isEmpty)
        var used: Set<String> = []
        for line in lines {
            let found = try OrderedJSON(String(line)).keys
            used.formUnion(found)
            let places = found.compactMap { keys.firstIndex(of: $0) }
            #expect(places.count == found.count && places == places.sorted(), "\(found)")
        }
        #expect(used == Set(keys))
    }
}

extension Scratch {
    /// The help of a verb, like `recover plan`.
    fileprivate func help(_ verb: String) throws -> String {
        let outcome = try tally(["help"] + verb.split(separator: " ").map(String.init))
        #expect(outcome.status == 0, "tally help \(verb): \(outcome.error)")
        return outcome.output
    }
}
