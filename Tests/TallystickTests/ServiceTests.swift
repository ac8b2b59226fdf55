#if ServiceLifecycle
    import Logging
    import ServiceLifecycle
    import Tallystick
    import Testing

    @Suite("A ledger in a service group", .timeLimit(.minutes(5)))
    struct ServiceTests {
        /// Performs commands until it is told to shut down.
        private struct Application: Service {
            let live: LiveLedger<Errand>
            let started: AsyncStream<Void>.Continuation

            func run() async throws {
                let here = try live.shard("here")
                try await cancelWhenGracefulShutdown {
                    for number in 0..<UInt64.max {
                        let performed = try await live.perform([UInt8(number % 256)], on: here)
                        started.yield()
                        _ = try await live.outcome(of: performed.messages[0])
                    }
                }
            }
        }

        private static func group(_ services: [any Service]) -> ServiceGroup {
            ServiceGroup(
                configuration: ServiceGroupConfiguration(
                    services: services.map {
                        .init(
                            service: $0, successTerminationBehavior: .ignore,
                            failureTerminationBehavior: .ignore)
                    },
                    logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }))
        }

        @Test("closes clean at a graceful shutdown, after the application that uses it")
        func shutdown() async throws {
            try await Errand.withLedger { ledger in
                let live = try LiveLedger(ledger, program: Errand.self)
                let (starts, started) = AsyncStream.makeStream(of: Void.self)
                let group = Self.group([live, Application(live: live, started: started)])
                try await withThrowingTaskGroup(of: Void.self) { tasks in
                    tasks.addTask { try await group.run() }
                    var iterator = starts.makeAsyncIterator()
                    for _ in 0..<20 { await iterator.next() }
                    await group.triggerGracefulShutdown()
                    try await tasks.waitForAll()
                }
                try Self.expectClosedClean(ledger)
                let end = try Replay.run(Errand.self, AuditLedger(ledger))
                #expect((end.states[0]?.application.accepted ?? 0) >= 19)
            }
        }

        @Test("closes clean when its task is cancelled")
        func cancelled() async throws {
            try await Errand.withLedger { ledger in
                let live = try LiveLedger(ledger, program: Errand.self)
                let running = Task { try await live.run() }
                let performed = try await live.perform([7], on: try live.shard("here"))
                _ = try await live.outcome(of: performed.messages[0])
                running.cancel()
                try await running.value
                try Self.expectClosedClean(ledger)
            }
        }

        private static func expectClosedClean(_ ledger: Ledger) throws {
            for shard in ledger.shards.all {
                #expect(ledger.writer(of: shard) == nil)
                #expect(Mark.read(ledger.markPath(of: shard))?.isClean == true)
            }
            #expect(try Verify.run(Errand.self, AuditLedger(ledger)).isClean)
        }
    }
#endif
