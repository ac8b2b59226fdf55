/// One branch or leaf page, in memory that holds all of it.
///
///     +0 page number 8 | pad 2 | flags 2 (1 branch, 2 leaf) | lower 2 | upper 2
///     +16 offsets of the nodes, 2 each, in key order, up to `lower`; free space; from `upper` on
///     nodes, each at an even offset:
///     leaf    value size 4 | flags 2 (1 long value, 2 table) | key size 2 | key | value, or the
///             first page of a long value, 8
///     branch  child, low 32 bits 4 | child, high 16 bits 2 | key size 2 | key; the key of the
///             first node means nothing
///
/// Sound: `init` checks the header and `check` every node, so that all later reads are inside the
/// page; reads are unaligned.
@safe struct TreePage {
    static let headerSize = 16
    static let keySizeMax = 511

    enum Kind: UInt16 {
        case branch = 1
        case leaf = 2
    }

    struct Node {
        let keyStart: Int
        let keySize: Int
        /// Of a leaf.
        let valueSize: Int
        let flags: UInt16
        /// Of a branch.
        let child: UInt64
        var valueStart: Int { keyStart + keySize }
    }

    let start: UnsafeRawPointer
    let size: Int
    let number: UInt64
    let kind: Kind
    let nodeCount: Int
    private let upper: Int

    init(
        _ start: UnsafeRawPointer, size: Int, number: UInt64, _ kind: Kind
    ) throws(StructureError) {
        unsafe self.start = start
        self.size = size
        self.number = number
        self.kind = kind
        let found = unsafe UInt64(littleEndian: start.loadUnaligned(as: UInt64.self))
        let flags = unsafe TreePage.u16(start, 10)
        let lower = Int(unsafe TreePage.u16(start, 12))
        upper = Int(unsafe TreePage.u16(start, 14))
        nodeCount = (lower - TreePage.headerSize) / 2
        func fault(_ offset: Int, _ message: String) -> StructureError {
            StructureError(
                code: .page, page: number, offset: number &* UInt64(size) &+ UInt64(offset),
                message: message)
        }
        guard found == number else { throw fault(0, "the page says it is page \(found)") }
        guard flags == kind.rawValue else {
            throw fault(10, "flags \(flags), where a \(kind) page must be")
        }
        guard lower % 2 == 0, upper % 2 == 0, lower >= TreePage.headerSize, lower <= upper,
            upper <= size
        else { throw fault(12, "free space from \(lower) to \(upper) is not possible") }
        guard nodeCount >= (kind == .leaf ? 1 : 2) else {
            throw fault(12, "a \(kind) page with \(nodeCount) nodes")
        }
    }

    /// Checks that every node is inside the page and none overlaps another.
    ///
    /// - Parameter leafFlags: The bits that a leaf's nodes may have.
    func check(leafFlags: UInt16, _ scratch: NodeScratch) throws(StructureError) {
        // Pages written in order have their nodes in order from the end: no need to mark bytes.
        var end = size
        var isPacked = true
        for index in 0..<nodeCount {
            let offset = offset(index)
            guard offset % 2 == 0, offset >= upper, offset <= size - 8 else {
                throw fault(.node, index, "a node at \(offset)")
            }
            let node = node(index)
            let isFirstOfBranch = kind == .branch && index == 0
            guard node.keySize <= TreePage.keySizeMax, node.keySize > 0 || isFirstOfBranch else {
                throw fault(.node, index, "a key of \(node.keySize) bytes")
            }
            let length = length(node)
            guard length <= size - offset else {
                throw fault(.node, index, "a node that is longer than the page")
            }
            if kind == .leaf {
                guard node.flags & ~leafFlags == 0, node.flags != 3 else {
                    throw fault(.node, index, "node flags \(node.flags)")
                }
                if node.flags == 2, node.valueSize != TreeRecord.byteCount {
                    throw fault(.node, index, "a table described in \(node.valueSize) bytes")
                }
            }
            if offset + (length + 1) & ~1 == end { end = offset } else { isPacked = false }
        }
        if isPacked { return }
        scratch.clear()
        for index in 0..<nodeCount {
            let offset = offset(index)
            guard scratch.mark(offset / 2, (length(node(index)) + 1) / 2) else {
                throw fault(.node, index, "two nodes share bytes")
            }
        }
    }

    private func length(_ node: Node) -> Int {
        guard kind == .leaf else { return 8 + node.keySize }
        return 8 + node.keySize + (node.flags & 1 != 0 ? 8 : node.valueSize)
    }

    private func offset(_ index: Int) -> Int {
        Int(unsafe TreePage.u16(start, TreePage.headerSize + 2 * index))
    }

    @inline(__always)
    func node(_ index: Int) -> Node {
        let offset = offset(index)
        let low = UInt32(littleEndian: unsafe (start + offset).loadUnaligned(as: UInt32.self))
        let flags = unsafe TreePage.u16(start, offset + 4)
        return Node(
            keyStart: offset + 8, keySize: Int(unsafe TreePage.u16(start, offset + 6)),
            valueSize: Int(low), flags: flags, child: UInt64(low) | UInt64(flags) << 32)
    }

    @inline(__always)
    func key(_ node: Node) -> UnsafeRawBufferPointer {
        unsafe UnsafeRawBufferPointer(start: start + node.keyStart, count: node.keySize)
    }

    /// Of a checked node that is a table, or has a long value.
    func valueField(_ node: Node, _ offset: Int = 0) -> UInt64 {
        let start = unsafe start + node.valueStart + offset
        return unsafe UInt64(littleEndian: start.loadUnaligned(as: UInt64.self))
    }

    func value(_ node: Node) -> UnsafeRawBufferPointer {
        unsafe UnsafeRawBufferPointer(start: start + node.valueStart, count: node.valueSize)
    }

    func fault(_ code: StructureError.Code, _ index: Int, _ message: String) -> StructureError {
        StructureError(
            code: code, page: number,
            offset: number &* UInt64(size)
                &+ UInt64(TreePage.headerSize + 2 * index),
            message: "node \(index): \(message)")
    }

    @inline(__always)
    private static func u16(_ start: UnsafeRawPointer, _ offset: Int) -> UInt16 {
        UInt16(littleEndian: unsafe (start + offset).loadUnaligned(as: UInt16.self))
    }
}

/// One bit per two bytes of a page.
final class NodeScratch {
    private var words: [UInt64]

    init(pageSize: Int) {
        words = Array(repeating: 0, count: pageSize / 128)
    }

    func clear() {
        for index in words.indices { words[index] = 0 }
    }

    /// Marks `count` units from `start`, and says whether none was marked.
    func mark(_ start: Int, _ count: Int) -> Bool {
        var position = start
        let end = start + count
        while position < end {
            let bit = position % 64
            let run = min(64 - bit, end - position)
            let mask = (UInt64.max >> UInt64(64 - run)) << UInt64(bit)
            guard words[position / 64] & mask == 0 else { return false }
            words[position / 64] |= mask
            position += run
        }
        return true
    }
}
