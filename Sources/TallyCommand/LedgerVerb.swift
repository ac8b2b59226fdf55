internal import ArgumentParser
import TallyCore
import TallyStore

/// A verb on one ledger: runs with the tool's program when the ledger was made by it, else with the
/// messaging state alone and payloads as bytes.
protocol LedgerVerb: ParsableCommand {
    associatedtype P: Program
    var ledger: LedgerArgument { get }
    func run<Q: Program>(_ ledger: Ledger, as program: Q.Type) throws
}

extension LedgerVerb {
    mutating func run() throws {
        let opened = try Ledger(ledger.directory)
        if let paged = self as? any PagedVerb, paged.isPaged { Pager.start() }
        if opened.manifest.program == P.name, !P.name.isEmpty {
            try run(opened, as: P.self)
        } else {
            try run(opened, as: Opaque.self)
        }
    }
}

/// The ledger that a verb is about.
struct LedgerArgument: ParsableArguments {
    @Argument(help: ArgumentHelp("The ledger's directory.", valueName: "dir"))
    var directory: String
}

/// An operator's reason.
struct ReasonOption: ParsableArguments {
    @Option(name: .customLong("reason"), help: "Why; recorded in the log.")
    var text: String

    func validate() throws {
        guard text.contains(where: { !$0.isWhitespace }) else {
            throw ValidationError("--reason is empty; it says why to whoever reads the log.")
        }
    }
}

package struct JSONFlag: ParsableArguments {
    package init() {}
    @Flag(name: .customLong("json"), help: "Print JSON instead of text.")
    package var isOn = false
    @OptionGroup var display: DisplayOptions
}

/// How results are shown, the same for every verb: a verb has it by its ``JSONFlag``, or by itself.
package struct DisplayOptions: ParsableArguments {
    package init() {}
    @Flag(help: "No colour, whatever the terminal and the environment say.")
    package var noColor = false
    @Flag(help: "No pager, however long the output.")
    package var noPager = false

    package func validate() { if noColor { Console.refuseColor() } }
}

extension Ledger {
    /// A shard by its name, or a usage error that lists the names there are.
    func shard(named name: String) throws -> ShardID {
        guard let shard = shards.id(of: name) else {
            throw UsageError(
                "\(name) is no shard of \(directory); its shards are "
                    + shards.names.prefix(20).joined(separator: ", "))
        }
        return shard
    }

    /// A message by its name `origin/destination/sequence`.
    func message(named text: String) throws -> MessageName {
        guard let message = shards.message(text) else {
            let example =
                shards.count > 1 ? "\(shards.names[0])/\(shards.names[1])/1" : "a/b/1"
            throw UsageError(
                "\(text) is no message of \(directory); a message is named like \(example), with"
                    + " shards of " + shards.names.prefix(20).joined(separator: ", "))
        }
        return message
    }
}
