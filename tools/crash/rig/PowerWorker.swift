import Foundation
import TallyCore
import TallyStore
import TallyVenue

/// Goes through one workload's record, makes the crash images of every instant, and examines those that
/// are its share.
///
/// The instants: before each flush takes effect, when most is unflushed (what could be on the disk
/// earlier is among the subsets), after each line that promises something, and at the end.
struct PowerWorker {
    let workload: String
    let share: UInt64
    let shares: UInt64
    let samples: Int
    let disk: CrashDisk
    /// Where images that were refused or broke a promise are kept.
    let kept: String
    private var model = DiskModel()
    private var promises = Promises()
    private var isWorking = false
    private var instants = 0
    private var images = 0
    private var distinct: Set<UInt64> = []
    private var findings = 0

    static let ledger = "ledger"

    /// `power-worker WORKLOAD RECORD ROOT SHARE SHARES`: a part of ``Power``.
    static func run(_ arguments: [String]) throws -> Int32 {
        let arguments = try Arguments(arguments, options: ["--samples", "--disk", "--kept"])
        guard let share = UInt64(try arguments.name(3, "the share")),
            let shares = UInt64(try arguments.name(4, "the shares")), share < shares
        else { throw UsageError(description: "the share is a number below that of shares") }
        let entries = try TraceEntry.read(
            arguments.name(1, "the record"), root: arguments.name(2, "the root"))
        var worker = PowerWorker(
            workload: try arguments.name(0, "the workload"), share: share, shares: shares,
            samples: try arguments.number("--samples", default: 256),
            disk: try CrashDisk(arguments.text("--disk") ?? ""),
            kept: arguments.text("--kept") ?? "")
        try worker.run(entries)
        Lines.say(
            "counts \(worker.instants) \(worker.images) \(worker.distinct.count) \(worker.findings)"
        )
        return worker.findings == 0 ? 0 : 1
    }

    private init(
        workload: String, share: UInt64, shares: UInt64, samples: Int, disk: CrashDisk,
        kept: String
    ) {
        self.workload = workload
        self.share = share
        self.shares = shares
        self.samples = samples
        self.disk = disk
        self.kept = kept
        isWorking = workload == Workload.creation.rawValue
    }

    private mutating func run(_ entries: [TraceEntry]) throws {
        for entry in entries {
            switch entry {
            case .line(let line):
                promises.take(line)
                if line.hasPrefix("working ") { isWorking = true }
                guard let word = line.split(separator: " ").first,
                    ["made", "opened", "released", "closed"].contains(word)
                else { continue }
                let words = line.split(separator: " ")
                try crash(in: word == "made" ? "" : Self.path(String(words[1])))
            case .flush(let inode):
                if let path = scope(of: inode) { try crash(in: path) }
                try model.take(entry)
            case .write(let file, _, _, let isFlushed):
                try model.take(entry)
                guard isFlushed else { continue }
                if let path = scope(of: file) { try crash(in: path) }
                model.flushLastWrite(file)
            default: try model.take(entry)
            }
        }
        for name in promises.shards.keys.sorted() { try crash(in: Self.path(name)) }
        if isWorking, workload == Workload.creation.rawValue { try crash(in: "") }
    }

    private static func path(_ shard: String) -> String { "\(ledger)/shards/\(shard)" }

    /// The part of the disk that a flush concerns; `nil` when there is nothing that it flushes.
    private func scope(of inode: UInt64) -> String? {
        if let file = model.files[inode], file.pending.isEmpty { return nil }
        if let directory = model.directories[inode], directory.pending.isEmpty { return nil }
        guard promises.isMade else { return "" }
        for name in Workload(rawValue: workload)?.shards ?? [] {
            let path = Self.path(name)
            guard let directory = model.inode(path) else { continue }
            if directory == inode || contains(directory, inode) { return path }
        }
        return ""
    }

    private func contains(_ directory: UInt64, _ inode: UInt64) -> Bool {
        let entries = model.directories[directory]?.entries { _ in true } ?? [:]
        return entries.values.contains { $0 == inode || contains($0, inode) }
    }

    /// Makes the images of this instant.
    private mutating func crash(in path: String) throws {
        guard isWorking else { return }
        instants += 1
        let scope = try CrashScope(model, path)
        // The same bytes have to be looked at again once more was promised of them.
        let promised = path.isEmpty ? promises.isMade ? 1 : 0 : self.promised(path)
        let seed = CrashScope.mix(UInt64(instants), 77)
        var worker = self
        try scope.forEachImage(samples: samples, seed: seed) { image in
            worker.images += 1
            let hash = CrashScope.mix(scope.hash(image), promised)
            guard hash % worker.shares == worker.share, worker.distinct.insert(hash).inserted else {
                return
            }
            try worker.examine(image, of: scope, hash)
        }
        self = worker
    }

    private func promised(_ path: String) -> UInt64 {
        let shard = promises.shards[path.split(separator: "/").last.map(String.init) ?? ""]
        guard let shard else { return 0 }
        return UInt64(shard.released.count) << 1 | (shard.isClosed ? 1 : 0)
    }

    private mutating func examine(
        _ image: CrashImage, of scope: CrashScope, _ hash: UInt64
    ) throws {
        try hold(image, of: scope, hash, disk)
        // For whoever finds this process dead.
        try disk.write(Array(describe(image, scope).utf8), to: disk.root + ".last")
        let found: [String]
        if scope.path.isEmpty {
            found = Examination.examine(
                disk.root + "/" + Self.ledger, promises,
                made: Workload(rawValue: workload)?.shards ?? [])
        } else {
            let ledger = try Ledger(disk.root + "/" + Self.ledger)
            let name = String(scope.path.split(separator: "/").last ?? "")
            guard let shard = ledger.shards.id(of: name) else {
                throw UsageError(description: "the ledger has no shard \(name)")
            }
            found = Examination.examine(shard, of: ledger, promises)
        }
        guard !found.isEmpty else { return }
        findings += 1
        guard findings <= 5 else { return }
        for line in found { Lines.say("finding \(line)") }
        Lines.say("finding   at \(describe(image, scope))")
        if !kept.isEmpty {
            let place = "\(kept)/\(workload)-\(share)-\(findings)"
            try hold(image, of: scope, hash, CrashDisk(place))
            Lines.say("finding   kept in \(place)")
        }
    }

    private func hold(
        _ image: CrashImage, of scope: CrashScope, _ hash: UInt64, _ disk: CrashDisk
    ) throws {
        var contents = scope.contents(image, variant: hash / shares)
        var prefix = ""
        if !scope.path.isEmpty {
            prefix = scope.path + "/"
            // The manifest is as durable as the promise that the ledger is made.
            guard let manifest = model.inode(Self.ledger + "/ledger.json"),
                let file = model.files[manifest]
            else { throw UsageError(description: "the record has no manifest") }
            try disk.hold(contents, below: prefix)
            try disk.write(file.durable, to: disk.root + "/" + Self.ledger + "/ledger.json")
            contents = []
        } else {
            try disk.hold(contents, below: "")
        }
    }

    /// Which image it is, for a person.
    private func describe(_ image: CrashImage, _ scope: CrashScope) -> String {
        let pages = zip(scope.pages, image.versions).map { page, version in
            "\(page.file):\(page.page)=\(version)/\(page.versions.count - 1)"
        }
        let names = zip(scope.names, image.names).map { $1 ? "+" : "-" }.joined()
        let torn = image.torn.map { " torn \(scope.pages[$0.page].page)" } ?? ""
        return "\(workload) instant \(instants) image \(images) in /\(scope.path): pages"
            + " \(pages.joined(separator: " "))\(torn) names \(names)"
            + (image.isLong ? "" : " short")
    }
}
