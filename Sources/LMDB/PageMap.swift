/// One bit per page: whether something has claimed it.
///
/// Memory is taken where pages are claimed, so a file that merely claims to be huge costs little.
struct PageMap {
    private static let pagesPerChunk: UInt64 = 1 << 18

    private var chunks: [[UInt64]]
    /// Pages below this exist.
    let limit: UInt64
    private(set) var claimed: UInt64 = 0

    init(limit: UInt64) {
        self.limit = limit
        chunks = Array(repeating: [], count: Int(limit / PageMap.pagesPerChunk) + 1)
    }

    /// Claims a page below `limit`, and says whether nobody had.
    mutating func claim(_ page: UInt64) -> Bool {
        let (chunk, word, mask) = PageMap.position(page)
        if chunks[chunk].isEmpty {
            chunks[chunk] = Array(repeating: 0, count: Int(PageMap.pagesPerChunk / 64))
        }
        guard chunks[chunk][word] & mask == 0 else { return false }
        chunks[chunk][word] |= mask
        claimed += 1
        return true
    }

    func contains(_ page: UInt64) -> Bool {
        let (chunk, word, mask) = PageMap.position(page)
        return !chunks[chunk].isEmpty && chunks[chunk][word] & mask != 0
    }

    private static func position(_ page: UInt64) -> (chunk: Int, word: Int, mask: UInt64) {
        (
            Int(page / pagesPerChunk), Int(page % pagesPerChunk / 64),
            UInt64(1) << (page % 64)
        )
    }
}
