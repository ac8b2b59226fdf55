import TallyAudit
import TallyCore
import TallyRuntime
import TallyStore
import Testing

@Suite("Commands and what comes of them", .timeLimit(.minutes(10)))
struct PerformTests {
    @Test("a result is returned once it is durable: the log at rest holds every one of them")
    func results() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path)
            var options = Lab.options
            options.durability = .power
            var returned: [Performed] = []
            try await Lab.running(ledger, InProcessTransport(), options) { live in
                for number in 0..<20 {
                    returned.append(try await live.perform(.note([UInt8(number), 9]), on: Lab.a))
                }
            }
            let log = try ledger.openForReading(Lab.a)
            for (number, performed) in returned.enumerated() {
                let record = try #require(try log.record(at: performed.offset))
                #expect(record.event.kind == .commanded)
                #expect(record.payload == Order.note([UInt8(number), 9]).bytes)
                #expect(record.result == [UInt8(number), 9] && performed.result == record.result)
                #expect(try log.record(at: performed.through)?.event.kind == .noted)
            }
            try Lab.expectClean(ledger)
        }
    }

    @Test("a ledger whose program is not at hand takes no command, and says so")
    func opaque() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path, program: "")
            let live = try LiveLedger(ledger, program: Opaque.self, options: Lab.options)
            let refusal = await Lab.refusal { _ = try await live.perform([1], on: Lab.a) }
            #expect(
                refusal?.text == "the program of this ledger is not part of this tool; use its own")
            await live.close()
            #expect(try Lab.records(ledger, Lab.a).allSatisfy { $0.event.kind != .commanded })
        }
    }

    @Test("a returned result is in the file at that moment: a copy made under the writer holds it")
    func durableBeforeReturn() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path)
            try await Lab.running(ledger, InProcessTransport(), Lab.patient) { live in
                // Sessions first, so that nothing is written while the copy is made.
                try await live.exchange()
                try await live.exchange(from: Lab.b, to: Lab.a)
                for number in 0..<5 {
                    let performed = try await live.perform(.note([UInt8(number)]), on: Lab.a)
                    try Lab.copy(ledger.directory, to: path + "/copy")
                    let audit = try AuditLedger(path + "/copy")
                    let log = try #require(audit[Lab.a].log)
                    #expect(try log.record(at: performed.offset)?.result == [UInt8(number)])
                    #expect(try log.end().offset >= performed.through)
                    let mark = try #require(Mark.read(ledger.markPath(of: Lab.a)))
                    #expect(mark.position.offset >= performed.through && !mark.isClean)
                }
            }
        }
    }

    @Test("the same name again gives the recorded result and appends nothing, later on too")
    func again() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path)
            let name = CommandName(client: Lab.client, sequence: SequenceNumber(1))
            let order = Order.send(to: Lab.b, .accept("once"))
            let transport = InProcessTransport()
            let live = try Lab.live(ledger, transport)
            let first = try await live.perform(order, on: Lab.a, as: name)
            _ = try await live.outcome(of: try #require(first.messages.first))
            let end = try await live.read(Lab.a) { $0.durable.offset }
            #expect(try await live.perform(order, on: Lab.a, as: name) == first)
            #expect(try await live.read(Lab.a) { $0.durable.offset } == end)
            await live.close()
            try await Lab.running(ledger) { live in
                let known = try await live.perform(order, on: Lab.a, as: name)
                #expect(known == first)
                let other = await Lab.refusal {
                    try await live.perform(.note([1]), on: Lab.a, as: name)
                }
                #expect(other?.code == .conflicting)
                #expect(other?.text.contains("a@\(first.offset.rawValue)") == true)
            }
            #expect(try Lab.records(ledger, Lab.a, .commanded).count == 1)
            #expect(try Lab.records(ledger, Lab.a, .sent).count == 1)
        }
    }

    @Test("a name asked twice at once is performed once, and both get the result")
    func twiceAtOnce() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path)
            try await Lab.running(ledger) { live in
                for sequence in 1...20 as ClosedRange<UInt64> {
                    let name = CommandName(client: Lab.client, sequence: SequenceNumber(sequence))
                    async let left = live.perform(.note([1]), on: Lab.a, as: name)
                    async let right = live.perform(.note([1]), on: Lab.a, as: name)
                    let (first, second) = try await (left, right)
                    #expect(first.offset == second.offset && first.result == second.result)
                }
            }
            #expect(try Lab.records(ledger, Lab.a, .commanded).count == 20)
        }
    }

    @Test("a command that the program refuses leaves no trace")
    func refused() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path)
            try await Lab.running(ledger) { live in
                let refusal = await Lab.refusal { try await live.perform(.refuse, on: Lab.a) }
                #expect(refusal == Refusal("refused as ordered"))
                let unknown = await Lab.refusal {
                    try await live.perform(.note([]), on: ShardID(9))
                }
                #expect(unknown?.code == .unknownShard)
                let nowhere = await Lab.refusal {
                    try await live.perform(.send(to: ShardID(9), .accept()), on: Lab.a)
                }
                #expect(nowhere?.code == .unknownShard)
            }
            #expect(try Lab.records(ledger, Lab.a, .commanded).isEmpty)
        }
    }

    @Test("state is read at the writer's durable position, behind every earlier command")
    func reading() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path)
            try await Lab.running(ledger) { live in
                for number in 1...30 as ClosedRange<UInt64> {
                    let performed = try await live.perform(.note([1]), on: Lab.a)
                    let (notes, folded, durable) = try await live.read(Lab.a) {
                        ($0.application.notes, $0.messaging.offset, $0.durable.offset)
                    }
                    #expect(notes == number)
                    #expect(folded == durable && durable >= performed.through)
                }
            }
        }
    }

    @Test("a ledger of another program is not run")
    func otherProgram() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path, program: "venue")
            let error = await Lab.storeError { _ = try Lab.live(ledger) }
            #expect(error?.text.contains("venue") == true)
            #expect(Files.list(ledger.path(of: Lab.a)).contains("writer") == false)
        }
    }
}
