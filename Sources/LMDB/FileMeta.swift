/// What a meta page says: one of the two roots of an LMDB file.
///
///     page  +0   page number 8 | pad 2 | flags 2 (8 = meta) | unused 4
///     meta  +16  magic 4 (BEEFC0DE) | version 4 (1) | address 8 (0) | map size 8
///           +40  free tree 48: page size 4 | flags 2 (8 = integer keys) | as below
///           +88  main tree 48: pad 4 | flags 2 | depth 2 | branch pages 8 | leaf pages 8 |
///                overflow pages 8 | entries 8 | root 8 (all ones = empty)
///           +136 last page 8 | transaction 8
///
/// Transaction N is written to slot N mod 2, the transaction number last, by one write: a write cut
/// short leaves new fields under the old number. So of the older meta only what liblmdb uses is
/// believed, and its page numbers may be newer than its last page.
struct FileMeta {
    static let byteCount = 152
    /// liblmdb 0.9 makes no larger pages, whatever the machine's page size.
    static let pageSizeMax = 32768
    static let noPage = UInt64.max

    let slot: UInt64
    let pageSize: Int
    let mapSize: UInt64
    let free: TreeRecord
    let main: TreeRecord
    let lastPage: UInt64
    let transaction: UInt64

    struct Pair {
        let newest: FileMeta
        let older: FileMeta
    }

    /// Checks what can be said without looking at any other page.
    static func pair(_ bytes: [UInt8], fileSize: UInt64) throws(StructureError) -> Pair {
        if bytes.isEmpty { throw fault(.empty, 0, 0, "the file is empty") }
        let first = FieldReader(bytes)
        if bytes.allSatisfy({ $0 == 0 }) {
            throw fault(.blank, 0, 0, "the file begins with zeros; its creation was cut short")
        }
        try identify(first, 0)
        guard bytes.count >= byteCount else {
            throw fault(.truncated, 0, bytes.count, "the file ends inside the first meta page")
        }
        let pageSize = Int(first.u32(40))
        guard pageSize == 4096 || pageSize == 16384 || pageSize == pageSizeMax else {
            throw fault(.meta, 0, 40, "the page size is \(pageSize)")
        }
        guard fileSize >= UInt64(2 * pageSize), bytes.count >= pageSize + byteCount else {
            throw fault(.truncated, 1, pageSize, "the file ends before its second meta page")
        }
        let zero = try FileMeta(first, slot: 0, at: 0, pageSize)
        let one = try FileMeta(first, slot: 1, at: pageSize, pageSize)
        let newest = zero.transaction < one.transaction ? one : zero
        let older = zero.transaction < one.transaction ? zero : one
        for tree in [newest.free, newest.main] {
            try tree.checkRoot(
                within: newest.lastPage, offset: newest.slot * UInt64(pageSize))
        }
        for tree in [older.free, older.main] {
            try tree.checkTornRoot(
                within: max(newest.lastPage, older.lastPage, fileSize / UInt64(pageSize)),
                offset: older.slot * UInt64(pageSize))
        }
        try checkTransactions(zero, one)
        return Pair(newest: newest, older: older)
    }

    private init(
        _ bytes: FieldReader, slot: UInt64, at base: Int, _ pageSize: Int
    ) throws(StructureError) {
        try FileMeta.identify(bytes, base)
        let address = base + 24
        func fault(_ field: Int, _ message: String) -> StructureError {
            FileMeta.fault(.meta, slot, base + field, message)
        }
        guard bytes.u64(base) == slot else { throw fault(0, "the page number is wrong") }
        guard bytes.u64(address) == 0 else { throw fault(24, "a fixed map address is set") }
        guard Int(bytes.u32(base + 40)) == pageSize else {
            throw fault(40, "the two metas have different page sizes")
        }
        // 8: integer keys, of the free tree. 0x4000: made by a program that names the file itself.
        guard bytes.u16(base + 44) & ~0x4000 == 8 else { throw fault(44, "unknown flags") }
        self.slot = slot
        self.pageSize = pageSize
        mapSize = bytes.u64(base + 32)
        free = TreeRecord(bytes, base + 40, page: slot)
        main = TreeRecord(bytes, base + 88, page: slot)
        lastPage = bytes.u64(base + 136)
        transaction = bytes.u64(base + 144)
        guard mapSize >= UInt64(2 * pageSize), mapSize <= 1 << 48 else {
            throw fault(32, "a map of \(mapSize) bytes is not possible")
        }
        guard lastPage >= 1, lastPage < mapSize / UInt64(pageSize) + 1 else {
            throw fault(136, "the last page, \(lastPage), is not inside the map")
        }
        guard main.flags == 0, main.pad == 0 else {
            throw FileMeta.fault(.table, slot, base + 88, "the main tree has unknown flags")
        }
    }

    private static func identify(_ bytes: FieldReader, _ base: Int) throws(StructureError) {
        let page = UInt64(base == 0 ? 0 : 1)
        guard bytes.u32(base + 16) == 0xBEEF_C0DE else {
            throw fault(.notADatabase, page, base + 16, "the magic number of LMDB is missing")
        }
        guard bytes.u32(base + 20) == 1 else {
            throw fault(.version, page, base + 20, "format version \(bytes.u32(base + 20)), not 1")
        }
        guard bytes.u16(base + 10) == 8 else {
            throw fault(.meta, page, base + 10, "this is not marked as a meta page")
        }
    }

    private static func checkTransactions(
        _ zero: FileMeta, _ one: FileMeta
    ) throws(StructureError) {
        if zero.transaction == 0, one.transaction == 0 {
            for meta in [zero, one] where meta.lastPage != 1 || !meta.isEmpty {
                throw fault(.transactions, meta.slot, 144, "records without a transaction")
            }
            return
        }
        let (low, high) = (
            min(zero.transaction, one.transaction), max(zero.transaction, one.transaction)
        )
        guard zero.transaction % 2 == 0, one.transaction % 2 == 1, high - low == 1 else {
            throw fault(
                .transactions, 0, 144,
                "transactions \(zero.transaction) and \(one.transaction) are no neighbours")
        }
    }

    private var isEmpty: Bool {
        free.root == FileMeta.noPage && main.root == FileMeta.noPage
    }

    static func fault(
        _ code: StructureError.Code, _ page: UInt64, _ offset: Int, _ message: String
    ) -> StructureError {
        StructureError(code: code, page: page, offset: UInt64(offset), message: message)
    }
}

extension FileMeta.Pair {
    /// Every commit copies the main tree's root and so frees the old one, under its own number. A
    /// newest meta without that is an older one whose number was changed.
    func checkNewestFreed(_ lastFreed: UInt64?) throws(StructureError) {
        guard older.transaction > 0, older.main.root != FileMeta.noPage else { return }
        guard lastFreed == newest.transaction else {
            throw FileMeta.fault(
                .transactions, newest.slot, Int(newest.slot) * newest.pageSize + 144,
                "transaction \(newest.transaction) has freed nothing, so it is not the newest")
        }
    }
}
