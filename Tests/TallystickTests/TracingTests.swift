#if Tracing
    import Tallystick
    import Testing
    import Tracing

    @Suite("Traces in correlations", .timeLimit(.minutes(5)), .serialized)
    struct TracingTests {
        /// W3C Trace Context, as a real instrument carries it.
        private struct TraceContext: Instrument {
            enum Parent: ServiceContextKey {
                typealias Value = String
            }

            func extract<Carrier, Extract: Extractor>(
                _ carrier: Carrier, into context: inout ServiceContext, using extractor: Extract
            ) where Extract.Carrier == Carrier {
                context[Parent.self] = extractor.extract(key: "traceparent", from: carrier)
            }

            func inject<Carrier, Inject: Injector>(
                _ context: ServiceContext, into carrier: inout Carrier, using injector: Inject
            ) where Inject.Carrier == Carrier {
                if let parent = context[Parent.self] {
                    injector.inject(parent, forKey: "traceparent", into: &carrier)
                }
            }
        }

        private static let isBootstrapped: Bool = {
            InstrumentationSystem.bootstrap(TraceContext())
            return true
        }()

        private static func context(_ traceparent: String?) -> ServiceContext {
            var context = ServiceContext.topLevel
            context[TraceContext.Parent.self] = traceparent
            return context
        }

        private static let trace = "4bf92f3577b34da6a3ce929d0e0e4736"

        @Test("a command carries the trace of the task that performs it, to every shard it reaches")
        func carried() async throws {
            #expect(Self.isBootstrapped)
            try await Errand.withLedger { ledger in
                var options = RuntimeOptions()
                options.tracesCommands()
                let live = try LiveLedger(ledger, program: Errand.self, options: options)
                let here = try live.shard("here")
                let traced = Self.context("00-\(Self.trace)-00f067aa0ba902b7-01")
                let performed = try await ServiceContext.withValue(traced) {
                    try await live.perform([1], on: here)
                }
                _ = try await live.outcome(of: performed.messages[0])
                let untraced = try await live.perform([2], on: here)
                _ = try await live.outcome(of: untraced.messages[0])
                await live.close()
                var found: [String] = []
                var query = EventQuery()
                query.kinds = [.commanded, .sent, .received, .answered, .acknowledged]
                try query.run(AuditLedger(ledger)) { event in
                    found.append(event.event.correlation.description)
                    return true
                }
                let none = Bytes16.none.description
                #expect(found.filter { $0 == Self.trace }.count == 5)
                #expect(found.filter { $0 == none }.count == 5)
                #expect(found.count == 10)
            }
        }

        @Test("an event's correlation leads back into its trace")
        func back() throws {
            #expect(Self.isBootstrapped)
            let correlation = try #require(Bytes16(hexadecimal: Self.trace))
            let context = try #require(
                ServiceContext(correlation: correlation, parent: Offset(0xAB)))
            #expect(context[TraceContext.Parent.self] == "00-\(Self.trace)-00000000000000ab-01")
            #expect(Bytes16(trace: context) == correlation)
            #expect(ServiceContext(correlation: .none, parent: Offset(1)) == nil)
        }

        @Test(
            "what is no trace gives no correlation",
            arguments: [
                nil, "", "00-xyz-00f067aa0ba902b7-01", "00-4bf9-00f067aa0ba902b7-01", "garbage",
            ])
        func noTrace(_ traceparent: String?) {
            #expect(Self.isBootstrapped)
            #expect(Bytes16(trace: Self.context(traceparent)) == .none)
        }
    }
#endif
