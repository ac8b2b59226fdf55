import TallyCore
import TallyRuntime
import TallyStore
import Testing

@Suite("Closing, and not closing", .timeLimit(.minutes(10)))
struct ClosingTests {
    @Test("close refuses who waits, marks the end as clean, and the next session says so")
    func graceful() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path)
            let transport = GateTransport { $0.isDelivery ? .drop : .deliver }
            var options = Lab.patient
            options.machine.pendingMax = 1
            let live = try Lab.live(ledger, transport, options)
            let message = try await live.send()
            let waiting = Task { try await live.send() }
            let awaiting = Task { try await live.outcome(of: message) }
            try await Lab.eventually("the second command waits") {
                // Taken in order: behind this one the two above have been looked at, or will be.
                try await live.perform(.note([1]), on: Lab.a).offset.rawValue > 20
            }
            await live.close()
            #expect(await Lab.refusal { _ = try await waiting.value }?.code == .closing)
            #expect(await Lab.refusal { _ = try await awaiting.value }?.code == .closing)
            #expect(await Lab.refusal { _ = try await live.read(Lab.a) { _ in } }?.code == .closing)
            #expect(transport.isClosed)
            for shard in ledger.shards.all {
                let mark = try #require(Mark.read(ledger.markPath(of: shard)))
                #expect(try mark.isClean && mark.position == ledger.openForReading(shard).end())
            }
            #expect(try Lab.records(ledger, Lab.a, .sent).count == 1)
            try await Lab.running(ledger) { live in
                let settled = try await live.outcome(of: message)
                #expect(settled.result == .accepted)
            }
            for shard in ledger.shards.all {
                let opened = try Lab.records(ledger, shard, .opened)
                #expect(opened.map(\.event.clean) == [false, true])
            }
        }
    }

    @Test("every command under way at close has a result that is in the log, or a refusal")
    func underWay() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path, ["a", "b", "c", "d"])
            var options = Lab.options
            options.threadsMax = 2
            let live = try Lab.live(ledger, InProcessTransport(), options)
            try await live.exchange()
            let performed = try await withThrowingTaskGroup(of: (ShardID, Performed)?.self) {
                group in
                for number in 0..<800 {
                    group.addTask {
                        let shard = ShardID(UInt32(number % 4 + 1))
                        do {
                            return (shard, try await live.perform(.note([1]), on: shard))
                        } catch let refusal as Refusal {
                            #expect(refusal.code == .closing)
                            return nil
                        }
                    }
                    if number == 400 {
                        group.addTask {
                            await live.close()
                            return nil
                        }
                    }
                }
                var performed: [(ShardID, Performed)] = []
                for try await one in group { if let one { performed.append(one) } }
                return performed
            }
            await live.close()
            for shard in ledger.shards.all {
                let offsets = Set(performed.filter { $0.0 == shard }.map(\.1.offset))
                let records = try Lab.records(ledger, shard)
                for offset in offsets {
                    #expect(records[Int(offset.rawValue) - 1].event.kind == .commanded)
                }
                let recorded = records.count { $0.event.kind == .commanded }
                #expect(recorded == offsets.count + (shard == Lab.a ? 1 : 0))
            }
            try Lab.expectClean(ledger)
        }
    }

    @Test("whoever closes returns once the shards are free, the second one, too")
    func twice() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path, ["a", "b", "c", "d"])
            for _ in 0..<5 {
                let live = try Lab.live(ledger)
                for _ in 0..<3 { try await live.perform(.note([1]), on: Lab.a) }
                await withTaskGroup(of: Void.self) { group in
                    for _ in 0..<8 {
                        group.addTask {
                            await live.close()
                            for shard in ledger.shards.all {
                                #expect(ledger.writer(of: shard) == nil)
                            }
                        }
                    }
                }
            }
        }
    }

    @Test("a ledger that was not closed opens without ceremony, says so in the log, and settles")
    func killed() async throws {
        try await Lab.withScratch { path in
            let ledger = try Lab.ledger(path)
            let transport = GateTransport { $0.isDelivery ? .drop : .deliver }
            let live = try Lab.live(ledger, transport, Lab.patient)
            try await Lab.eventually("the sessions are confirmed") {
                let b = try await live.read(Lab.b) { $0.messaging.peer(Lab.a)?.witness.session }
                let a = try await live.read(Lab.a) { $0.messaging.peer(Lab.b)?.witness.session }
                return a != Session.none && b != Session.none
            }
            var messages: [MessageName] = []
            for number in 0..<5 { messages.append(try await live.send(.accept("\(number)"))) }
            // What a killed process leaves: the files as they are.
            try Lab.copy(ledger.directory, to: path + "/killed")
            await live.close()
            let left = try Ledger(path + "/killed")
            #expect(Mark.read(left.markPath(of: Lab.a))?.isClean == false)
            try await Lab.running(left) { live in
                for (number, message) in messages.enumerated() {
                    let settled = try await live.outcome(of: message)
                    #expect(settled.payload == Array("\(number)".utf8))
                }
                #expect(try await live.read(Lab.b) { $0.application.applied } == 5)
            }
            #expect(try Lab.records(left, Lab.a, .opened).map(\.event.clean) == [false, false])
            try Lab.expectClean(left)
        }
    }
}
