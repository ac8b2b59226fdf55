import Foundation
import TallyCore
import TallyRuntime
import TallyStore
import Testing

@Suite("One writer per shard", .timeLimit(.minutes(10)))
struct WriterTests {
    private var ownName: String { "process \(ProcessInfo.processInfo.processIdentifier)" }

    @Test("a second opening in this process is refused with this process's name, and harms nothing")
    func sameProcess() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path)
            try await Lab.running(ledger) { live in
                try await live.exchange()
                for shards in [nil, [Lab.b]] as [[ShardID]?] {
                    let error = await Lab.storeError {
                        _ = try LiveLedger(
                            ledger, program: Relay.self, shards: shards, options: Lab.options)
                    }
                    #expect(error?.code == .held)
                    #expect(error?.text.contains(ownName) == true)
                }
                #expect(try await live.exchange().result == .accepted)
                #expect(ledger.writer(of: Lab.a) == ownName)
            }
            try Lab.expectClean(ledger)
        }
    }

    @Test("a log that breaks a law is not served; what, where and what next is said")
    func lawless() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path)
            try await Lab.running(ledger) { live in try await live.exchange() }
            do {
                let shard = try ledger.openForWriting(Lab.b, durability: .process)
                var event = Event(.answered)
                event.peer = Lab.a
                event.sequence = SequenceNumber(77)
                event.outcome = .accepted
                var commit = CommitBuilder()
                commit.open(
                    firstOffset: Offset(shard.end.offset.rawValue + 1),
                    timestamp: Timestamp(shard.end.timestamp.rawValue + 1), epoch: Epoch(1))
                commit.append(event, payload: [])
                commit.seal(previousHead: shard.end.head)
                let end = try shard.log.append(commit, expecting: shard.end.head)
                try shard.log.close()
                #expect(end.offset > shard.end.offset)
            }
            let offset = try ledger.openForReading(Lab.b).end().offset.rawValue
            let error = await Lab.storeError { _ = try Lab.live(ledger) }
            #expect(error?.code == .damaged)
            let text = error?.text ?? ""
            #expect(text.hasPrefix("the log of b breaks a law of the protocol at b@\(offset): it "))
            #expect(text.hasSuffix("; it is not served; run: tally verify DIR"), "\(text)")
            #expect(ledger.writer(of: Lab.a) == nil && ledger.writer(of: Lab.b) == nil)
        }
    }

    @Test("closing lets go of the shards while the closed ledger is still at hand")
    func released() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path)
            let first = try Lab.live(ledger)
            try await first.exchange()
            await first.close()
            #expect(ledger.writer(of: Lab.a) == nil && ledger.writer(of: Lab.b) == nil)
            let second = try Lab.live(ledger)
            #expect(try await second.exchange().message.sequence == SequenceNumber(2))
            await second.close()
            let refusal = await Lab.refusal { try await first.perform(.note([]), on: Lab.a) }
            #expect(refusal?.code == .closing)
        }
    }

    #if os(Linux)
        /// Holds a shard's writer lock in a process of its own (perl is on every Debian) while the closure runs.
        private func held(
            _ ledger: Ledger, _ shard: ShardID, _ body: () async throws -> Void
        ) async throws {
            let script = """
                use Fcntl;
                sysopen(my $file, $ARGV[0], O_RDWR | O_CREAT) or die;
                syswrite($file, "process 4711\\n");
                my $lock = pack("s s x4 q q l x4", F_WRLCK, 0, 0, 0, 0);
                fcntl($file, 37, $lock) or die;
                $| = 1;
                print "held\\n";
                <STDIN>;
                """
            let process = Process()
            process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
            process.arguments = ["perl", "-e", script, ledger.writerPath(of: shard)]
            let (input, output) = (Pipe(), Pipe())
            process.standardInput = input
            process.standardOutput = output
            try process.run()
            let said = output.fileHandleForReading.availableData
            #expect(String(decoding: said, as: UTF8.self).hasPrefix("held"))
            defer {
                try? input.fileHandleForWriting.close()
                process.waitUntilExit()
            }
            try await body()
        }

        @Test("a shard that another process writes is refused with its words, and none stays open")
        func otherProcess() async throws {
            try await Lab.withScratch { path in
                let ledger = try Lab.ledger(path)
                try await held(ledger, Lab.b) {
                    let error = await Lab.storeError { _ = try Lab.live(ledger) }
                    #expect(error?.code == .held)
                    #expect(error?.text.contains("process 4711") == true)
                    #expect(error?.text.contains("shard b") == true)
                    #expect(ledger.writer(of: Lab.a) == nil)
                    let alone = try LiveLedger(
                        ledger, program: Relay.self, shards: [Lab.a], options: Lab.options)
                    #expect(try await alone.perform(.note([3]), on: Lab.a).result == [3])
                    await alone.close()
                }
                #expect(try Lab.records(ledger, Lab.b).isEmpty)
                try await Lab.running(ledger) { live in
                    let settled = try await live.exchange()
                    #expect(settled.result == .accepted)
                }
                try Lab.expectClean(ledger)
            }
        }
    #endif
}
