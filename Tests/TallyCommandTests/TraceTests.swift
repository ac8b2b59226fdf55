import Foundation
import Testing

@Suite("tally trace")
struct TraceTests {
    private let scratch: Scratch

    init() throws {
        scratch = try Scratch()
        try scratch.clean("venue", "run", "ledger", "--trades", "200")
        // Four shards of a shop, by hand: an order charges a card by way of payments, then ships.
        try scratch.clean("import", GoldenTests.directory + "/shop.jsonl", "shop")
    }

    private func walk(_ node: OrderedJSON?, _ visit: (OrderedJSON) -> Void) {
        guard let node else { return }
        visit(node)
        for child in node["children"]?.items ?? [] { walk(child, visit) }
    }

    @Test("--json keeps its keys and adds the tree, with every field it promises")
    func json() throws {
        let name = "trades-0/collateral-0/5"
        let json = try scratch.clean("trace", "ledger", name, "--json").json
        #expect(
            json.keys == ["message", "verdict", "cause", "steps", "consequences", "tree"])
        var events: [String] = []
        walk(json["tree"]) { node in
            #expect(
                node.keys.filter { !["message", "afterNanoseconds", "open"].contains($0) }
                    == ["event", "kind", "time", "children"])
            #expect((node["afterNanoseconds"] == nil) == events.isEmpty)
            events.append(node["event"]?.text ?? "")
        }
        #expect(json["tree"]?["kind"]?.text == "commanded")
        #expect(Set(events).count == events.count)
        let named = (json["steps"]?.items ?? []).compactMap { $0["event"]?.text }
        #expect(!named.isEmpty && named.allSatisfy { events.contains($0) })
    }

    @Test("every message of the ledger has a tree that holds all its own events")
    func all() throws {
        let log = try scratch.clean("log", "ledger", "--kind", "sent", "--json").jsonLines
        let messages = log.enumerated().filter { $0.offset % 20 == 0 }.map(\.element)
        #expect(messages.count >= 10)
        for sent in messages {
            let name =
                "\(sent["shard"]?.text ?? "")/\(sent["peer"]?.text ?? "")/\(sent["sequence"]?.count ?? 0)"
            let json = try scratch.clean("trace", "ledger", name, "--json").json
            var own: [String] = []
            walk(json["tree"]) {
                if $0["message"]?.text == name { own.append($0["event"]?.text ?? "") }
            }
            let steps = (json["steps"]?.items ?? []).compactMap { $0["event"]?.text }
            #expect(own.sorted() == steps.sorted(), "\(name)")
        }
    }

    @Test("the text fits a hundred columns, is ASCII off a terminal, and marks what was asked for")
    func text() throws {
        for sequence in 1...8 {
            let text = try scratch.clean("trace", "ledger", "trades-0/collateral-0/\(sequence)")
            #expect(text.lines.allSatisfy { $0.count <= 100 })
            #expect(text.output.utf8.allSatisfy { $0 < 0x80 })
            #expect(text.lines[0].hasPrefix("trades-0/collateral-0/\(sequence)  settled"))
            let marked = text.lines.filter { $0.hasPrefix("> ") }
            for kind in ["sent", "received"] {
                #expect(marked.contains { $0.contains(" \(kind)") }, "\(kind)")
            }
        }
    }

    @Test(
        "several hops and branches read like this",
        .enabled(if: PseudoTerminal.isAvailable, "no pseudo-terminals here"))
    func shop() throws {
        // What does not fit into a hundred columns is cut.
        let cut = "print the label of order ...  [pending: undelivered]"
        let expected = """
            orders/payments/1  settled  began 2026-11-23T12:00:00.000000000Z
                       orders@1 commanded  order 17: 2 books
            >    +0 us orders@2 sent  orders/payments/1  charge 40 for order 17
            >   +12 ms payments@1 received  applied  charge 40 for order 17
                 +0 us +- payments@2 sent  payments/bank/1  deadline +2.0 s  take 40 from card 8
                +33 ms |  bank@1 received  applied  take 40 from card 8
                 +0 us |  +- bank@2 noted  limit of card 8 is now 960
                +16 ms |  `- bank@3 answered  accepted  taken
                +19 ms |     payments@3 acknowledged  accepted  taken
            >   +68 ms `- payments@4 answered  accepted  charged
            >   +15 ms    orders@3 acknowledged  accepted  charged
                 +0 us    +- orders@4 noted  order 17 is paid
                 +0 us    +- orders@5 sent  orders/stock/1  ship 2 books for order 17  [pending]
                +25 ms    |  stock@1 received  applied  ship 2 books for order 17  [owed]
                 +0 us    `- orders@6 sent  orders/stock/2  \(cut)

            """
        #expect(try scratch.clean("trace", "shop", "orders/payments/1").output == expected)
        let arguments = ["trace", scratch("shop"), "orders/payments/1", "--no-pager", "--no-color"]
        let boxes = expected.replacing("+- ", with: "\u{251C}\u{2500} ")
            .replacing("`- ", with: "\u{2514}\u{2500} ").replacing("|  ", with: "\u{2502}  ")
        for (locale, drawn) in [("C.UTF-8", boxes), ("C", expected)] {
            let terminal = try PseudoTerminal(arguments, environment: ["LANG": locale])
            #expect(terminal.wait() == 0)
            #expect(terminal.text == drawn)
        }
        // At an earlier position, less has happened and more is open.
        let before = try scratch.clean(
            "trace", "shop", "orders/payments/1", "--at", "2026-11-23T12:00:00.020Z")
        #expect(
            before.lines.dropFirst(2) == [
                ">    +0 us orders@2 sent  orders/payments/1  charge 40 for order 17  [pending]",
                ">   +12 ms payments@1 received  applied  charge 40 for order 17  [owed]",
                "     +0 us payments@2 sent  payments/bank/1  deadline +2.0 s  "
                    + "take 40 fro...  [pending: undelivered]",
            ])
    }

    @Test("what is left out by --depth is said, in text and in JSON")
    func depth() throws {
        let shallow = try scratch.clean(
            "trace", "shop", "orders/payments/1", "--depth", "0", "--json")
        let whole = try scratch.clean("trace", "shop", "orders/payments/1", "--json")
        #expect(try whole.json["leftOut"] == nil)
        let left = try #require(try shallow.json["leftOut"])
        #expect(left.keys == ["causes", "messages", "steps"])
        #expect(left["causes"]?.truth == false && left["messages"]?.count == 3)
        let text = try scratch.clean(
            "trace", "shop", "orders/payments/1", "--depth", "0")
        #expect(text.output.contains("left out: ") && text.output.contains("--depth 8"))
        #expect(
            try scratch.tally("trace", "shop", "orders/payments/1", "--depth", "-1").status
                == 2)
    }

    @Test("what is open is marked")
    func open() throws {
        try scratch.clean("import", GoldenTests.small, "small")
        let owed = try scratch.clean("trace", "small", "a/b/4").lines
        #expect(owed.contains { $0.contains("sent") && $0.hasSuffix("[pending]") })
        #expect(owed.contains { $0.contains("received") && $0.hasSuffix("[owed]") })
        let lost = try scratch.clean("trace", "small", "a/b/5").lines
        #expect(lost.contains { $0.hasSuffix("[pending, overdue: undelivered]") })
        let json = try scratch.clean("trace", "small", "a/b/4", "--json").json
        #expect(json["tree"]?["open"]?.text == "pending")
        #expect(json["tree"]?["children"]?.items.first?["open"]?.text == "owed")
    }
}
