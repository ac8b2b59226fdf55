package import ArgumentParser
internal import Foundation
public import TallyCore
package import TallyStore

#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#else
    internal import Darwin
#endif

/// An application's own forensic tool: every verb, with the application's program.
///
///     @main struct MyTool: TallyTool { typealias Program = MyProgram }
public protocol TallyTool {
    /// The program whose ledgers the tool reads.
    associatedtype Program: TallyCore.Program
    /// The command's name, for help texts, the manual page and completions.
    static var toolName: String { get }
}

extension TallyTool {
    /// The name of the executable.
    public static var toolName: String {
        CommandLine.arguments.first?.split(separator: "/").last.map(String.init) ?? "tally"
    }

    /// Parses the process's arguments, runs the verb, and ends the process with its exit code.
    public static func main() async {
        await run(Array(CommandLine.arguments.dropFirst()))
    }

    /// Runs the verbs on arguments, prints, and ends the process with the verb's exit code: for a tool
    /// whose own `main` does something else first.
    public static func run(_ arguments: [String]) async -> Never {
        await TallyCommand.run(ToolRoot<Self>.self, arguments: arguments)
    }
}

/// The verbs as a command, for a tool that has no others.
struct ToolRoot<Tool: TallyTool>: ParsableCommand {
    static var configuration: CommandConfiguration {
        CommandConfiguration(
            commandName: Tool.toolName, abstract: Verbs<Tool.Program>.abstract,
            discussion: Verbs<Tool.Program>.discussion(Tool.toolName), subcommands: [],
            groupedSubcommands: Verbs<Tool.Program>.groups)
    }
}

/// The exit codes: 0 clean, 1 findings or differences, 2 usage, 3 cannot read, 4 partial.
package enum Exit {
    package static let findings = ExitCode(1)
    package static let usage = ExitCode(2)
    package static let unreadable = ExitCode(3)
    package static let partial = ExitCode(4)
}

/// An argument that names something that does not exist or does not parse.
package struct UsageError: Error, CustomStringConvertible {
    package var description: String
    package init(_ text: String) { description = text }
}

/// Parses and runs a command tree; errors become one line on standard error and an exit code.
package func run(_ root: any ParsableCommand.Type, arguments: [String]) async -> Never {
    // A write that cannot be done is an error with a line of its own, and no silent death.
    signal(SIGPIPE, SIG_IGN)
    signal(SIGXFSZ, SIG_IGN)
    CommandRoot.set(root)
    do {
        try checkVerb(arguments, root)
        var command = try root.parseAsRoot(arguments)
        if var asynchronous = command as? any AsyncParsableCommand {
            try await asynchronous.run()
        } else {
            try command.run()
        }
        exit(0)
    } catch let code as ExitCode {
        exit(code.rawValue)
    } catch let error as UsageError {
        fail(error.description, Exit.usage)
    } catch let error as StoreError {
        fail(error.text, exitCode(of: error))
    } catch let refusal as Refusal {
        fail(refusal.text, refusal.code == .full ? Exit.unreadable : Exit.findings)
    } catch {
        let parsing = root.exitCode(for: error)
        if parsing == .success {
            print(root.fullMessage(for: error))
            exit(0)
        }
        if parsing == .validationFailure { fail(usage(error, root), Exit.usage) }
        fail("\(error)", Exit.unreadable)
    }
}

/// Refuses a verb that there is not, and names the one that may have been meant.
private func checkVerb(_ arguments: [String], _ root: any ParsableCommand.Type) throws {
    let tool = root.configuration.commandName ?? "tally"
    let verbs =
        root.configuration.subcommands.compactMap { $0.configuration.commandName } + ["help"]
    guard let verb = arguments.first, !verb.hasPrefix("-"), !verbs.contains(verb) else { return }
    let near = verbs.map { (verb: $0, distance: distance(verb, $0)) }
        .filter { $0.distance <= 2 || $0.verb.hasPrefix(verb) }
        .min { $0.distance < $1.distance }
    let meant =
        near.map { "; did you mean \(tool) \($0.verb)?" } ?? "; to see the verbs: \(tool) help"
    throw UsageError("there is no verb \(verb)\(meant)")
}

/// How many letters have to be added, left out or exchanged to make one word of the other
/// (Levenshtein, 1966).
private func distance(_ left: String, _ right: String) -> Int {
    let right = Array(right)
    var row = Array(0...right.count)
    for (index, letter) in left.enumerated() {
        var diagonal = row[0]
        row[0] = index + 1
        for column in right.indices {
            let exchanged = diagonal + (letter == right[column] ? 0 : 1)
            diagonal = row[column + 1]
            row[column + 1] = min(exchanged, row[column] + 1, row[column + 1] + 1)
        }
    }
    return row[right.count]
}

/// What is wrong with the arguments, and where to read on, in one line.
private func usage(_ error: any Error, _ root: any ParsableCommand.Type) -> String {
    let text = root.message(for: error).split(separator: "\n").joined(separator: " ")
    // The whole message ends with "See 'tally show --help' for more information."
    let parts = root.fullMessage(for: error).split(separator: "'")
    let help = parts.last { $0.hasSuffix(" --help") } ?? "tally --help"
    return (text.hasSuffix(".") ? String(text.dropLast()) : text) + "; see: \(help)"
}

private func fail(_ text: String, _ code: ExitCode) -> Never {
    let prefix = Console.isErrorTerminal ? Console.styled("error:", .red) : "error:"
    Console.note("\(prefix) \(Console.escaped(text, max: 2000))")
    exit(code.rawValue)
}

package func exitCode(of error: StoreError) -> ExitCode {
    switch error.code {
    case .exists, .unknown, .sealed, .moved: Exit.usage
    case .notALedger, .newerFormat, .manifest, .missingShard, .emptyData, .damaged, .behindMark,
        .held, .full, .malformed, .system, .unknownOutcome:
        Exit.unreadable
    }
}
