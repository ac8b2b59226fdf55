import TallyCore
import TallyStore

/// A record taken entry by entry, for the machines that change what a disk holds at chosen instants: the
/// model of the disk, what was promised by then, and the images made into files.
struct RecordWalk {
    let workload: Workload
    let share: UInt64
    let shares: UInt64
    let disk: CrashDisk
    let entries: [TraceEntry]
    private(set) var model = DiskModel()
    private(set) var promises = Promises()
    /// What comes before was preparation; a workload that has none works from the start.
    private(set) var isWorking: Bool

    /// - Parameter arguments: Workload, record, root, share, shares, and the option `--disk`.
    init(_ arguments: Arguments) throws {
        workload = try Workload.named(arguments.name(0, "the workload"))
        isWorking = workload == .creation
        guard let share = UInt64(try arguments.name(3, "the share")),
            let shares = UInt64(try arguments.name(4, "the shares")), share < shares
        else { throw UsageError(description: "the share is a number below that of shares") }
        self.share = share
        self.shares = shares
        disk = try CrashDisk(arguments.text("--disk") ?? "")
        entries = TraceEntry.killedInsideFlush(
            try TraceEntry.read(
                arguments.name(1, "the record"), root: arguments.name(2, "the root")))
    }

    static func path(_ shard: String) -> String { "\(PowerWorker.ledger)/shards/\(shard)" }

    /// Takes an entry; a write that flushes itself is written and not flushed until ``flushed(_:)``.
    mutating func take(_ entry: TraceEntry) throws {
        if case .line(let line) = entry {
            promises.take(line)
            if line.hasPrefix("working ") { isWorking = true }
        }
        try model.take(entry)
    }

    mutating func flushed(_ file: UInt64) { model.flushLastWrite(file) }

    /// The shard whose log a file is.
    func shard(ofLog file: UInt64) -> String? {
        workload.shards.first { model.inode(Self.path($0) + "/data.mdb") == file }
    }

    /// Makes a disk hold the image of a shard, beside the manifest.
    func hold(
        _ contents: [(path: String, bytes: [UInt8]?)], of shard: String, on disk: CrashDisk? = nil
    ) throws -> Ledger {
        let disk = disk ?? self.disk
        try disk.hold(contents, below: Self.path(shard) + "/")
        return try withManifest(disk)
    }

    /// Makes the disk hold the images of several shards.
    func hold(
        _ shards: [(name: String, contents: [(path: String, bytes: [UInt8]?)])]
    ) throws -> Ledger {
        var all: [(path: String, bytes: [UInt8]?)] = []
        for shard in shards {
            all.append((shard.name, nil))
            for (path, bytes) in shard.contents { all.append((shard.name + "/" + path, bytes)) }
        }
        try disk.hold(all, below: PowerWorker.ledger + "/shards/")
        return try withManifest(disk)
    }

    /// The manifest is as durable as the promise that the ledger is made.
    private func withManifest(_ disk: CrashDisk) throws -> Ledger {
        guard let inode = model.inode(PowerWorker.ledger + "/ledger.json"),
            let file = model.files[inode]
        else { throw UsageError(description: "the record has no manifest") }
        let ledger = disk.root + "/" + PowerWorker.ledger
        try disk.write(file.durable, to: ledger + "/ledger.json")
        return try Ledger(ledger)
    }
}

/// Counts by name, added up over workers.
struct Tally {
    private(set) var counts: [String: Int] = [:]

    subscript(_ name: String) -> Int { counts[name] ?? 0 }

    /// All of them, for a person.
    var text: String {
        counts.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }.joined(separator: "; ")
    }

    mutating func add(_ name: String, _ count: Int = 1) { counts[name, default: 0] += count }

    /// For the parent: one line each.
    func say() {
        for (name, count) in counts.sorted(by: { $0.key < $1.key }) {
            Lines.say("count \(count) \(name)")
        }
    }

    /// - Returns: False for a line that is no count.
    mutating func take(_ line: some StringProtocol) -> Bool {
        let words = line.split(separator: " ", maxSplits: 2)
        guard words.count == 3, words[0] == "count", let count = Int(words[1]) else { return false }
        add(String(words[2]), count)
        return true
    }
}
