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
    private static let first = """
        New here? Make a ledger, crash it, recover it; then ask it something:

          tally demo
          tally orphans demo-ledger
          tally trace demo-ledger trades-0/collateral-1/42
          tally help trace
        """

    static let configuration = CommandConfiguration(
        commandName: "tally", abstract: Verbs<Venue>.abstract,
        discussion: Verbs<Venue>.discussion("tally", first: first), version: "0.1.0",
        subcommands: [],
        groupedSubcommands: [
            CommandGroup(name: "Try it", subcommands: [Demo.self, VenueVerb.self, Simulate.self])
        ] + Verbs<Venue>.groups)
}
