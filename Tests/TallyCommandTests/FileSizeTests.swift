import Testing

@Suite("A limit on file sizes")
struct FileSizeTests {
    @Test("ends a run with a line of its own, not with a signal, and the ledger is whole")
    func limited() throws {
        let scratch = try Scratch()
        // 64 KiB: a ledger fits, its use does not.
        let running = try Tally.Running(
            ["venue", "run", "ledger", "--trades", "2000"], in: scratch.path,
            as: ["/bin/sh", "-c", "ulimit -f 128; exec \"$0\" \"$@\""])
        let outcome = running.wait()
        #expect(outcome.status == 3)
        #expect(outcome.errorLines.contains { $0.hasPrefix("error: a commit to shard ") })
        try scratch.clean("verify", "ledger")
    }
}
