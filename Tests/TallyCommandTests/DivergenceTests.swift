import TallyCore
import TallyStore
import Testing

@Suite("A log that holds another decision")
struct DivergenceTests {
    /// Copies a ledger event by event, with right checksums and heads, but turns the first answer of
    /// `collateral-0` into its opposite.
    ///
    /// - Returns: The changed event's address.
    private func forge(_ source: Ledger, _ path: String) throws -> String {
        let copy = try Ledger.create(path, source.manifest)
        var address = ""
        for shard in source.shards.all {
            let isForged = source.shards.name(of: shard) == "collateral-0"
            let log = try source.openForReading(shard)
            let target = try copy.openForWriting(shard, durability: .process)
            var end = target.end
            try log.forEachCommit(from: Offset(1)) { commit in
                var events: [(event: Event, payload: [UInt8], result: [UInt8])] = []
                commit.forEach { view in
                    var event = view.event
                    if isForged, address.isEmpty, event.kind == .answered {
                        event.outcome = event.outcome == .accepted ? .rejected : .accepted
                        address = source.shards.address(shard, view.offset)
                    }
                    events.append((event, view.payload, view.result))
                }
                var builder = CommitBuilder()
                builder.open(
                    firstOffset: commit.firstOffset, timestamp: commit.timestamp,
                    epoch: commit.epoch)
                for (event, payload, result) in events {
                    builder.append(event, payload: payload, result: result)
                }
                builder.seal(previousHead: end.head)
                end = try target.log.append(builder, expecting: end.head)
                return true
            }
            try target.log.close()
        }
        return address
    }

    @Test(
        "replay --check names the first event that the program decides otherwise, and ends with 1")
    func check() throws {
        let scratch = try Scratch()
        try scratch.clean("venue", "run", "ledger", "--trades", "20")
        try scratch.clean("replay", "ledger", "--check")
        let address = try forge(try Ledger(scratch("ledger")), scratch("forged"))
        let checked = try scratch.tally("replay", "forged", "--check")
        #expect(checked.status == 1, "\(checked)")
        let line = checked.lines.first ?? ""
        #expect(line.hasPrefix("\(address) differs in outcome: recorded "), "\(checked.output)")
        #expect(line.contains(", decided now "))
        let json = try scratch.tally("replay", "forged", "--check", "--json")
        #expect(json.status == 1)
        let found = try json.jsonLines.compactMap { $0["divergence"] }
        #expect(found.map { $0["event"]?.text } == [address])
        #expect(found.first?.keys == ["event", "field", "recorded", "decided"])
        #expect(try scratch.tally("verify", "forged").status == 1)
    }
}
