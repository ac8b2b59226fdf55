import TallyAudit
import TallyCore
import TallyRuntime
import TallyStore
import Testing

@Suite("The stream of durable events", .timeLimit(.minutes(10)))
struct DurableEventsTests {
    /// Reads through an offset.
    private static func read(_ events: DurableEvents, through last: Offset) async throws
        -> [RecordedEvent]
    {
        var read: [RecordedEvent] = []
        for try await event in events {
            read.append(event)
            if event.offset >= last { break }
        }
        return read
    }

    @Test("gives every event once and in order, from any offset, while the writer goes on")
    func gapFree() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path)
            var firsts: [UInt64: [RecordedEvent]] = [:]
            try await Lab.running(ledger) { live in
                try await live.exchange()
                // More than a page, and more than a reader can have seen before it ends.
                let count = 1500
                firsts = try await withThrowingTaskGroup(of: (UInt64, [RecordedEvent])?.self) {
                    group in
                    for first in [UInt64(1), 2, 700, 3000] {
                        let events = try live.events(of: Lab.b, from: Offset(first))
                        group.addTask {
                            (first, try await Self.read(events, through: Offset(3000)))
                        }
                    }
                    group.addTask {
                        try await withThrowingTaskGroup(of: Void.self) { senders in
                            for _ in 0..<count {
                                senders.addTask { _ = try await live.exchange(.accept("x")) }
                            }
                            try await senders.waitForAll()
                        }
                        return nil
                    }
                    return try await group.reduce(into: [:]) { all, found in
                        if let found { all[found.0] = found.1 }
                    }
                }
            }
            let records = try Lab.records(ledger, Lab.b)
            #expect(records.count >= 3000)
            for (first, events) in firsts {
                #expect(events.map(\.offset.rawValue) == Array(first...3000))
                #expect(events.map(\.record) == Array(records[Int(first - 1)..<3000]))
            }
            #expect(firsts.count == 4)
        }
    }

    @Test("never runs ahead of what is durable")
    func onlyDurable() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path)
            try await Lab.running(ledger) { live in
                let sending = Task {
                    for _ in 0..<100 { try await live.exchange() }
                }
                for try await event in try live.events(of: Lab.a) {
                    let durable = try await live.read(Lab.a) { $0.durable.offset }
                    #expect(event.offset <= durable)
                    if event.offset == Offset(200) { break }
                }
                try await sending.value
            }
        }
    }

    @Test("goes on behind the offset that a read model has kept, over a restart")
    func resumes() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path)
            var seen: [RecordedEvent] = []
            try await Lab.running(ledger) { live in
                for _ in 0..<20 { try await live.exchange() }
                seen = try await Self.read(live.events(of: Lab.a), through: Offset(17))
            }
            try await Lab.running(ledger) { live in
                try await live.exchange()
                let end = try await live.read(Lab.a) { $0.durable.offset }
                let next = Offset((seen.last?.offset.rawValue ?? 0) + 1)
                seen += try await Self.read(live.events(of: Lab.a, from: next), through: end)
            }
            let records = try Lab.records(ledger, Lab.a)
            #expect(seen.map(\.record) == Array(records.prefix(seen.count)))
            #expect(seen.count > 40)
        }
    }

    @Test("ends when the ledger closes, for who waits and for who is in the middle of a page")
    func endsAtClose() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path)
            let live = try Lab.live(ledger)
            try await live.exchange()
            let end = try await live.read(Lab.a) { $0.durable.offset }
            let waiting = Task {
                var count = 0
                for try await _ in try live.events(of: Lab.a, from: Offset(end.rawValue + 1)) {
                    count += 1
                }
                return count
            }
            var iterator = try live.events(of: Lab.a).makeAsyncIterator()
            #expect(try await iterator.next()?.offset == Offset(1))
            try await Task.sleep(nanoseconds: 20_000_000)
            await live.close()
            #expect(try await waiting.value <= 4)
            // The rest of the page is there, and then the end.
            var rest = 0
            while try await iterator.next() != nil { rest += 1 }
            #expect(rest > 0)
            #expect(try await live.events(of: Lab.a).first { _ in true } == nil)
        }
    }

    @Test("throws why the shard stopped, behind its last durable event")
    func throwsAtStop() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path)
            var options = Lab.options
            options.mapSize = 256 << 10
            options.logger = Lines().logger
            let live = try Lab.live(ledger, InProcessTransport(), options)
            await #expect(throws: StoreError.self) {
                while true {
                    try await live.perform(.note(Array(repeating: 7, count: 8000)), on: Lab.a)
                }
            }
            var count: UInt64 = 0
            let error = await Lab.storeError {
                for try await _ in try live.events(of: Lab.a) { count += 1 }
            }
            #expect(error?.code == .full)
            await live.close()
            #expect(count == UInt64(try Lab.records(ledger, Lab.a).count))
            #expect(count > 3)
        }
    }

    @Test("lets go of a reader that is cancelled, and of the ledger behind it")
    func cancelled() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path)
            try await Lab.running(ledger) { live in
                let reading = Task {
                    for try await _ in try live.events(of: Lab.a, from: Offset(1_000_000)) {}
                }
                try await Task.sleep(nanoseconds: 20_000_000)
                reading.cancel()
                await #expect(throws: CancellationError.self) { try await reading.value }
                try await live.exchange()
            }
        }
    }

    @Test("is refused for a shard that is not open here")
    func elsewhere() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path)
            try await Lab.running(ledger) { live in
                let refusal = await Lab.refusal { _ = try live.events(of: ShardID(9)) }
                #expect(refusal?.code == .unknownShard)
            }
        }
    }
}
