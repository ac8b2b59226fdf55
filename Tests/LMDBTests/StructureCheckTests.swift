import LMDB
import Testing

#if canImport(Glibc)
    import Glibc
#else
    import Darwin
#endif

@Suite("structure check")
struct StructureCheckTests {
    private func code(_ bytes: [UInt8]) -> StructureError.Code? {
        let directory = TemporaryDirectory()
        writeFile(directory.dataFile, bytes)
        do throws(StructureError) {
            _ = try StructureCheck.check(file: directory.dataFile, depth: .full)
            return nil
        } catch {
            return error.code
        }
    }

    @Test(
        "files that liblmdb made are sound", arguments: [0, 1, 200, 50_000] as [UInt64])
    func soundFiles(records: UInt64) throws {
        let directory = try makeSample(records: records)
        for depth in [StructureCheck.Depth.quick, .full] {
            let report = try StructureCheck.check(file: directory.dataFile, depth: depth)
            #expect(report.tables == (records == 0 ? 0 : 2))
            let environment = try Environment(path: directory.path, options: scratchOptions())
            let info = try environment.info()
            #expect(report.lastPage == info.lastPage)
            #expect(report.newestTransaction == info.lastTransaction)
            guard records > 0 else { continue }
            var entries = 0
            for name in ["log", "index"] {
                let table = try environment.openTable(name: name, create: false)
                entries += try environment.read { try $0.entryCount(table) }
            }
            #expect(report.entries == UInt64(entries))
            #expect(report.leakedPages == (depth == .full ? 0 : nil))
        }
    }

    @Test(
        "any history of puts and deletes leaves sound files",
        arguments: 1...24 as ClosedRange<UInt64>)
    func randomHistories(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        let directory = TemporaryDirectory()
        let environment = try Environment(path: directory.path, options: scratchOptions())
        let tables = [
            try environment.openTable(name: "a", create: true),
            try environment.openTable(name: "b", create: true),
        ]
        let keySizeMax = seed % 3 == 0 ? 511 : 12
        var keys: [[UInt8]] = []
        for commit in 0..<40 {
            let isShrinking = commit % 10 >= 7
            try environment.write { transaction in
                for _ in 0..<Int.random(in: 1...300, using: &generator) {
                    let table = tables[Int.random(in: 0...1, using: &generator)]
                    let deletes = Int.random(in: 0..<10, using: &generator) < (isShrinking ? 9 : 2)
                    if deletes, !keys.isEmpty {
                        let key = keys.remove(at: Int.random(in: 0..<keys.count, using: &generator))
                        try transaction.delete(tables[0], key: key)
                        try transaction.delete(tables[1], key: key)
                        continue
                    }
                    let size = Int.random(in: 1...keySizeMax, using: &generator)
                    let key = (0..<size).map { _ in UInt8.random(in: 0...255, using: &generator) }
                    let isLong = Int.random(in: 0..<12, using: &generator) == 0
                    let length = Int.random(in: 0...(isLong ? 20_000 : 300), using: &generator)
                    try transaction.put(
                        table, key: key, value: [UInt8](repeating: 1, count: length))
                    keys.append(key)
                }
            }
            _ = try StructureCheck.check(file: directory.dataFile, depth: .quick)
            _ = try StructureCheck.check(file: directory.dataFile, depth: .full)
        }
    }

    @Test("a file is not called damaged while a writer changes it")
    func liveWriter() async throws {
        let directory = try makeSample(records: 2000)
        let environment = try Environment(path: directory.path, options: scratchOptions())
        let table = try environment.openTable(name: "index", create: false)
        let writer = Task.detached {
            for key in 0..<1500 as Range<UInt64> {
                try environment.write { transaction in
                    let value = [UInt8](repeating: 3, count: Int(key % 900))
                    try transaction.put(
                        table, key: key &* 0x9E37_79B9_7F4A_7C15, value: value)
                }
            }
        }
        for round in 0..<60 {
            do throws(StructureError) {
                let depth = round % 2 == 0 ? StructureCheck.Depth.full : .quick
                _ = try StructureCheck.check(file: directory.dataFile, depth: depth)
            } catch {
                #expect(error.code == .unsettled, "\(error)")
            }
        }
        try await writer.value
        _ = try StructureCheck.check(file: directory.dataFile, depth: .full)
    }

    @Test("what is no database at all is named for what it is")
    func notDatabases() throws {
        let sound = readFile(try makeSample(records: 200).dataFile)
        #expect(code(sound) == nil)
        #expect(code([]) == .empty)
        #expect(code([UInt8](repeating: 0, count: 8192)) == .blank)
        #expect(code([UInt8](repeating: 0x41, count: 8192)) == .notADatabase)
        #expect(code(text("hello")) == .notADatabase)
        #expect(code(Array(sound[..<100])) == .truncated)
        #expect(code(Array(sound[..<4096])) == .truncated)
        #expect(code(Array(sound[..<(sound.count - 4096)])) == .truncated)
        #expect(code(Array(sound[..<(sound.count - 1)])) == .truncated)
        #expect(code(sound + [UInt8](repeating: 0, count: 8192)) == nil)
        var other = sound
        other[20] = 2
        #expect(code(other) == .version)
        for path in ["/nonexistent/data.mdb", "/tmp"] {
            #expect(throws: StructureError.self) {
                try StructureCheck.check(file: path, depth: .quick)
            }
        }
    }

    /// What the check says when `damage` is done to each page with these flags in turn; pages that
    /// are not in use do not matter.
    private func codes(
        pagesWithFlags flags: UInt8, _ damage: (inout [UInt8], _ page: Int) -> Void
    ) throws -> Set<StructureError.Code> {
        let sound = readFile(try makeSample(records: 2000).dataFile)
        var codes: Set<StructureError.Code> = []
        for page in stride(from: 0, to: sound.count, by: 4096)
        where sound[page + 10] == flags && sound[page + 11] == 0 {
            var bytes = sound
            damage(&bytes, page)
            if let code = code(bytes) { codes.insert(code) }
        }
        return codes
    }

    private func node(_ index: Int, of page: Int, _ bytes: [UInt8]) -> Int {
        let slot = page + 16 + 2 * index
        return page + Int(bytes[slot]) + Int(bytes[slot + 1]) << 8
    }

    @Test("each kind of damage is found and called by its name")
    func namedDamage() throws {
        let shared = try codes(pagesWithFlags: 1) { bytes, page in
            let (first, second) = (node(0, of: page, bytes), node(1, of: page, bytes))
            for offset in 0..<6 { bytes[second + offset] = bytes[first + offset] }
        }
        #expect(shared == [.shared])
        let range = try codes(pagesWithFlags: 1) { bytes, page in
            bytes[node(1, of: page, bytes) + 3] = 0x7F
        }
        #expect(range == [.range])
        let order = try codes(pagesWithFlags: 2) { bytes, page in
            guard bytes[page + 12] > 18 else { return }
            for offset in 16...17 { bytes.swapAt(page + offset, page + offset + 2) }
        }
        #expect(order == [.order])
        let overlap = try codes(pagesWithFlags: 2) { bytes, page in
            guard bytes[page + 12] > 18 else { return }
            for offset in 16...17 { bytes[page + offset] = bytes[page + offset + 2] }
        }
        #expect(overlap == [.node])
        let length = try codes(pagesWithFlags: 2) { bytes, page in
            bytes[node(0, of: page, bytes) + 7] = 0xFF
        }
        #expect(length == [.node])
        let overflow = try codes(pagesWithFlags: 4) { bytes, page in bytes[page + 12] = 1 }
        #expect(overflow == [.overflow])
        let number = try codes(pagesWithFlags: 2) { bytes, page in bytes[page + 5] ^= 1 }
        #expect(number == [.page])
    }

    @Test("a wrong count of the newest meta is found, and so is a number that was changed")
    func metaFields() throws {
        let sound = readFile(try makeSample(records: 200).dataFile)
        func transaction(_ slot: Int) -> UInt8 { sound[slot * 4096 + 144] }
        let newest = transaction(0) > transaction(1) ? 0 : 4096
        for field in [48, 56, 64, 72, 96, 104, 112, 120] {
            var bytes = sound
            bytes[newest + field] ^= 1
            #expect(code(bytes) == .count, "field \(field)")
        }
        // The older meta, named as if it were the newest, would silently take one commit back.
        var bytes = sound
        bytes[4096 - newest + 144] += 2
        #expect(code(bytes) == .transactions)
        bytes = sound
        bytes[newest + 144] += 2
        #expect(code(bytes) == .transactions)
        // The older meta is that of the transaction before the newest, and of no other.
        bytes = sound
        bytes[4096 - newest + 144] -= 2
        #expect(code(bytes) == .transactions)
        bytes = sound
        bytes[newest + 24 + 4] = 1
        #expect(code(bytes) == .meta)
        // One page more than the file has, and it is not free.
        bytes = sound
        bytes[newest + 136] += 1
        #expect(code(bytes) == .truncated)
    }

    @Test("a free list that is too long, out of order, or names a page in use is found")
    func freeLists() throws {
        let sound = readFile(try makeSample(records: 2000).dataFile)
        func word(_ at: Int, _ bytes: [UInt8]) -> UInt64 {
            bytes[at..<at + 8].reversed().reduce(0) { $0 << 8 | UInt64($1) }
        }
        func put(_ value: UInt64, at: Int, _ bytes: inout [UInt8]) {
            for byte in 0..<8 { bytes[at + byte] = UInt8(truncatingIfNeeded: value >> (8 * byte)) }
        }
        let newest = sound[144] > sound[4096 + 144] ? 0 : 4096
        let root = word(newest + 80, sound)
        // The tree is one leaf here: its first list stands behind the node's header and key.
        let list = node(0, of: Int(root) * 4096, sound) + 16
        let count = Int(word(list, sound))
        try #require(sound[Int(root) * 4096 + 10] == 2 && count >= 2 && count < 500)
        var bytes = sound
        put(UInt64(count + 2), at: list, &bytes)
        #expect(code(bytes) == .freeList)
        bytes = sound
        put(word(list + 16, sound), at: list + 8, &bytes)
        put(word(list + 8, sound), at: list + 16, &bytes)
        #expect(code(bytes) == .freeList)
        // The page that the list stands in, at its place in the order.
        bytes = sound
        let after = (1...count).first { word(list + 8 * $0, sound) < root } ?? count
        put(root, at: list + 8 * after, &bytes)
        #expect(code(bytes) == .shared)
    }

    @Test("a key that belongs to the next page is found")
    func nextPagesKey() throws {
        let found = try codes(pagesWithFlags: 2) { bytes, page in
            let last = (Int(bytes[page + 12]) + Int(bytes[page + 13]) << 8 - 16) / 2 - 1
            bytes[node(last, of: page, bytes) + 8] = 0xFF
        }
        #expect(found.contains(.order))
    }

    @Test(
        "a meta whose writing was cut short at any eight bytes is no damage, from the first commit on"
    )
    func tornMetas() throws {
        let directory = TemporaryDirectory()
        let torn = TemporaryDirectory()
        let environment = try Environment(path: directory.path, options: scratchOptions())
        _ = try environment.openTable(name: "log", create: true)
        for key in 1...8 as ClosedRange<UInt64> {
            let before = readFile(directory.dataFile)
            try environment.write { transaction in
                let table = try transaction.openTable(name: "log", create: false)
                try transaction.put(table, key: key, value: [UInt8](repeating: 1, count: 300))
            }
            var bytes = readFile(directory.dataFile)
            let transaction = try environment.info().lastTransaction
            let meta = Int(transaction % 2) * 4096
            for cut in stride(from: 32, to: 144, by: 8) {
                bytes.replaceSubrange(
                    (meta + cut)..<(meta + 152), with: before[(meta + cut)..<(meta + 152)])
                writeFile(torn.dataFile, bytes)
                for depth in [StructureCheck.Depth.quick, .full] {
                    let report = try StructureCheck.check(file: torn.dataFile, depth: depth)
                    #expect(report.newestTransaction == transaction - 1)
                }
                bytes = readFile(directory.dataFile)
            }
        }
    }

    // MARK: Damage

    /// Checks `bytes`; when they pass, liblmdb must get through them. A crash ends the test run.
    private func survive(_ bytes: [UInt8], in directory: TemporaryDirectory) -> Bool {
        writeFile(directory.dataFile, bytes)
        do throws(StructureError) {
            _ = try StructureCheck.check(file: directory.dataFile, depth: .full)
        } catch {
            // The quick check must come back, too, whatever it says.
            _ = try? StructureCheck.check(file: directory.dataFile, depth: .quick)
            return false
        }
        _ = readThrough(directory.path)
        return true
    }

    @Test("no single flipped bit of a meta that passes can crash liblmdb")
    func metaBits() throws {
        let sound = readFile(try makeSample(records: 200).dataFile)
        let directory = TemporaryDirectory()
        var passed = 0
        for base in [0, 4096] {
            for bit in 0..<(152 * 8) {
                var bytes = sound
                bytes[base + bit / 8] ^= 1 << UInt8(bit % 8)
                if survive(bytes, in: directory) { passed += 1 }
            }
        }
        // What passes: bytes without meaning, map sizes, counts of the older meta.
        #expect(passed < 1200, "\(passed) of 2432 passed")
    }

    @Test("no random damage that passes can crash liblmdb", arguments: 1...6 as ClosedRange<UInt64>)
    func randomBytes(seed: UInt64) throws {
        let sound = readFile(try makeSample(records: 200).dataFile)
        let directory = TemporaryDirectory()
        var generator = SeededGenerator(seed: seed)
        var refused = 0
        for _ in 0..<1000 {
            var bytes = sound
            // Half of the flips in the first bytes of a page, where the structure is.
            for _ in 0..<Int.random(in: 1...3, using: &generator) {
                let page = Int.random(in: 0..<(bytes.count / 4096), using: &generator)
                let inside = Int.random(
                    in: 0..<(Bool.random(using: &generator) ? 4096 : 64), using: &generator)
                bytes[page * 4096 + inside] ^= UInt8.random(in: 1...255, using: &generator)
            }
            if !survive(bytes, in: directory) { refused += 1 }
        }
        #expect(refused > 100, "only \(refused) of 1000 refused")
    }

    @Test("every cut of the file is refused, or harmless")
    func truncation() throws {
        let sound = readFile(try makeSample(records: 200).dataFile)
        let directory = TemporaryDirectory()
        for length in stride(from: 0, to: sound.count, by: 512) {
            let passed = survive(Array(sound[..<length]), in: directory)
            #expect(!passed || length > 8192, "cut to \(length)")
        }
    }

    @Test("a part of a page behind the last one, left by a write that was cut short, is no damage")
    func partOfAPage() throws {
        let sound = readFile(try makeSample(records: 200).dataFile)
        let directory = TemporaryDirectory()
        for count in [1, 512, 2048, 4095, 4097, 3 * 4096 + 7] {
            #expect(survive(sound + [UInt8](repeating: 7, count: count), in: directory))
        }
    }

    @Test("every zeroed block of 512 bytes is refused, or harmless")
    func zeroedBlocks() throws {
        let sound = readFile(try makeSample(records: 200).dataFile)
        let directory = TemporaryDirectory()
        for start in stride(from: 0, to: sound.count, by: 512) {
            var bytes = sound
            for offset in start..<min(start + 512, bytes.count) { bytes[offset] = 0 }
            let passed = survive(bytes, in: directory)
            #expect(!passed || start >= 8192 || start % 4096 >= 512, "zeroed at \(start)")
        }
    }
}
