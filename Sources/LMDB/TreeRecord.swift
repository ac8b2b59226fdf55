/// The 48 bytes that describe one tree: in a meta, or as the value of a table's name.
struct TreeRecord {
    static let byteCount = 48

    /// The page that holds this record.
    let page: UInt64
    let pad: UInt32
    let flags: UInt16
    let depth: UInt16
    let branchPages: UInt64
    let leafPages: UInt64
    let overflowPages: UInt64
    let entries: UInt64
    let root: UInt64

    init(_ bytes: FieldReader, _ base: Int, page: UInt64) {
        self.page = page
        pad = bytes.u32(base)
        flags = bytes.u16(base + 4)
        depth = bytes.u16(base + 6)
        branchPages = bytes.u64(base + 8)
        leafPages = bytes.u64(base + 16)
        overflowPages = bytes.u64(base + 24)
        entries = bytes.u64(base + 32)
        root = bytes.u64(base + 40)
    }

    func checkRoot(within last: UInt64, offset: UInt64) throws(StructureError) {
        func fault(_ message: String) -> StructureError {
            StructureError(code: .range, page: page, offset: offset, message: message)
        }
        if root == FileMeta.noPage {
            guard depth == 0, branchPages == 0, leafPages == 0, overflowPages == 0, entries == 0
            else { throw fault("an empty tree counts pages or records") }
            return
        }
        guard root >= 2, root <= last else { throw fault("root \(root) is not a page") }
        guard (1...32).contains(depth) else { throw fault("a tree cannot be \(depth) deep") }
    }

    /// What of the older meta's tree can be said: its fields may be those of two transactions, for a
    /// write of a meta that was cut short leaves new ones before old ones.
    func checkTornRoot(within last: UInt64, offset: UInt64) throws(StructureError) {
        guard root == FileMeta.noPage || (2...max(2, last)).contains(root), depth <= 32 else {
            throw StructureError(
                code: .range, page: page, offset: offset,
                message: "a tree with the root \(root) and the depth \(depth) is not possible")
        }
    }

    func adding(_ sum: UInt64) throws(StructureError) -> UInt64 {
        let (sum, overflow) = sum.addingReportingOverflow(entries)
        guard !overflow else {
            throw StructureError(
                code: .count, page: page, offset: 0, message: "impossible number of records")
        }
        return sum
    }
}

/// Little-endian fields of an array; a field that is not wholly inside reads as 0.
struct FieldReader {
    private let bytes: [UInt8]

    init(_ bytes: [UInt8]) {
        self.bytes = bytes
    }

    func u64(_ offset: Int) -> UInt64 { field(offset, 8) }
    func u32(_ offset: Int) -> UInt32 { UInt32(truncatingIfNeeded: field(offset, 4)) }
    func u16(_ offset: Int) -> UInt16 { UInt16(truncatingIfNeeded: field(offset, 2)) }

    private func field(_ offset: Int, _ count: Int) -> UInt64 {
        guard offset >= 0, offset <= bytes.count - count else { return 0 }
        var value: UInt64 = 0
        for index in (0..<count).reversed() { value = value << 8 | UInt64(bytes[offset + index]) }
        return value
    }
}
