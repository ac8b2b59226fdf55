import TallyCore
import Testing

/// The envelope's bytes: one form, and nothing else is read.
@Suite("Envelope format")
struct EnvelopeTests {
    @Test("the test vectors are what this code makes")
    func vectors() {
        Fixtures.compare(
            Samples.envelopes.map { ($0.name, $0.envelope.encoded()) },
            with: "envelope-vectors.txt",
            about:
                "Envelopes of version 1, each content with every field set; made by Samples.swift,"
                + " recorded with TALLY_RECORD=1 swift test")
    }

    @Test("what is written is read back, and the recorded vectors too")
    func roundTrip() {
        for (name, envelope) in Samples.envelopes {
            let bytes = envelope.encoded()
            #expect(Envelope(decoding: bytes) == envelope, "\(name)")
            #expect(Envelope(decoding: bytes)?.encoded() == bytes, "\(name)")
        }
        let recorded = Fixtures.load("envelope-vectors.txt")
        #expect(recorded.count == Samples.envelopes.count)
        for (vector, sample) in zip(recorded, Samples.envelopes) {
            #expect(Envelope(decoding: vector.bytes) == sample.envelope)
        }
    }

    @Test("random envelopes survive their bytes")
    func randomRoundTrip() {
        var random = SplitMix64(seed: 5)
        for _ in 0..<300 {
            var envelope = Samples.envelopes[Int(random.next() % 8)].envelope
            envelope.header.sender = ShardID(UInt32(truncatingIfNeeded: random.next()))
            envelope.header.durableEnd.offset = Offset(random.next())
            if case .deliver = envelope.content {
                envelope.content = .deliver(
                    (0..<Int(random.next() % 9)).map { _ in
                        var delivery = Samples.delivery(random.next() | 1)
                        let count = Int(random.next() % 70)
                        delivery.payload = (0..<count).map { UInt8($0) }[...]
                        #expect(delivery.encodedLength == 60 + count)
                        return delivery
                    })
            }
            #expect(Envelope(decoding: envelope.encoded()) == envelope)
        }
    }

    @Test("every flipped bit, every cut and every byte too many is refused")
    func damage() {
        for (name, envelope) in Samples.envelopes {
            let bytes = envelope.encoded()
            for bit in 0..<bytes.count * 8 {
                var flipped = bytes
                flipped[bit / 8] ^= 1 << UInt8(bit % 8)
                if Envelope(decoding: flipped) != nil {
                    Issue.record("\(name): bit \(bit) is not covered")
                }
            }
            for count in 0..<bytes.count {
                if Envelope(decoding: Array(bytes[..<count])) != nil {
                    Issue.record("\(name): cut at \(count)")
                }
            }
            #expect(Envelope(decoding: bytes + [0]) == nil)
            var longer = bytes + [0]
            longer.put(UInt32(longer.count), at: 8)
            #expect(Envelope(decoding: longer.reposted) == nil)
        }
    }

    @Test(
        "a malformed field is refused with a right checksum",
        arguments: [
            (0, 1), (4, 2), (4, 0), (5, 0), (5, 7), (6, 1), (7, 1), (8, 0), (20, 1), (23, 1),
            (87, 0x80),
            (120, 0), (120, 2), (123, 0xFF), (128, 1), (143, 1),
        ] as [(Int, UInt8)])
    func malformed(at: Int, value: UInt8) {
        var bytes = Samples.envelopes[0].envelope.encoded()
        #expect(Envelope(decoding: bytes.reposted) != nil)
        bytes[at] = value
        #expect(Envelope(decoding: bytes.reposted) == nil)
    }

    @Test("sequences begin at 1, times lie below 2^63, results and lengths are known")
    func malformedItems() {
        func refused(_ index: Int, _ what: String, _ change: (inout [UInt8]) -> Void) {
            var bytes = Samples.envelopes[index].envelope.encoded()
            change(&bytes)
            #expect(Envelope(decoding: bytes.reposted) == nil, "\(what)")
        }
        for index in [0, 3, 6, 7] {
            refused(index, "sequence 0 in \(index)") { $0.put(0 as UInt64, at: 144) }
        }
        refused(0, "sent at") { $0[144 + 23] = 0x80 }
        refused(0, "deadline") { $0[144 + 31] = 0x80 }
        for length: UInt32 in [6, 8, .max, UInt32(CommitFormat.payloadLengthMax + 1)] {
            refused(0, "payload length \(length)") { $0.put(length, at: 144 + 56) }
        }
        refused(3, "result 0") { $0[144 + 16] = 0 }
        refused(3, "result 5") { $0[144 + 16] = 5 }
        refused(4, "two statements") { $0.put(2 as UInt32, at: 120) }
        refused(4, "no statement") { $0.put(0 as UInt32, at: 120) }
    }

    @Test("hostile changes never trap, and what is accepted has one form")
    func hostile() {
        var random = SplitMix64(seed: 6)
        var accepted = 0
        for _ in 0..<20_000 {
            var bytes = Samples.envelopes[Int(random.next() % 8)].envelope.encoded()
            for _ in 0...Int(random.next() % 3) {
                let at = Int(random.next() % UInt64(bytes.count))
                bytes[at] = UInt8(truncatingIfNeeded: random.next())
            }
            bytes = bytes.reposted
            guard let envelope = Envelope(decoding: bytes) else { continue }
            accepted += 1
            if envelope.encoded() != bytes { Issue.record("two forms: \(envelope)") }
        }
        #expect(accepted > 1_000)
        for count in 0..<400 {
            let bytes = (0..<count).map { _ in UInt8(truncatingIfNeeded: random.next()) }
            #expect(Envelope(decoding: bytes) == nil)
        }
    }
}
