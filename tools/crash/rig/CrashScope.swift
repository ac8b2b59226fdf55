import TallyCore

/// A part of the disk at one instant, as far as a power loss may change it: pages that are written and not
/// flushed, directory entries that are not flushed, and the two lengths of each file.
struct CrashScope {
    /// One page of one file with everything that it may hold.
    struct Page {
        let file: UInt64
        let page: Int
        /// What is flushed, then what each write made of it; zeros where there was nothing.
        var versions: [[UInt8]]
        var hashes: [UInt64]
        /// The last write, when it lies within a sector: it may be torn at any eight bytes.
        var small: Range<Int>?
    }

    /// One unflushed directory entry: which directory's, and its place in that directory's list.
    struct Name: Hashable {
        let directory: UInt64
        let index: Int
    }

    let model: DiskModel
    /// The path of the directory that it is, relative to the root; empty: the root.
    let path: String
    /// The last part of it: a shard's name.
    var name: String { path.split(separator: "/").last.map(String.init) ?? "" }
    private let top: UInt64
    private(set) var pages: [Page] = []
    private(set) var names: [Name] = []
    /// Whether a file has another length when nothing is lost.
    private(set) var hasTwoLengths = false
    /// For each file its durable hash, without those of its pages that have versions.
    private var fileHashes: [UInt64: UInt64] = [:]

    /// Files whose content no opening may rely on: they get a variant each, and multiply nothing.
    static func isNoise(_ name: String) -> Bool { name == "writer" || name == "lock.mdb" }

    /// - Parameter path: Of a directory; what lies elsewhere is not looked at.
    init(_ model: DiskModel, _ path: String) throws {
        self.model = model
        self.path = path
        guard let top = path.isEmpty ? 0 : model.inode(path) else {
            throw UsageError(description: "the record has no directory \(path)")
        }
        self.top = top
        var waiting = [top]
        var seen: Set<UInt64> = []
        while let next = waiting.popLast() {
            guard let directory = model.directories[next], seen.insert(next).inserted else {
                continue
            }
            var inodes = directory.durable.filter { !Self.isNoise($0.key) }.map(\.value).sorted()
            for (index, entry) in directory.pending.enumerated() {
                if case .set(let name, let inode) = entry {
                    if Self.isNoise(name) { continue }
                    inodes.append(inode)
                }
                names.append(Name(directory: next, index: index))
            }
            for inode in inodes {
                if model.directories[inode] != nil {
                    waiting.append(inode)
                } else if seen.insert(inode).inserted {
                    addPages(of: inode)
                }
            }
        }
    }

    private mutating func addPages(of inode: UInt64) {
        let file = model.files[inode] ?? DiskModel.File()
        let length = DiskModel.pageLength
        var bytes = file.durable
        var found: [Int: Int] = [:]
        for change in file.pending {
            guard case .write(let offset, let part) = change, !part.isEmpty else {
                DiskModel.apply(change, to: &bytes)
                continue
            }
            let numbers = offset / length...(offset + part.count - 1) / length
            for number in numbers where found[number] == nil {
                found[number] = pages.count
                let old = Self.page(bytes, number)
                pages.append(
                    Page(file: inode, page: number, versions: [old], hashes: [Self.hash(old)]))
            }
            DiskModel.apply(change, to: &bytes)
            for number in numbers {
                guard let at = found[number] else { continue }
                let new = Self.page(bytes, number)
                pages[at].versions.append(new)
                pages[at].hashes.append(Self.hash(new))
                let start = offset % length
                pages[at].small = part.count <= 512 ? start..<start + part.count : nil
            }
        }
        if bytes.count != file.durable.count { hasTwoLengths = true }
        var hash: UInt64 = 0
        for number in 0..<(file.durable.count + length - 1) / length where found[number] == nil {
            hash &+= Self.mix(UInt64(number), Self.hash(Self.page(file.durable, number)))
        }
        fileHashes[inode] = hash
    }

    static func page(_ bytes: [UInt8], _ number: Int) -> [UInt8] {
        let start = number * DiskModel.pageLength
        guard start < bytes.count else {
            return [UInt8](repeating: 0, count: DiskModel.pageLength)
        }
        var page = Array(bytes[start..<min(bytes.count, start + DiskModel.pageLength)])
        page.append(contentsOf: repeatElement(0, count: DiskModel.pageLength - page.count))
        return page
    }

    /// A hash of a page's bytes, to tell images apart.
    static func hash(_ page: [UInt8]) -> UInt64 {
        unsafe page.withUnsafeBytes { bytes in
            var hash: UInt64 = 0x9E37_79B9_7F4A_7C15
            for place in stride(from: 0, to: bytes.count, by: 8) {
                // Sound: a page is a whole number of words.
                let word = unsafe bytes.loadUnaligned(fromByteOffset: place, as: UInt64.self)
                hash = (hash ^ word) &* 0xFF51_AFD7_ED55_8CCD
                hash ^= hash >> 32
            }
            return hash
        }
    }

    static func mix(_ left: UInt64, _ right: UInt64) -> UInt64 {
        var random = SplitMix64(seed: left &* 0xD6E8_FEB8_6659_FD93 ^ right)
        return random.next()
    }
}

/// One state in which a power loss may leave a scope.
struct CrashImage {
    /// For each page of the scope: which of its versions is on the disk.
    var versions: [Int]
    /// A page that holds neither of its versions: torn.
    var torn: (page: Int, bytes: [UInt8])?
    /// For each unflushed name of the scope: whether it is on the disk.
    var names: [Bool]
    /// Whether files have the length that they had when the power went, rather than the flushed one.
    var isLong = true
    /// Both slots of the mark are torn: it may be lost, which an opening says, and makes it anew.
    var losesMark = false
}

extension CrashScope {
    private func entries(_ image: CrashImage, _ directory: UInt64) -> [String: UInt64] {
        guard let found = model.directories[directory] else { return [:] }
        return found.entries { index in
            guard let at = names.firstIndex(of: Name(directory: directory, index: index)) else {
                return true
            }
            return image.names[at]
        }
    }

    /// Every file and directory of an image below the scope: paths relative to it.
    private func walk(_ image: CrashImage, _ visit: (_ path: String, _ inode: UInt64) -> Void) {
        func down(_ prefix: String, _ directory: UInt64) {
            for (name, inode) in entries(image, directory).sorted(by: { $0.key < $1.key }) {
                visit(prefix + name, inode)
                if model.directories[inode] != nil { down(prefix + name + "/", inode) }
            }
        }
        down("", top)
    }

    /// A number that two images share only if they hold the same bytes under the same names.
    func hash(_ image: CrashImage) -> UInt64 {
        var pageHashes: [UInt64: UInt64] = [:]
        for (index, page) in pages.enumerated() {
            var hash = page.hashes[image.versions[index]]
            if let torn = image.torn, torn.page == index { hash = Self.hash(torn.bytes) }
            if isBeyondEnd(page, image) { continue }
            pageHashes[page.file, default: 0] &+= Self.mix(UInt64(page.page), hash)
        }
        var result: UInt64 = 0
        walk(image) { path, inode in
            var hash: UInt64 = 1
            if model.directories[inode] == nil,
                !Self.isNoise(String(path.split(separator: "/").last ?? ""))
            {
                hash = Self.mix(
                    UInt64(length(of: inode, image)),
                    (fileHashes[inode] ?? 0) &+ (pageHashes[inode] ?? 0))
            }
            result &+= Self.mix(Self.hash(Self.page(Array(path.utf8), 0)), hash)
        }
        return result
    }

    private func isBeyondEnd(_ page: Page, _ image: CrashImage) -> Bool {
        page.page * DiskModel.pageLength >= length(of: page.file, image)
    }

    private func length(of inode: UInt64, _ image: CrashImage) -> Int {
        guard let file = model.files[inode] else { return 0 }
        guard image.isLong, !file.pending.isEmpty else { return file.durable.count }
        return file.pending.reduce(file.durable.count) { length, change in
            switch change {
            case .size(let size): size
            case .write(let offset, let bytes): max(length, offset + bytes.count)
            }
        }
    }

    /// The files and directories of an image; `nil` bytes: a directory. What no opening may rely on is
    /// there, not there, zeros or old, whatever the variant says.
    func contents(
        _ image: CrashImage, variant: UInt64
    ) -> [(path: String, bytes: [UInt8]?)] {
        var result: [(path: String, bytes: [UInt8]?)] = []
        walk(image) { path, inode in
            if model.directories[inode] != nil {
                result.append((path, nil))
                return
            }
            guard let file = model.files[inode] else {
                result.append((path, []))
                return
            }
            if Self.isNoise(String(path.split(separator: "/").last ?? "")) {
                switch variant % 4 {
                case 0: return
                case 1: result.append((path, file.durable))
                case 2: result.append((path, [UInt8](repeating: 0, count: file.latest.count)))
                default: result.append((path, file.latest))
                }
                return
            }
            var bytes = file.durable
            DiskModel.apply(.size(length(of: inode, image)), to: &bytes)
            for (index, page) in pages.enumerated() where page.file == inode {
                var content = page.versions[image.versions[index]]
                if let torn = image.torn, torn.page == index { content = torn.bytes }
                let start = page.page * DiskModel.pageLength
                guard start < bytes.count else { continue }
                let end = min(bytes.count, start + DiskModel.pageLength)
                bytes.replaceSubrange(start..<end, with: content[..<(end - start)])
            }
            result.append((path, bytes))
        }
        return result
    }
}
