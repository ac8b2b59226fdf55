import TallyCore
import Testing

/// Events that break a rule of the byte table, each with a right checksum.
@Suite("Malformed events")
struct CommitMalformedTests {
    private func code(_ bytes: [UInt8]) -> CommitError.Code? {
        do {
            try unsafe bytes.span.bytes.withCommit { _ in }
            return nil
        } catch { return (error as? CommitError)?.code }
    }

    /// The code for a commit of one event of which one thing was changed; bytes from the event on.
    private func changed(_ kind: EventKind, _ change: (inout [UInt8]) -> Void) -> CommitError.Code?
    {
        let bytes = Samples.commit([kind])
        var event = Array(bytes[80...])
        change(&event)
        return code((Array(bytes[..<80]) + event).resealed)
    }

    @Test("the kind, the flags, the outcome and the reason are those of the table")
    func small() {
        for kind in EventKind.allCases {
            for bad: UInt8 in [0, 13, 14, 127, 255] {
                #expect(changed(kind) { $0[4] = bad } == .event, "\(kind) kind \(bad)")
            }
            for flags in 0...255 as ClosedRange<UInt8> {
                let isRight = flags == 0 || (flags == 1 && kind == .opened)
                #expect((changed(kind) { $0[5] = flags } == nil) == isRight, "\(kind) \(flags)")
            }
            let outcomes: [UInt8] =
                switch kind {
                case .received: [1, 2]
                case .answered, .acknowledged: [3, 4]
                default: [0]
                }
            for outcome in 0...255 as ClosedRange<UInt8> {
                let result = changed(kind) { $0[6] = outcome }
                #expect(result == (outcomes.contains(outcome) ? nil : .event), "\(kind) \(outcome)")
            }
            let reasons: [UInt8] =
                switch kind {
                case .timedOut: [0, 4]
                case .reemitted: [1, 2, 3]
                case .conflicted: [5, 6, 7, 8]
                case .intervened: [9]
                default: [0]
                }
            for reason in 0...255 as ClosedRange<UInt8> {
                let result = changed(kind) { $0[7] = reason }
                #expect(result == (reasons.contains(reason) ? nil : .event), "\(kind) \(reason)")
            }
        }
        for reason: UInt8 in [10, 11] {
            let result = changed(.intervened) { event in
                event[7] = reason
                event.put(0 as UInt32, at: 8)
            }
            #expect(result == nil, "an intervention without a peer")
        }
    }

    @Test("a field that the kind does not have is zero, and one that it needs is not")
    func fields() {
        let fields: [(String, Int, Int, Set<EventKind>, Set<EventKind>)] = [
            (
                "peer", 8, 4,
                [
                    .sent, .received, .answered, .acknowledged, .timedOut, .reemitted, .conflicted,
                    .witnessed, .intervened,
                ],
                [
                    .sent, .received, .answered, .acknowledged, .timedOut, .reemitted, .conflicted,
                    .witnessed, .intervened,
                ]
            ),
            ("attempt", 12, 4, [.reemitted], []),
            (
                "sequence", 16, 8,
                [
                    .commanded, .sent, .received, .answered, .acknowledged, .timedOut, .reemitted,
                    .conflicted,
                ],
                [
                    .commanded, .sent, .received, .answered, .acknowledged, .timedOut, .reemitted,
                    .conflicted,
                ]
            ),
            ("deadline", 24, 8, [.sent, .received], []),
            ("cause", 32, 8, [.sent, .answered, .acknowledged, .timedOut, .noted], []),
            (
                "correlation", 40, 8,
                [.commanded, .sent, .received, .answered, .acknowledged, .timedOut, .noted], []
            ),
            (
                "correlation", 48, 8,
                [.commanded, .sent, .received, .answered, .acknowledged, .timedOut, .noted], []
            ),
        ]
        for (name, at, width, allowed, needed) in fields {
            for kind in EventKind.allCases {
                let zeroed = changed(kind) { event in
                    for byte in at..<at + width { event[byte] = 0 }
                }
                #expect(zeroed == (needed.contains(kind) ? .event : nil), "\(kind) no \(name)")
                let set = changed(kind) { $0[at] = 1 }
                #expect(set == (allowed.contains(kind) ? nil : .event), "\(kind) \(name)")
            }
        }
    }

    @Test("times below 2^63, ranges that do not run back, reserved bytes zero")
    func ranges() {
        for kind in [EventKind.sent, .received] {
            #expect(changed(kind) { $0.put(1 << 63 as UInt64, at: 24) } == .event)
            #expect(changed(kind) { $0.put(UInt64(Int64.max), at: 24) } == nil)
        }
        #expect(changed(.received) { $0.put(1 << 63 as UInt64, at: 56) } == .event)
        #expect(changed(.reemitted) { $0.put(1 as UInt64, at: 56) } == .event)
        #expect(changed(.opened) { $0[76] = 1 } == .event)
        #expect(changed(.commanded) { $0[84] = 1 } == .event)
        #expect(changed(.commanded) { $0.put(UInt32(18), at: 80) } == .event)
        #expect(changed(.commanded) { $0.put(UInt32(17), at: 80) } == nil)
        #expect(changed(.commanded) { $0.put(UInt32.max, at: 80) } == .event)
    }

    @Test("an event's length covers its fields, ends in the commit, and its padding is zero")
    func lengths() {
        for kind in EventKind.allCases {
            for bad: UInt32 in [0, 55, 56 - 8, 1 << 20, .max, .max - 7] {
                #expect(changed(kind) { $0.put(bad, at: 0) } == .event, "\(kind) \(bad)")
            }
            let least = changed(kind) { event in
                let fields = event.count  // Cuts the last field short.
                event.put(UInt32(fields - (Samples.hasPayload(kind) ? 17 : 1)), at: 0)
            }
            #expect(least != nil, "\(kind)")
        }
        // A payload of 7 bytes leaves one byte of padding.
        #expect(changed(.sent) { $0[$0.count - 1] = 1 } == .event)
        #expect(changed(.noted) { $0.put(UInt32(56), at: 0) } == .events)
        #expect(
            changed(.opened) { event in
                event.put(UInt32(event.count + 8), at: 0)
                event += [UInt8](repeating: 0, count: 8)
            } == .length)
    }

    @Test("a kind without a payload does not carry one")
    func noPayload() {
        for kind in EventKind.allCases where !Samples.hasPayload(kind) {
            var bytes = Samples.commit([kind])
            let length = bytes.count - 80
            bytes += [UInt8](repeating: 0, count: 8)
            bytes.put(UInt32(bytes.count), at: 8)
            bytes.put(UInt32(length + 1), at: 80)
            #expect(code(bytes.resealed) == .event, "\(kind)")
        }
    }

    @Test("a payload of 16 MiB is taken, one byte more is not")
    func payloadLimit() {
        for (extra, expected) in [(0, nil), (1, CommitError.Code.event)] {
            var builder = CommitBuilder()
            builder.open(firstOffset: Offset(1), timestamp: Timestamp(1), epoch: .none)
            let count = CommitFormat.payloadLengthMax + extra
            builder.append(Event(.noted), payload: [UInt8](repeating: 1, count: count))
            builder.seal(previousHead: .none)
            #expect(code(builder.bytes) == expected)
        }
    }

    @Test("random bytes are refused and never trap, with and without a right checksum")
    func random() {
        var random = SplitMix64(seed: 9)
        for round in 0..<4_000 {
            let words = 17 + Int(random.next() % 30)
            var bytes: [UInt8] = []
            for _ in 0..<words {
                let value = random.next() & (round % 3 == 0 ? 0xFF : .max)
                for shift in 0..<8 { bytes.append(UInt8(truncatingIfNeeded: value >> (shift * 8))) }
            }
            #expect(code(bytes) != nil)
            bytes.replaceSubrange(0..<16, with: Samples.commit([.sent])[0..<16])
            bytes.put(UInt32(bytes.count), at: 8)
            bytes.put(0 as UInt32, at: 72)
            bytes.put(UInt32(random.next() % 4), at: 12)
            bytes.put(random.next() >> 1, at: 16)
            bytes.put(random.next() >> 1, at: 24)
            _ = code(bytes.resealed)
        }
    }

    @Test("what is accepted after a change is read without a trap, in all its fields")
    func mutations() throws {
        var random = SplitMix64(seed: 10)
        let vectors = Samples.commits
        var accepted = 0
        for _ in 0..<6_000 {
            var bytes = vectors[Int(random.next() % UInt64(vectors.count))].bytes
            for _ in 0...Int(random.next() % 3) {
                let at = 16 + Int(random.next() % UInt64(bytes.count - 16))
                bytes[at] = UInt8(truncatingIfNeeded: random.next())
            }
            try? unsafe bytes.resealed.span.bytes.withCommit { commit in
                accepted += 1
                var state = MessagingState(shard: ShardID(1), shardCount: 3, rules: .init())
                state.fold(commit)
                commit.forEach { view in
                    #expect(view.event.kind == view.kind)
                    _ = view.payload.count + view.result.count
                }
            }
        }
        #expect(accepted > 500)
    }
}
