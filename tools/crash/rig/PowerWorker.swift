import TallyCore
import TallyStore

/// Goes through one workload's record, makes the crash images of every instant, and examines those that
/// are its share.
///
/// The instants: before each flush takes effect, when most is unflushed (what could be on the disk
/// earlier is among the subsets), after each line that promises something, and at the end.
final class PowerWorker {
    private var walk: RecordWalk
    private let samples: Int
    /// Where images that were refused or broke a promise are kept.
    private let kept: String
    private var instants = 0
    private var images = 0
    private var distinct: Set<UInt64> = []
    private var findings = 0
    /// What the flushed mark of this instant's shard names.
    private var marked = Offset.none

    static let ledger = "ledger"

    /// `power-worker WORKLOAD RECORD ROOT SHARE SHARES`: a part of ``Power``.
    static func run(_ arguments: [String]) throws -> Int32 {
        let arguments = try Arguments(arguments, options: ["--samples", "--disk", "--kept"])
        let worker = PowerWorker(
            walk: try RecordWalk(arguments),
            samples: try arguments.number("--samples", default: 256),
            kept: arguments.text("--kept") ?? "")
        try worker.run()
        var tally = Tally()
        // Both workers make all images, and examine each the half of them.
        if worker.walk.share == 0 {
            tally.add("instants", worker.instants)
            tally.add("images", worker.images)
        }
        tally.add("different", worker.distinct.count)
        tally.add("bad", worker.findings)
        tally.say()
        return worker.findings == 0 ? 0 : 1
    }

    private init(walk: RecordWalk, samples: Int, kept: String) {
        self.walk = walk
        self.samples = samples
        self.kept = kept
    }

    private func run() throws {
        for entry in walk.entries {
            switch entry {
            case .line(let line):
                try walk.take(entry)
                let words = line.split(separator: " ")
                guard let word = words.first,
                    ["made", "opened", "released", "closed"].contains(word)
                else { continue }
                try crash(in: word == "made" ? "" : RecordWalk.path(String(words[1])))
            case .flush(let inode):
                if let path = scope(of: inode) { try crash(in: path) }
                try walk.take(entry)
            case .write(let file, _, _, let isFlushed):
                try walk.take(entry)
                guard isFlushed else { continue }
                if let path = scope(of: file) { try crash(in: path) }
                walk.flushed(file)
            default: try walk.take(entry)
            }
        }
        for name in walk.workload.shards { try crash(in: RecordWalk.path(name)) }
        try crash(in: "")
    }

    /// The part of the disk that a flush concerns; `nil` when there is nothing that it flushes.
    private func scope(of inode: UInt64) -> String? {
        if let file = walk.model.files[inode], file.pending.isEmpty { return nil }
        if let directory = walk.model.directories[inode], directory.pending.isEmpty { return nil }
        guard walk.promises.isMade else { return "" }
        for name in walk.workload.shards {
            let path = RecordWalk.path(name)
            guard let directory = walk.model.inode(path) else { continue }
            if directory == inode || contains(directory, inode) { return path }
        }
        return ""
    }

    private func contains(_ directory: UInt64, _ inode: UInt64) -> Bool {
        let entries = walk.model.directories[directory]?.entries { _ in true } ?? [:]
        return entries.values.contains { $0 == inode || contains($0, inode) }
    }

    /// Makes the images of this instant.
    private func crash(in path: String) throws {
        guard walk.isWorking else { return }
        instants += 1
        let scope = try CrashScope(walk.model, path)
        // The same bytes have to be looked at again once more was promised of them.
        let promised = path.isEmpty ? walk.promises.isMade ? 1 : 0 : self.promised(path)
        let seed = CrashScope.mix(UInt64(instants), 77)
        marked = try flushedMark(in: path)
        try scope.forEachImage(samples: samples, seed: seed) { image in
            images += 1
            let hash = CrashScope.mix(scope.hash(image), promised)
            guard hash % walk.shares == walk.share, distinct.insert(hash).inserted else { return }
            try examine(image, of: scope, hash)
        }
    }

    /// The offset that a shard's mark names, as far as the mark and its name are flushed.
    private func flushedMark(in path: String) throws -> Offset {
        guard !path.isEmpty, let directory = walk.model.inode(path),
            let inode = walk.model.directories[directory]?.durable["mark"],
            let file = walk.model.files[inode]
        else { return .none }
        try walk.disk.write(file.durable, to: walk.disk.root + ".mark")
        return Mark.read(walk.disk.root + ".mark")?.position.offset ?? .none
    }

    private func promised(_ path: String) -> UInt64 {
        let shard = walk.promises.shards[path.split(separator: "/").last.map(String.init) ?? ""]
        guard let shard else { return 0 }
        return UInt64(shard.released.count) << 1 | (shard.isClosed ? 1 : 0)
    }

    private func examine(
        _ image: CrashImage, of scope: CrashScope, _ hash: UInt64
    ) throws {
        let contents = scope.contents(image, variant: hash / walk.shares)
        let ledger = try hold(contents, of: scope, on: walk.disk)
        // For whoever finds this process dead.
        try walk.disk.write(Array(describe(image, scope).utf8), to: walk.disk.root + ".last")
        let found: [String]
        if let ledger, let shard = ledger.shards.id(of: scope.name) {
            found =
                Examination.judge(
                    shard, of: ledger, walk.promises, marked: image.losesMark ? .none : marked
                ).lines
        } else {
            found = Examination.examine(
                walk.disk.root + "/" + Self.ledger, walk.promises, made: walk.workload.shards)
        }
        guard !found.isEmpty else { return }
        findings += 1
        guard findings <= 5 else { return }
        for line in found { Lines.say("finding \(line)") }
        Lines.say("finding   at \(describe(image, scope))")
        if !kept.isEmpty {
            let place = "\(kept)/\(walk.workload.rawValue)-\(walk.share)-\(findings)"
            _ = try hold(contents, of: scope, on: CrashDisk(place))
            Lines.say("finding   kept in \(place)")
        }
    }

    /// Makes a disk hold an image.
    ///
    /// - Returns: The ledger that is there when only a shard of it is in question.
    private func hold(
        _ contents: [(path: String, bytes: [UInt8]?)], of scope: CrashScope, on disk: CrashDisk
    ) throws -> Ledger? {
        guard scope.path.isEmpty else {
            return try walk.hold(contents, of: scope.name, on: disk)
        }
        try disk.hold(contents, below: "")
        return nil
    }

    /// Which image it is, for a person.
    private func describe(_ image: CrashImage, _ scope: CrashScope) -> String {
        let pages = zip(scope.pages, image.versions).map { page, version in
            "\(page.file):\(page.page)=\(version)/\(page.versions.count - 1)"
        }
        let names = zip(scope.names, image.names).map { $1 ? "+" : "-" }.joined()
        let torn = image.torn.map { " torn \(scope.pages[$0.page].page)" } ?? ""
        return
            "\(walk.workload.rawValue) instant \(instants) image \(images) in /\(scope.path): pages"
            + " \(pages.joined(separator: " "))\(torn) names \(names)"
            + (image.isLong ? "" : " short")
    }
}
