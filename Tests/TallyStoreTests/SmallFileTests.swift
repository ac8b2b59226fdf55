import TallyCore
import TallyStore
import Testing

@Suite("lines and manifests")
struct SmallFileTests {
    private func lines(_ text: [UInt8], lengthMax: Int) throws -> [[UInt8]] {
        var lines: [[UInt8]] = []
        try StoreFixture.withScratch { scratch in
            try StoreFixture.write(text, to: scratch + "/lines")
            let reader = try LineReader(scratch + "/lines", lengthMax: lengthMax)
            while try reader.next() {
                lines.append(reader.withLine { line in line.indices.map { line[$0] } })
                #expect(reader.number == lines.count)
            }
            #expect(try !reader.next())
        }
        return lines
    }

    @Test("lines come back, short and long, empty and without an end")
    func reading() throws {
        let lengths = [0, 1, 5, 0, 262_143, 262_144, 262_145, 3, 700_000, 0, 131_072, 7]
        let expected = lengths.enumerated().map { index, length in
            [UInt8](repeating: UInt8(65 + index), count: length)
        }
        let joined = Array(expected.joined(separator: [10]))
        #expect(try lines(joined, lengthMax: 700_000) == expected)
        #expect(try lines(joined + [10], lengthMax: 700_000) == expected)
        #expect(try lines([], lengthMax: 10) == [])
        #expect(try lines([10], lengthMax: 10) == [[]])
    }

    @Test("a line that is too long is refused with its number", arguments: [true, false])
    func tooLong(_ hasEnd: Bool) throws {
        let long = [UInt8](repeating: 66, count: 11) + (hasEnd ? [10] : [])
        #expect(try lines(Array(long.dropFirst()), lengthMax: 10).count == 1)
        let error = #expect(throws: StoreError.self) {
            try lines([65, 10] + long, lengthMax: 10)
        }
        #expect(error?.code == .malformed)
        #expect(error?.text.hasPrefix("line 2: ") == true)
    }

    @Test("a file that is not there is named")
    func missing() throws {
        let error = #expect(throws: StoreError.self) {
            try LineReader("/nowhere/at/all", lengthMax: 10)
        }
        #expect(error?.text.contains("/nowhere/at/all") == true)
    }

    @Test("a manifest comes back as it was")
    func manifests() throws {
        var manifest = try StoreFixture.manifest(["trades-0", "b", "c"])
        let all = [
            manifest,
            {
                manifest.name = "odd \"name\" \\ \u{7F}\u{0}\n\u{1F600}"
                manifest.program = ""
                manifest.isOrdered = false
                manifest.hasAnswers = false
                manifest.isSealed = true
                manifest.isNative = false
                manifest.unordered = [
                    Channel(origin: ShardID(1), destination: ShardID(3)),
                    Channel(origin: ShardID(3), destination: ShardID(1)),
                ]
                manifest.windows = [ShardID(2): 5...UInt64(Int64.max), ShardID(1): 1...1]
                return manifest
            }(),
        ]
        for manifest in all {
            let bytes = manifest.encoded()
            #expect(try Manifest(decoding: bytes, path: "x") == manifest)
            #expect(try Manifest(decoding: bytes, path: "x").encoded() == bytes)
        }
    }
}
