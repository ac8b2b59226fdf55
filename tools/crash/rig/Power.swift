import Foundation
import TallyStore

/// The power machine: every workload is recorded once, then every state in which a loss of power at any
/// instant may leave its disk is made and opened by the code of production.
enum Power {
    /// `power --library DIR [--only WORKLOAD] [--rounds N] [--samples N] [--disk DIR] [--kept DIR]`:
    /// makes and opens every crash image of every workload.
    static func run(_ arguments: [String]) throws -> Int32 {
        try attack("power", Workload.allCases, arguments) { all in
            "\(all["instants"]) instants, \(all["images"]) images, \(all["different"]) different"
                + " ones, \(all["bad"]) bad"
        }
    }

    /// `tears --library DIR [--count N]`: tears the meta pages of three workloads at will.
    static func tears(_ arguments: [String]) throws -> Int32 {
        try attack("tears", [.single, .batch, .twoShards], arguments) { $0.text }
    }

    /// `lying --library DIR`: a disk ignores the flushes of some commits.
    static func lying(_ arguments: [String]) throws -> Int32 {
        try attack("lying", [.single, .snapshots, .mark, .recovery, .twoShards], arguments) {
            $0.text
        }
    }

    /// `together --library DIR [--samples N]`: all shards after one loss of power, run until they settle.
    static func together(_ arguments: [String]) throws -> Int32 {
        try attack("together", [.creation, .recovery, .twoShards, .live], arguments) { all in
            "\(all["instants"]) instants, \(all["images"]) images, \(all["bad"]) bad"
        }
    }

    /// Records workloads, has two workers attack each, and adds up what they say.
    private static func attack(
        _ machine: String, _ workloads: [Workload], _ arguments: [String],
        _ text: (Tally) -> String
    ) throws -> Int32 {
        let arguments = try Arguments(
            arguments,
            options: [
                "--library", "--only", "--rounds", "--samples", "--disk", "--kept", "--count",
            ])
        guard let libraries = arguments.text("--library") else {
            throw UsageError(description: "--library names the directory of trace.so")
        }
        let place = try arguments.text("--disk") ?? temporary()
        defer { Files.removeTree(place) }
        let chosen = workloads.filter {
            arguments.text("--only") == nil || arguments.text("--only") == $0.rawValue
        }
        var options: [String] = []
        if machine == "power" {
            options = ["--samples", arguments.text("--samples") ?? "512"]
            if let kept = arguments.text("--kept") { options += ["--kept", kept] }
        } else if machine == "together" {
            options = ["--samples", arguments.text("--samples") ?? "4"]
        } else if machine == "tears" {
            let count = try arguments.number("--count", default: 40_000)
            options = ["--count", "\(count / max(1, chosen.count))"]
        }
        let began = Date()
        var total = Tally()
        var isGood = true
        for workload in chosen {
            let began = Date()
            let record = try record(
                workload, in: place, library: libraries + "/trace.so",
                rounds: arguments.text("--rounds"))
            let (tally, isSound) = try examine(machine, workload, record, in: place, options)
            Files.removeTree(place + "/" + workload.rawValue)
            Files.remove(record)
            Lines.say("\(machine) \(workload.rawValue): \(text(tally)), \(seconds(since: began))")
            for (name, count) in tally.counts { total.add(name, count) }
            isGood = isGood && isSound
        }
        Lines.say("\(machine) in all: \(text(total)), \(seconds(since: began))")
        return isGood ? 0 : 1
    }

    private static func seconds(since began: Date) -> String {
        String(format: "%.1f s", Date().timeIntervalSince(began))
    }

    /// A place in memory where there is one: images are made and thrown away.
    private static func temporary() throws -> String {
        let base = Files.isDirectory("/dev/shm") ? "/dev/shm" : NSTemporaryDirectory()
        let place = base + "/crash-rig-\(ProcessInfo.processInfo.processIdentifier)"
        Files.removeTree(place)
        try Files.makeDirectory(place)
        return place
    }

    /// Runs a workload, what prepares it included, under the recording library.
    ///
    /// - Returns: The record's path.
    private static func record(
        _ workload: Workload, in place: String, library: String, rounds: String?
    ) throws -> String {
        let root = place + "/" + workload.rawValue
        try Files.makeDirectory(root)
        let record = root + ".record"
        Files.remove(record)
        let ledger = root + "/" + PowerWorker.ledger
        for verb in ["prepare", "work"] {
            var arguments = [verb, workload.rawValue, ledger]
            if verb == "work", let rounds { arguments += ["--rounds", rounds] }
            let (status, _) = try Child.run(
                arguments,
                environment: [
                    "LD_PRELOAD": library, "CRASH_TRACE": record, "CRASH_ROOT": root,
                ])
            guard status == 0 else {
                throw UsageError(description: "\(verb) \(workload.rawValue) ended with \(status)")
            }
        }
        try compare(record, root)
        return record
    }

    /// Holds the record against what the workload has really left: a call that was not recorded would
    /// make all images wrong.
    private static func compare(_ record: String, _ root: String) throws {
        var model = DiskModel()
        for entry in try TraceEntry.read(record, root: root) { try model.take(entry) }
        func down(_ path: String) throws {
            for name in Files.list(root + path) {
                let inner = path + "/" + name
                if Files.isDirectory(root + inner) {
                    try down(inner)
                } else if name != "lock.mdb" {
                    // The lock file is mapped and written without a call.
                    let inode = model.inode(String(inner.dropFirst()))
                    let modelled = inode.flatMap { model.files[$0] }?.latest
                    guard try modelled == Files.read(root + inner, max: 1 << 31) else {
                        throw UsageError(
                            description: "the record does not lead to what is in \(inner): a call"
                                + " was not recorded")
                    }
                }
            }
        }
        try down("")
    }

    /// - Returns: What the workers counted, and whether none of them found anything.
    private static func examine(
        _ machine: String, _ workload: Workload, _ record: String, in place: String,
        _ options: [String]
    ) throws -> (Tally, Bool) {
        let shares = 2
        var tally = Tally()
        var isSound = true
        var children: [(Child, disk: String)] = []
        for share in 0..<shares {
            let disk = "\(place)/images-\(share)"
            let child = try Child(
                [
                    "\(machine)-worker", workload.rawValue, record,
                    place + "/" + workload.rawValue, "\(share)", "\(shares)", "--disk", disk,
                ] + options, environment: [:])
            children.append((child, disk))
        }
        for (child, disk) in children {
            let (status, output) = child.wait()
            for line in output.split(separator: "\n") where !tally.take(line) {
                Lines.say("\(machine): \(line)")
            }
            isSound = isSound && status == 0
            if status > 1 {
                let last = (try? Files.read(disk + ".last", max: 1 << 20)) ?? []
                Lines.say(
                    "\(machine): finding a worker ended with \(status) at "
                        + String(decoding: last, as: UTF8.self))
            }
            Files.removeTree(disk)
            Files.remove(disk + ".last")
            Files.remove(disk + ".mark")
        }
        return (tally, isSound)
    }
}
