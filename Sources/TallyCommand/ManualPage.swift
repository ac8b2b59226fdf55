import ArgumentParser

/// A command's manual page in the macros of man(7), made from the help texts: they are written once.
struct ManualPage {
    private(set) var lines: [String] = []

    init(_ root: any ParsableCommand.Type) {
        let configuration = root.configuration
        let name = configuration.commandName ?? "tally"
        lines.append(
            ".TH \(name.uppercased()) 1 \"\" \"\(name) \(configuration.version)\" \"User Commands\""
        )
        section("NAME")
        text("\(name) - \(configuration.abstract)")
        section("SYNOPSIS")
        text("\(name) VERB [ARGUMENT ...]")
        section("DESCRIPTION")
        for line in configuration.discussion.split(
            separator: "\n", omittingEmptySubsequences: false)
        {
            if line.isEmpty {
                lines.append(".PP")
            } else if line.hasPrefix("  ") {
                verbatim(String(line))
            } else {
                text(String(line))
            }
        }
        section("VERBS")
        for verb in configuration.subcommands { describe(verb, of: root, words: [name]) }
        section("EXIT STATUS")
        for (code, meaning) in Self.exitCodes { item(code, meaning) }
        section("ENVIRONMENT")
        for (variable, meaning) in Self.environment { item(variable, meaning) }
        section("FILES")
        for (file, meaning) in Self.files { item(file, meaning) }
    }

    static let exitCodes = [
        ("0", "Clean: what was asked for was done, and nothing was found."),
        ("1", "Findings, differences, orphans, or a refusal by the program."),
        ("2", "Usage: the arguments make no sense, or name what does not exist."),
        ("3", "Something cannot be read or written."),
        ("4", "Partial: something was not checked, and it is named."),
    ]

    private static let environment = [
        ("NO_COLOR, TERM=dumb", "No colour."),
        ("CLICOLOR_FORCE", "Colour, on a terminal or not."),
        ("TALLY_PAGER, PAGER", "What shows output longer than the terminal; cat or nothing: none."),
    ]

    private static let files = [
        ("DIR/ledger.json", "The manifest: name, identity, program, shards."),
        ("DIR/shards/NAME/data.mdb", "A shard's log, an LMDB environment: the only truth."),
        ("DIR/shards/NAME/mark", "What was last released."),
        ("DIR/shards/NAME/writer", "Who writes; locked while somebody does."),
        ("DIR/shards/NAME/snapshots", "Folds of the log; disposable."),
    ]

    private mutating func describe(
        _ verb: any ParsableCommand.Type, of root: any ParsableCommand.Type, words: [String]
    ) {
        let words = words + [verb.configuration.commandName ?? ""]
        lines.append(".SS \"\(words.joined(separator: " "))\"")
        verbatim(root.helpMessage(for: verb, columns: 78))
        for inner in verb.configuration.subcommands { describe(inner, of: root, words: words) }
    }

    private mutating func section(_ name: String) { lines.append(".SH \(name)") }

    private mutating func text(_ text: String) { lines.append(Self.escaped(text)) }

    private mutating func verbatim(_ text: String) {
        lines.append(".nf")
        for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
            lines.append(Self.escaped(String(line)))
        }
        lines.append(".fi")
    }

    private mutating func item(_ name: String, _ meaning: String) {
        lines.append(".TP")
        lines.append(".B \(Self.escaped(name))")
        lines.append(Self.escaped(meaning))
    }

    /// Characters that mean something to roff, made plain.
    private static func escaped(_ line: String) -> String {
        let plain = line.replacing("\\", with: "\\e").replacing("-", with: "\\-")
        return plain.hasPrefix(".") || plain.hasPrefix("'") ? "\\&" + plain : plain
    }
}
