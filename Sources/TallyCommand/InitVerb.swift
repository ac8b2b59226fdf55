import ArgumentParser
import Foundation
import TallyCore
import TallyStore

/// `tally init`
struct Init<P: Program>: ParsableCommand {
    static var configuration: CommandConfiguration {
        CommandConfiguration(
            commandName: "init", abstract: "Make a new, empty ledger.",
            discussion: """
                The directory is built beside its place and renamed: it is there wholly or not at all.

                  tally init trading.ledger --shards trades-0,trades-1,collateral-0
                """)
    }

    @Argument(help: ArgumentHelp("The directory to make.", valueName: "dir"))
    var directory: String

    @Option(help: "The shards' names, with commas between them: a-z, 0-9 and -.")
    var shards: String

    @Option(help: "The program whose ledger it is.")
    var program = P.name

    @Option(help: "The ledger's name; the directory's name unless given.")
    var name: String?

    @Option(help: "Channels that need no order, like a/b, with commas between them.")
    var unordered: String?

    @OptionGroup var display: DisplayOptions

    func run() throws {
        let names = shards.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
        guard let directory = ShardDirectory(names) else {
            throw UsageError(
                "the shard names \(shards) cannot be used: 1 to 64 characters of a-z, 0-9 and -"
                    + " each, none twice")
        }
        var manifest = Manifest(
            name: name ?? URL(fileURLWithPath: self.directory).lastPathComponent,
            id: Files.random16(), program: program, shards: directory)
        for text in unordered?.split(separator: ",") ?? [] {
            guard let channel = directory.channel(String(text)) else {
                throw UsageError(
                    "\(text) is no channel between two of the shards; write it like a/b, from the"
                        + " origin to the destination")
            }
            manifest.unordered.insert(channel)
        }
        _ = try Ledger.create(self.directory, manifest)
        print("Made \(self.directory) with \(names.count) shards: \(names.joined(separator: ", "))")
    }
}
