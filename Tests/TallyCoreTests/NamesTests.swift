// swift-format-ignore-file: NeverForceUnwrap

import TallyCore
import Testing

/// How names are written and read.
@Suite("Names and their texts")
struct NamesTests {
    let directory = ShardDirectory(["trades-0", "collateral-1", "x"])!

    @Test("shard names are lower case, digits and hyphens, at most 64, none twice")
    func shardNames() {
        for good in ["a", "0", "trades-0", "9-", String(repeating: "a", count: 64)] {
            #expect(ShardDirectory.isWellFormed(good), "\(good)")
        }
        for bad in [
            "", "-a", "A", "a b", "a/b", "a.b", "..", "a@b", "a_b", "\u{E9}",
            String(repeating: "a", count: 65), "a\u{0}", "a\n",
        ] {
            #expect(!ShardDirectory.isWellFormed(bad), "\(bad)")
            #expect(ShardDirectory([bad]) == nil)
        }
        #expect(ShardDirectory([]) == nil)
        #expect(ShardDirectory(["a", "b", "a"]) == nil)
    }

    @Test("a shard's id is its position, from 1")
    func ids() {
        #expect(directory.all.map(\.rawValue) == [1, 2, 3])
        #expect(directory.id(of: "collateral-1") == ShardID(2))
        #expect(directory.id(of: "nobody") == nil)
        #expect(directory.name(of: ShardID(2)) == "collateral-1")
        #expect(directory.name(of: ShardID(0)) == "shard-#0")
        #expect(directory.name(of: ShardID(4)) == "shard-#4")
        #expect(!directory.contains(ShardID(0)) && !directory.contains(ShardID(4)))
    }

    @Test("addresses, channels and messages are read as they are written")
    func roundTrips() {
        let message = MessageName(from: ShardID(1), to: ShardID(2), SequenceNumber(.max))
        #expect(directory.text(message) == "trades-0/collateral-1/18446744073709551615")
        #expect(directory.message(directory.text(message)) == message)
        let channel = Channel(origin: ShardID(3), destination: ShardID(3))
        #expect(directory.channel(directory.text(channel)) == channel)
        let text = directory.address(ShardID(1), Offset(1842))
        #expect(text == "trades-0@1842")
        #expect(directory.address(text)?.shard == ShardID(1))
        #expect(directory.address(text)?.offset == Offset(1842))
    }

    @Test(
        "what is not a name is not read",
        arguments: [
            "", "/", "//", "trades-0/x", "trades-0/x/", "trades-0/x/0", "trades-0/x/-1",
            "trades-0/x/+1",
            "trades-0/x/ 1", "trades-0/x/1 ", "trades-0/x/1/", "/trades-0/x/1", "trades-0/nobody/1",
            "trades-0/x/18446744073709551616", "trades-0/x/0x1", "trades-0//1", "TRADES-0/x/1",
            "trades-0/x/01",
        ])
    func badMessages(text: String) { #expect(directory.message(text) == nil) }

    @Test(
        "what is not an address is not read",
        arguments: [
            "", "@", "trades-0", "trades-0@", "@1", "trades-0@x", "trades-0@-1", "trades-0@+1",
            "trades-0@1@2", "nobody@1", "trades-0@ 1", "trades-0@01",
            "trades-0@18446744073709551616",
        ])
    func badAddresses(text: String) { #expect(directory.address(text) == nil) }

    @Test("hexadecimal texts are read as they are written, lower case and in full length only")
    func hexadecimal() {
        var random = SplitMix64(seed: 3)
        for _ in 0..<50 {
            let bytes = Bytes16(low: random.next(), high: random.next())
            #expect(Bytes16(hexadecimal: bytes.description) == bytes)
            let digest = Digest((random.next(), random.next(), random.next(), random.next()))
            #expect(Digest(hexadecimal: digest.description) == digest)
        }
        let bytes = Bytes16(low: 0x0706_0504_0302_0100, high: 0x0F0E_0D0C_0B0A_0908)
        #expect(bytes.description == "000102030405060708090a0b0c0d0e0f")
        for bad in [
            "", "00", "000102030405060708090A0b0c0d0e0f",
            "000102030405060708090a0b0c0d0e0", "000102030405060708090a0b0c0d0e0f0",
            "000102030405060708090a0b0c0d0e0g", "\u{E9}00102030405060708090a0b0c0d0e0",
        ] {
            #expect(Bytes16(hexadecimal: bad) == nil, "\(bad)")
            #expect(Digest(hexadecimal: bad) == nil, "\(bad)")
        }
        #expect(Bytes16(low: 1 << 56, high: 0) < Bytes16(low: 1, high: 0))
        #expect(Bytes16(low: 0, high: 1) < Bytes16(low: 0, high: 2))
    }

    @Test("times are written with nine digits, and read as they are written")
    func times() {
        let known: [(UInt64, String)] = [
            (0, "1970-01-01T00:00:00.000000000Z"),
            (951_782_400_000_000_001, "2000-02-29T00:00:00.000000001Z"),
            (1_795_435_200_123_456_789, "2026-11-23T12:00:00.123456789Z"),
            (4_107_542_399_999_999_999, "2100-02-28T23:59:59.999999999Z"),
            (4_107_542_400_000_000_000, "2100-03-01T00:00:00.000000000Z"),
            (Timestamp.greatest.rawValue, "2262-04-11T23:47:16.854775807Z"),
        ]
        for (raw, text) in known {
            #expect(Timestamp(raw).description == text)
            #expect(Timestamp(text) == Timestamp(raw), "\(text)")
        }
        var random = SplitMix64(seed: 4)
        for _ in 0..<300 {
            let time = Timestamp(random.next() >> 1)
            #expect(Timestamp(time.description) == time, "\(time)")
        }
    }

    @Test("other forms of a time are read")
    func otherForms() {
        let noon = Timestamp("2026-11-23T12:00:00.000000000Z")
        for text in [
            "2026-11-23T12:00:00Z", "2026-11-23t12:00:00z", "2026-11-23T12:00:00.0Z",
            "2026-11-23T13:30:00+01:30", "2026-11-23T07:00:00-05:00", "2026-11-23T12:00:00+00:00",
        ] {
            #expect(Timestamp(text) == noon, "\(text)")
        }
        #expect(Timestamp("1970-01-01T01:00:00+01:00") == Timestamp(0))
    }

    @Test(
        "what is no time is not read",
        arguments: [
            "", "2026", "2026-11-23", "2026-11-23T12:00:00", "2026-11-23 12:00:00Z",
            "2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z", "2026-02-29T00:00:00Z",
            "2100-02-29T00:00:00Z", "2026-04-31T00:00:00Z", "2026-01-00T00:00:00Z",
            "2026-01-01T24:00:00Z", "2026-01-01T00:60:00Z", "2026-01-01T00:00:60Z",
            "2026-01-01T00:00:00.Z", "2026-01-01T00:00:00.0000000001Z", "2026-01-01T00:00:00ZZ",
            "2026-01-01T00:00:00+1:00", "2026-01-01T00:00:00+24:00", "1969-12-31T23:59:59Z",
            "1970-01-01T00:30:00+01:00", "2262-04-11T23:47:16.854775808Z", "2262-04-11T23:47:17Z",
            "9999-12-31T23:59:59Z", "-026-01-01T00:00:00Z", "2026-1-1T00:00:00Z",
        ])
    func badTimes(text: String) { #expect(Timestamp(text) == nil) }

    @Test("times add and subtract without leaving their range")
    func arithmetic() {
        #expect(Timestamp(5).advanced(byNanoseconds: 3) == Timestamp(8))
        #expect(Timestamp(5).advanced(byNanoseconds: .max) == .greatest)
        #expect(Timestamp.greatest.advanced(byNanoseconds: 1) == .greatest)
        #expect(Timestamp(8).nanoseconds(since: Timestamp(5)) == 3)
        #expect(Timestamp(5).nanoseconds(since: Timestamp(8)) == 0)
        #expect(SequenceNumber(.max).next == SequenceNumber(.max))
    }

    @Test("kinds, outcomes and reasons are read by their names")
    func kinds() {
        for kind in EventKind.allCases { #expect(EventKind(name: kind.name) == kind) }
        for outcome in Outcome.allCases where outcome != .none {
            #expect(Outcome(name: outcome.name) == outcome)
        }
        for reason in Reason.allCases where reason != .none {
            #expect(Reason(name: reason.name) == reason)
        }
        #expect(EventKind(name: "") == nil && Outcome(name: "") == nil && Reason(name: "") == nil)
        #expect(EventKind(name: "Sent") == nil)
    }
}
