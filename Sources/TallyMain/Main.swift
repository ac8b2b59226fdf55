import ArgumentParser
import TallyCommand
import TallyVenue

@main
struct Main {
    static func main() async {
        await run(Tally.self, arguments: Array(CommandLine.arguments.dropFirst()))
    }
}

/// The stock command: every verb with the venue's program, and the venue itself.
struct Tally: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tally", abstract: Verbs<Venue>.abstract,
        discussion: Verbs<Venue>.discussion, version: "0.1.0",
        subcommands: [],
        groupedSubcommands: [
            CommandGroup(name: "Try it", subcommands: [Demo.self, VenueVerb.self])
        ] + Verbs<Venue>.groups)
}
