import Foundation
import TallyStore

/// The power machine: every workload is recorded once, then every state in which a loss of power at any
/// instant may leave its disk is made and opened by the code of production.
enum Power {
    private struct Total {
        var instants = 0
        var images = 0
        var distinct = 0
        var findings = 0
    }

    /// `power --library DIR [--only WORKLOAD] [--rounds N] [--samples N] [--disk DIR]`
    static func run(_ arguments: [String]) throws -> Int32 {
        let arguments = try Arguments(
            arguments,
            options: ["--library", "--only", "--rounds", "--samples", "--disk", "--kept"])
        guard let libraries = arguments.text("--library") else {
            throw UsageError(description: "--library names the directory of trace.so")
        }
        let place = try arguments.text("--disk") ?? temporary()
        defer { Files.removeTree(place) }
        var total = Total()
        for workload in Workload.allCases
        where arguments.text("--only") == nil || arguments.text("--only") == workload.rawValue {
            let began = Date()
            let record = try record(
                workload, in: place, library: libraries + "/trace.so",
                rounds: arguments.text("--rounds"))
            let counts = try examine(workload, record, in: place, arguments)
            Files.removeTree(place + "/" + workload.rawValue)
            let seconds = Date().timeIntervalSince(began)
            Lines.say(
                "power \(workload.rawValue): \(counts.instants) instants, \(counts.images) images,"
                    + " \(counts.distinct) different ones, \(counts.findings) bad, "
                    + String(format: "%.1f s", seconds))
            total.instants += counts.instants
            total.images += counts.images
            total.distinct += counts.distinct
            total.findings += counts.findings
        }
        Lines.say(
            "power in all: \(total.instants) instants, \(total.images) images, \(total.distinct)"
                + " different ones, \(total.findings) bad")
        return total.findings == 0 ? 0 : 1
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

    private static func examine(
        _ workload: Workload, _ record: String, in place: String, _ arguments: Arguments
    ) throws -> Total {
        let shares = 2
        var total = Total()
        var children: [(Child, disk: String)] = []
        for share in 0..<shares {
            let disk = "\(place)/images-\(share)"
            let child = try Child(
                [
                    "power-worker", workload.rawValue, record, place + "/" + workload.rawValue,
                    "\(share)", "\(shares)", "--disk", disk, "--samples",
                    arguments.text("--samples") ?? "256", "--kept", arguments.text("--kept") ?? "",
                ], environment: [:])
            children.append((child, disk))
        }
        for (child, disk) in children {
            let (status, output) = child.wait()
            var isCounted = false
            for line in output.split(separator: "\n") {
                let words = line.split(separator: " ")
                if words.first == "counts", words.count == 5 {
                    isCounted = true
                    total.instants = Int(words[1]) ?? 0
                    total.images = Int(words[2]) ?? 0
                    total.distinct += Int(words[3]) ?? 0
                    total.findings += Int(words[4]) ?? 0
                } else {
                    Lines.say("power: \(line)")
                }
            }
            if !isCounted {
                total.findings += 1
                let last = (try? Files.read(disk + ".last", max: 1 << 20)) ?? []
                Lines.say(
                    "power: finding a worker died with \(status) at "
                        + String(decoding: last, as: UTF8.self))
            }
            Files.removeTree(disk)
            Files.remove(disk + ".last")
        }
        return total
    }
}
