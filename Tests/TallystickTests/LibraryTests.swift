import Tallystick
import Testing

@Suite("One import", .timeLimit(.minutes(5)))
struct LibraryTests {
    @Test("makes a ledger, runs it, reads its state, audits it")
    func wholeLibrary() async throws {
        try await Errand.withLedger { ledger in
            let live = try LiveLedger(ledger, program: Errand.self)
            let here = try live.shard("here")
            let performed = try await live.perform([1, 2, 3], on: here)
            let settled = try await live.outcome(of: performed.messages[0])
            #expect(settled.result == .accepted)
            #expect(settled.payload == [1, 2, 3])
            #expect(try await live.pending(of: here).isEmpty)
            #expect(try await live.read(here) { $0.application.accepted } == 1)
            await live.close()
            let audit = AuditLedger(ledger)
            #expect(try Verify.run(Errand.self, audit).isClean)
            #expect(try Replay.run(Errand.self, audit).states[1]?.application.accepted == 1)
        }
    }

    @Test("a shard that there is not is refused with the names of those there are")
    func unknownShard() async throws {
        try await Errand.withLedger { ledger in
            let live = try LiveLedger(ledger, program: Errand.self)
            let refusal = #expect(throws: Refusal.self) { _ = try live.shard("nowhere") }
            #expect(refusal?.text == "there is no shard nowhere; there are here, there")
            await live.close()
        }
    }

    @Test("a ledger of another program, or without a shard that is needed, is not opened")
    func otherLedger() async throws {
        try await Errand.withLedger { ledger in
            let lacking = #expect(throws: StoreError.self) {
                _ = try Ledger.open(ledger.directory, for: Errand.self, shards: ["here", "yonder"])
            }
            #expect(lacking?.code == .unknown)
            #expect(
                lacking?.text.hasSuffix("has no shard yonder; its shards are here, there") == true)
            let other = #expect(throws: StoreError.self) {
                _ = try Ledger.open(ledger.directory, for: Opaque.self, shards: ["here"])
            }
            #expect(other?.text.contains("is a ledger of the program errand") == true)
            let again = try Ledger.open(ledger.directory, for: Errand.self, shards: ["there"])
            #expect(again.manifest.id == ledger.manifest.id)
        }
    }

    @Test("shards that cannot be named so make no ledger")
    func badNames() {
        for names in [[], ["a", "a"], ["A b"], ["../a"]] {
            let path = "/tmp/never-made-by-a-test"
            let error = #expect(throws: StoreError.self) {
                _ = try Ledger.open(path, for: Errand.self, shards: names)
            }
            #expect(error?.code == .malformed)
            #expect(!Files.exists(path))
        }
    }
}
