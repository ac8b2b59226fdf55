#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#else
    internal import Darwin
#endif

/// Walks the trees of one file from the newest meta, in key order, and claims every page it meets.
@safe final class TreeWalk {
    let reader: PageReader
    let pageSize: Int
    /// Pages that the file has bytes for.
    private let filePages: UInt64
    var pages: PageMap
    var freePages: UInt64 = 0
    /// The named tables, found in the main tree.
    private(set) var tables: [TreeRecord] = []

    private let scratch: NodeScratch
    /// A copy of the page at each level of the walk: the reader's memory is lent for one call only.
    private var levels: [UnsafeMutableRawPointer] = unsafe []

    // Of the tree being walked.
    private var role = Role.table
    private var depth = 0
    private var isWhole = true
    private var branchPages: UInt64 = 0
    private var leafPages: UInt64 = 0
    private var overflowPages: UInt64 = 0
    private var entries: UInt64 = 0
    private var lastFreed: UInt64?

    private enum Role {
        case free
        case main
        case table
    }

    /// The keys that a page may hold: from `low` on, up to and without `high`.
    @unsafe private struct Bounds {
        var low: UnsafeRawBufferPointer?
        var high: UnsafeRawBufferPointer?
        /// Whether the page is the first, or the last, of its level.
        var isFirst = true
        var isLast = true
    }

    init(_ reader: PageReader, _ metas: FileMeta.Pair, fileSize: UInt64) throws(StructureError) {
        let newest = metas.newest
        self.reader = reader
        pageSize = newest.pageSize
        filePages = fileSize / UInt64(pageSize)
        scratch = NodeScratch(pageSize: pageSize)
        // Pages past the file's end must be in the free list, and the file must hold that. The
        // other limit is ours: no transaction has so many.
        let listed = min(fileSize / 8, 1 << 24)
        guard newest.lastPage < filePages + listed else {
            throw FileMeta.fault(
                .truncated, newest.slot, Int(newest.slot) * pageSize + 136,
                "the last page is \(newest.lastPage), but the file has \(filePages) pages")
        }
        pages = PageMap(limit: newest.lastPage + 1)
        _ = pages.claim(0)
        _ = pages.claim(1)
    }

    deinit {
        while let level = unsafe levels.popLast() { unsafe level.deallocate() }
    }

    // MARK: Trees

    /// Walks the free tree and claims what it lists; returns the number of the last transaction
    /// that freed pages.
    func free(_ tree: TreeRecord) throws(StructureError) -> UInt64? {
        lastFreed = nil
        try walk(tree, .free, wholly: true)
        return lastFreed
    }

    func main(_ tree: TreeRecord) throws(StructureError) {
        try walk(tree, .main, wholly: true)
    }

    func table(_ tree: TreeRecord, wholly: Bool) throws(StructureError) {
        guard tree.flags == 0, tree.pad == 0 else {
            throw StructureError(
                code: .table, page: tree.page, offset: tree.page &* UInt64(pageSize),
                message: "a table with flags \(tree.flags)")
        }
        try tree.checkRoot(within: pages.limit - 1, offset: tree.page &* UInt64(pageSize))
        try walk(tree, .table, wholly: wholly)
    }

    /// A file may be shorter than its last page says only by pages that are free.
    func checkFileTail() throws(StructureError) {
        var page = filePages
        while page < pages.limit {
            guard pages.contains(page) else {
                throw StructureError(
                    code: .truncated, page: page, offset: page &* UInt64(pageSize),
                    message: "the file ends before this page, which is not free")
            }
            page += 1
        }
    }

    private func walk(_ tree: TreeRecord, _ role: Role, wholly: Bool) throws(StructureError) {
        guard tree.root != FileMeta.noPage else { return }
        self.role = role
        depth = Int(tree.depth)
        isWhole = wholly
        (branchPages, leafPages, overflowPages, entries) = (0, 0, 0, 0)
        try unsafe visit(tree.root, level: 1, Bounds())
        guard wholly else { return }
        for (name, recorded, counted) in [
            ("branch pages", tree.branchPages, branchPages),
            ("leaf pages", tree.leafPages, leafPages),
            ("overflow pages", tree.overflowPages, overflowPages),
            ("records", tree.entries, entries),
        ] where recorded != counted {
            throw StructureError(
                code: .count, page: tree.page, offset: tree.page &* UInt64(pageSize),
                message: "\(counted) \(name) where \(recorded) are recorded")
        }
    }

    // MARK: Pages

    private func visit(
        _ number: UInt64, level: Int, _ bounds: Bounds
    ) throws(StructureError) {
        try claim(number, from: number)
        let lent = unsafe try reader.page(number, size: pageSize)
        guard level < depth else { return try unsafe visitLeaf(number, level, lent, bounds) }

        let page = try unsafe TreePage(copy(lent, level), size: pageSize, number: number, .branch)
        try page.check(leafFlags: 0, scratch)
        try unsafe checkOrder(page, from: 1, bounds)
        branchPages += 1
        for index in 0..<page.nodeCount {
            let isFirst = index == 0
            let isLast = index == page.nodeCount - 1
            var inner = unsafe bounds
            unsafe inner.isFirst = bounds.isFirst && isFirst
            unsafe inner.isLast = bounds.isLast && isLast
            guard unsafe isWhole || inner.isFirst || inner.isLast else { continue }
            // Sound: the keys are in this level's copy, which stays while deeper levels are walked.
            if !isFirst { unsafe inner.low = page.key(page.node(index)) }
            if !isLast { unsafe inner.high = page.key(page.node(index + 1)) }
            try unsafe visit(page.node(index).child, level: level + 1, inner)
        }
    }

    private func visitLeaf(
        _ number: UInt64, _ level: Int, _ lent: UnsafeRawPointer, _ bounds: Bounds
    ) throws(StructureError) {
        var page = try unsafe TreePage(lent, size: pageSize, number: number, .leaf)
        try page.check(leafFlags: role == .main ? 3 : 1, scratch)
        try unsafe checkOrder(page, from: 0, bounds)
        leafPages += 1
        entries += UInt64(page.nodeCount)
        var refers = role == .free
        for index in 0..<page.nodeCount where !refers { refers = page.node(index).flags != 0 }
        guard refers else { return }

        page = try unsafe TreePage(copy(lent, level), size: pageSize, number: number, .leaf)
        for index in 0..<page.nodeCount {
            let node = page.node(index)
            if node.flags & 1 != 0 {
                try visitOverflow(page.valueField(node), valueSize: node.valueSize, from: number)
            } else if node.flags & 2 != 0 {
                let bytes = unsafe [UInt8](page.value(node))
                tables.append(TreeRecord(FieldReader(bytes), 0, page: number))
            }
            if role == .free { try visitFreeList(page, index) }
        }
    }

    private func visitOverflow(
        _ number: UInt64, valueSize: Int, from page: UInt64
    ) throws(StructureError) {
        try claim(number, from: page)
        let start = unsafe try reader.page(number, size: pageSize)
        let found = unsafe UInt64(littleEndian: start.loadUnaligned(as: UInt64.self))
        let flags = unsafe UInt16(littleEndian: (start + 10).loadUnaligned(as: UInt16.self))
        let count = unsafe UInt64(
            littleEndian: UInt64((start + 12).loadUnaligned(as: UInt32.self)))
        let needed = UInt64((TreePage.headerSize - 1 + valueSize) / pageSize + 1)
        guard found == number, flags == 4, count >= needed else {
            throw StructureError(
                code: .overflow, page: number, offset: number &* UInt64(pageSize),
                message: "not the first of \(needed) pages of a long value of page \(page)")
        }
        for next in 1..<max(1, count) { try claim(number + next, from: page) }
        overflowPages += count
    }

    private func claim(_ number: UInt64, from page: UInt64) throws(StructureError) {
        func fault(_ code: StructureError.Code, _ message: String) -> StructureError {
            StructureError(
                code: code, page: number, offset: number &* UInt64(pageSize), message: message)
        }
        guard number >= 2, number < pages.limit else {
            throw fault(.range, "page \(page) refers to page \(number), which does not exist")
        }
        guard number < filePages else {
            throw fault(.truncated, "the file ends before this page, which is in use")
        }
        guard pages.claim(number) else {
            throw fault(.shared, "the page is used twice, or used and free")
        }
    }

    private func copy(_ page: UnsafeRawPointer, _ level: Int) -> UnsafeRawPointer {
        while unsafe levels.count < level {
            unsafe levels.append(.allocate(byteCount: pageSize, alignment: 16))
        }
        // Sound: `page` is a whole page of the reader's, and the levels are pages of our own.
        let target = unsafe levels[level - 1]
        unsafe target.copyMemory(from: page, byteCount: pageSize)
        return UnsafeRawPointer(target)
    }

    // MARK: Order

    private func checkOrder(
        _ page: TreePage, from first: Int, _ bounds: Bounds
    ) throws(StructureError) {
        let isInteger = role == .free
        var previous = unsafe bounds.low
        for index in first..<page.nodeCount {
            let key = unsafe page.key(page.node(index))
            if isInteger, key.count != 8 {
                throw page.fault(.freeList, index, "a transaction of \(key.count) bytes")
            }
            if let low = unsafe previous {
                // The first key of a leaf may be the one in the page above.
                let order = unsafe TreeWalk.compare(low, key, isInteger)
                guard order < 0 || (order == 0 && index == 0) else {
                    throw page.fault(.order, index, "the key is not past the one before it")
                }
            }
            unsafe previous = key
        }
        if let last = unsafe previous, let high = unsafe bounds.high,
            unsafe TreeWalk.compare(last, high, isInteger) >= 0
        {
            throw page.fault(.order, page.nodeCount - 1, "the key belongs to the next page")
        }
    }

    /// Negative, 0 or positive. The free tree's keys are native integers, all others bytes.
    @inline(__always)
    private static func compare(
        _ first: UnsafeRawBufferPointer, _ second: UnsafeRawBufferPointer, _ isInteger: Bool
    ) -> Int {
        if first.count == 8 && second.count == 8 {
            // Sound: both have 8 bytes.
            var (a, b) = unsafe (
                first.loadUnaligned(as: UInt64.self), second.loadUnaligned(as: UInt64.self)
            )
            if !isInteger { (a, b) = (a.byteSwapped, b.byteSwapped) }
            return a < b ? -1 : (a == b ? 0 : 1)
        }
        guard let a = first.baseAddress, let b = second.baseAddress else { return 0 }
        let order = unsafe memcmp(a, b, min(first.count, second.count))
        return order != 0 ? Int(order) : first.count - second.count
    }
}

// MARK: - Free lists

extension TreeWalk {
    /// One record: a count, then so many page numbers, the highest first.
    private func visitFreeList(_ page: TreePage, _ index: Int) throws(StructureError) {
        let node = page.node(index)
        let isLong = node.flags & 1 != 0
        let transaction = unsafe page.key(node).loadUnaligned(as: UInt64.self)
        guard transaction > 0, node.valueSize >= 8, node.valueSize % 8 == 0 else {
            throw page.fault(.freeList, index, "a list of \(node.valueSize) bytes")
        }
        lastFreed = transaction
        let words = UInt64(node.valueSize / 8)
        let start =
            isLong
            ? page.valueField(node) &* UInt64(pageSize) &+ UInt64(TreePage.headerSize) : 0
        var count: UInt64 = 0
        var previous = pages.limit
        var position: UInt64 = 0
        while position < words {
            // A long value may be longer than a block, so it is read in what the reader has.
            var run = words - position
            var source: UnsafeRawPointer
            if isLong {
                let (bytes, available) = unsafe try reader.chunk(at: start + position * 8)
                unsafe source = bytes
                run = min(run, UInt64(available / 8))
            } else {
                unsafe source = unsafe page.start + node.valueStart
            }
            guard run > 0 else { throw page.fault(.truncated, index, "the list is cut short") }
            for _ in 0..<run {
                // Sound: `run` words are in the reader's chunk, or in the checked node.
                let word = unsafe source.loadUnaligned(as: UInt64.self)
                unsafe source += 8
                defer { position += 1 }
                if position == 0 {
                    count = word
                    guard count < words else {
                        throw page.fault(.freeList, index, "the list is too short for its count")
                    }
                } else if position <= count {
                    try claimFree(word, below: previous, page, index)
                    previous = word
                }
            }
        }
    }

    private func claimFree(
        _ number: UInt64, below previous: UInt64, _ page: TreePage, _ index: Int
    ) throws(StructureError) {
        guard number >= 2, number < previous else {
            throw page.fault(.freeList, index, "page \(number) is out of range or out of order")
        }
        guard pages.claim(number) else {
            throw page.fault(.shared, index, "page \(number) is free twice, or free and used")
        }
        freePages += 1
    }
}
