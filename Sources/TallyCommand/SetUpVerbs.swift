import ArgumentParser
import Synchronization

/// The command whose process this is; what is said about it as a whole begins there.
enum CommandRoot {
    private static let root = Mutex<(any ParsableCommand.Type)?>(nil)

    static func set(_ type: any ParsableCommand.Type) { root.withLock { $0 = type } }

    static var type: any ParsableCommand.Type {
        guard let type = root.withLock({ $0 }) else {
            preconditionFailure("a verb is run by a tool's main, which has set the root")
        }
        return type
    }
}

/// `tally completions`
struct Completions: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "completions",
        abstract: "Print the completion script for a shell: bash, zsh or fish.",
        discussion: """
              tally completions bash > ~/.local/share/bash-completion/completions/tally
              tally completions zsh > ~/.zfunc/_tally            (a directory in $fpath)
              tally completions fish > ~/.config/fish/completions/tally.fish
            """)

    @Argument(help: "bash, zsh or fish.", completion: .list(["bash", "zsh", "fish"]))
    var shell: String
    @OptionGroup var display: DisplayOptions

    func run() throws {
        guard let shell = CompletionShell(rawValue: self.shell) else {
            throw UsageError("there are completions for bash, zsh and fish, not for \(self.shell)")
        }
        var output = Output()
        output.line(CommandRoot.type.completionScript(for: shell))
    }
}

/// `tally manual`
struct Manual: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "manual", abstract: "Print the manual page, for man.",
        discussion: """
              tally manual | man -l -
              tally manual > /usr/local/share/man/man1/tally.1
            """)

    @OptionGroup var display: DisplayOptions

    func run() throws {
        var output = Output()
        for line in ManualPage(CommandRoot.type).lines { output.line(line) }
    }
}
