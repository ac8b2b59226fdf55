#if Tracing
    public import TallyCore
    public import TallyRuntime
    public import Tracing

    extension Bytes16 {
        /// The trace that a context belongs to, as the sixteen bytes of a W3C trace id; none when the
        /// context belongs to no trace.
        ///
        /// The process's own instrument is asked to inject the context, and the field `traceparent` of
        /// what it injects is read (W3C Trace Context, section 3.2).
        public init(trace context: ServiceContext) {
            var carrier: [String: String] = [:]
            InstrumentationSystem.instrument.inject(context, into: &carrier, using: CarrierFields())
            let parts = (carrier["traceparent"] ?? "").split(separator: "-")
            self = parts.count >= 4 ? Bytes16(hexadecimal: parts[1]) ?? .none : .none
        }

        /// The present task's trace; none outside of one.
        public static var currentTrace: Bytes16 {
            ServiceContext.current.map { Bytes16(trace: $0) } ?? .none
        }
    }

    extension ServiceContext {
        /// A context in the trace that an event's correlation names, for work that is done because of it.
        ///
        /// A correlation names the trace, not the span that sent the message, so the event stands for its
        /// parent: `parent` becomes the parent's id, the event's offset for example.
        ///
        /// - Returns: `nil` when there is no correlation.
        public init?(correlation: Bytes16, parent: Offset) {
            guard correlation != .none, parent != .none else { return nil }
            let digits = String(parent.rawValue, radix: 16)
            let span = String(repeating: "0", count: 16 - digits.count) + digits
            var context = ServiceContext.topLevel
            InstrumentationSystem.instrument.extract(
                ["traceparent": "00-\(correlation)-\(span)-01"], into: &context,
                using: CarrierFields())
            self = context
        }
    }

    extension RuntimeOptions {
        /// Has every command that is performed without a correlation carry the trace of the task that
        /// performs it; what it leads to, on every shard, inherits it.
        public mutating func tracesCommands() { correlation = { .currentTrace } }
    }

    private struct CarrierFields: Injector, Extractor {
        func inject(_ value: String, forKey key: String, into carrier: inout [String: String]) {
            carrier[key.lowercased()] = value
        }

        func extract(key: String, from carrier: [String: String]) -> String? {
            carrier[key.lowercased()]
        }
    }
#endif
