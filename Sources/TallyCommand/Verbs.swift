package import ArgumentParser
package import TallyCore

/// Every verb, generic over the program.
package enum Verbs<P: Program> {
    package static var abstract: String {
        "The ledger for messages that cross shards: audit, replay, recovery."
    }

    /// - Parameters:
    ///   - tool: The command's name.
    ///   - first: What somebody new here might do first.
    package static func discussion(_ tool: String, first: String? = nil) -> String {
        let usual = """
              \(tool) info DIR        what a ledger holds, and who writes it
              \(tool) orphans DIR     what is pending, why, and the evidence
              \(tool) help orphans    any verb in full
            """
        return """
            \(first ?? usual)

            A message is named origin/destination/sequence, like trades-0/collateral-1/42. \
            An event is shard@offset, like trades-0@17. A position (--at) is a list of events, a time \
            (2026-11-23T12:00:00Z), or a span before the ledger's latest time (-90s, -15m, -1h, -2d).

            Reading verbs never change a ledger and never disturb one that runs. Exit codes: 0 clean, \
            1 findings, 2 usage, 3 cannot read, 4 partial: something was not checked.
            """
    }

    package static var groups: [CommandGroup] {
        [
            CommandGroup(
                name: "Read",
                subcommands: [
                    Info<P>.self, Log<P>.self, Show<P>.self, TraceVerb<P>.self, StateVerb<P>.self,
                    Pending<P>.self, Export<P>.self,
                ]),
            CommandGroup(
                name: "Check",
                subcommands: [ReplayVerb<P>.self, Orphans<P>.self, VerifyVerb<P>.self]),
            CommandGroup(
                name: "Make and mend",
                subcommands: [
                    Init<P>.self, CopyVerb<P>.self, ImportVerb<P>.self, Recover<P>.self,
                    SnapshotVerb<P>.self,
                ]),
            CommandGroup(name: "Set up", subcommands: [Completions.self, Manual.self]),
        ]
    }
}
