import Foundation
import TallyCore
import TallyStore
import TallyVenue

/// `fault-limits`: what a machine does to a process besides failing its calls: a full disk, limits on file
/// sizes, open files and address space, a stopped writer with somebody waiting for its place, a closed
/// standard output, a second opener, and a log that is taken away while it is written.
///
/// As with `faults`: success, or an error of the store's in time; nothing lost; it goes on afterwards.
enum FaultLimits {
    static func run(_ arguments: [String]) throws -> Int32 {
        let options = try FaultOptions(Arguments(arguments, options: FaultOptions.names))
        defer { Files.removeTree(options.scratch) }
        let trials = FaultTrials(options)
        for (name, trial) in [
            ("full disk", trials.fullDisk), ("file size", trials.fileSize),
            ("open files", trials.openFiles), ("address space", trials.addressSpace),
            ("stopped writer", trials.stoppedWriter), ("closed output", trials.closedOutput),
            ("second opener", trials.secondOpener), ("log taken away", trials.takenAway),
        ] {
            let began = Date()
            let note = try trial()
            Lines.say(
                "fault-limits \(name): \(note), "
                    + "\(String(format: "%.1f", Date().timeIntervalSince(began))) s")
        }
        Lines.say("fault-limits: \(trials.tally.failureCount) broke a promise")
        return trials.tally.failureCount == 0 ? 0 : 1
    }

    /// `limited LIMIT VALUE VERB...`: a verb of this program under a limit of the system's.
    static func limited(_ arguments: [String]) throws -> Int32 {
        guard arguments.count > 2, let value = UInt64(arguments[1]),
            let verb = Main.verbs.first(where: { $0.name == arguments[2] })?.verb
        else { throw UsageError(description: "say: limited file-size|files|space VALUE VERB ...") }
        let resource: Int32
        switch arguments[0] {
        case "file-size":
            // As the command does; without it the signal ends the process.
            signal(SIGXFSZ, SIG_IGN)
            resource = Int32(RLIMIT_FSIZE.rawValue)
        case "file-size-deadly": resource = Int32(RLIMIT_FSIZE.rawValue)
        case "files": resource = Int32(RLIMIT_NOFILE.rawValue)
        case "space": resource = Int32(RLIMIT_AS.rawValue)
        default: throw UsageError(description: "there is no limit \(arguments[0])")
        }
        var limit = rlimit(rlim_cur: rlim_t(value), rlim_max: rlim_t(value))
        guard unsafe setrlimit(resource, &limit) == 0 else {
            throw UsageError(description: "the limit cannot be set")
        }
        return try verb(Array(arguments.dropFirst(3)))
    }

    /// `bereft HOW DIR`: writes, has its log taken away, and writes on.
    static func bereft(_ arguments: [String]) throws -> Int32 {
        let arguments = try Arguments(arguments)
        let how = try arguments.name(0, "how")
        let ledger = try Ledger(try arguments.name(1, "the ledger's directory"))
        guard let shard = ledger.shards.id(of: "collateral-0") else { return 2 }
        let runner = try Runner(ledger)
        try runner.perform(.deposit(account: 1, amount: 1), on: shard)
        try runner.flush()
        let path = ledger.dataPath(of: shard)
        let bytes = try Files.read(path, max: 1 << 30)
        switch how {
        case "removed": Files.remove(path)
        case "replaced": try Files.replace(path, with: bytes)
        case "renamed":
            try Files.rename(path, to: path + ".old")
            try Scratch.write(bytes, to: path)
        default: throw UsageError(description: "there is no way \(how) to take a log away")
        }
        try runner.perform(.deposit(account: 1, amount: 1), on: shard)
        try runner.flush()
        Lines.complain("bereft: it was released into nothing")
        return 1
    }
}

/// The trials, one after the other; each gives a note on what it did.
private final class FaultTrials {
    let tally = FaultTally()
    private let options: FaultOptions

    init(_ options: FaultOptions) { self.options = options }

    /// Runs the workload once under something, and goes on without it.
    ///
    /// - Returns: Whether it had an effect.
    private func attempt(
        _ name: String, _ bench: FaultBench, deadly: Int32? = nil, then: () -> Void = {},
        _ run: () throws -> Ended
    ) throws -> Bool {
        let ended = try run()
        let complaint = bench.complaint
        then()
        switch ended {
        case .exit(0): break
        case .exit(3) where !complaint.contains("untyped"): break
        case .signal(let number) where number == deadly: break
        default: tally.fail("fault-limits \(name): \(ended.text): \(complaint)")
        }
        try bench.forgetComplaint()
        let recovered = try bench.recover("none")
        if recovered != .exit(0) {
            tally.fail("fault-limits \(name): then \(recovered.text): \(bench.complaint)")
        }
        return ended != .exit(0)
    }

    private func limited(
        _ limit: String, _ values: [Int], _ workloads: [Workload], deadly: Int32? = nil
    ) throws -> String {
        var (runs, struck) = (0, 0)
        for workload in workloads {
            let bench = try FaultBench(options, workload, 0)
            for value in values {
                try bench.begin()
                runs += 1
                let name = "\(limit) \(value), \(workload.rawValue)"
                if try attempt(name, bench, deadly: deadly, { try bench.work(under: limit, value) })
                {
                    struck += 1
                }
            }
        }
        if struck == 0 { tally.fail("fault-limits \(limit): no run was struck") }
        return "\(runs) runs, \(struck) were struck"
    }

    // MARK: Limits

    func fullDisk() throws -> String {
        let place = options.scratch + "/full"
        try Files.makeDirectory(place)
        guard try system("mount", "-t", "tmpfs", "-o", "size=2m", "tally-crash", place) else {
            return "left out: a small file system cannot be mounted here; the limit on file sizes"
                + " stands for it"
        }
        defer { _ = try? system("umount", place) }
        var (runs, struck) = (0, 0)
        for workload in [Workload.single, .creation, .twoShards, .snapshots, .live] {
            let bench = try FaultBench(options, workload, 0, in: place + "/run")
            for left in 0..<48 {
                try bench.begin()
                try fill(place + "/ballast", leaving: left * 4096)
                runs += 1
                let name = "full disk but for \(left) pages, \(workload.rawValue)"
                let isStruck = try attempt(
                    name, bench, then: { Files.remove(place + "/ballast") },
                    { try bench.work("none") })
                if isStruck { struck += 1 }
            }
        }
        if struck == 0 { tally.fail("fault-limits full disk: no run was struck") }
        return "\(runs) runs on a file system of 2 MiB, \(struck) were struck"
    }

    private func fill(_ path: String, leaving count: Int) throws {
        let opened = unsafe open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        guard opened >= 0 else { throw UsageError(description: "cannot make \(path)") }
        defer { close(opened) }
        var length: off_t = 0
        while posix_fallocate(opened, length, 4096) == 0 { length += 4096 }
        _ = ftruncate(opened, max(0, length - off_t(count)))
    }

    func fileSize() throws -> String {
        // Every length around that of the log, odd ones too: a write is cut at any byte.
        let values = Array(stride(from: 4096, through: 131_072, by: 3 * 1024 + 7))
        let said = try limited("file-size", values, [.single, .twoShards, .live, .creation])
        let deadly = try limited(
            "file-size-deadly", values.filter { $0 % 2 == 0 }, [.single, .live], deadly: SIGXFSZ)
        return "\(said); with the signal, \(deadly)"
    }

    func openFiles() throws -> String {
        try limited("files", Array(3...24), [.single, .twoShards, .snapshots])
    }

    func addressSpace() throws -> String {
        try limited("space", [4, 64, 255, 400, 1000].map { $0 << 30 }, [.single, .twoShards])
    }

    // MARK: Others

    func stoppedWriter() throws -> String {
        let stops = 24
        var refused = 0
        for number in 0..<stops {
            let workload: Workload = number % 2 == 0 ? .twoShards : .live
            let bench = try FaultBench(options, workload, 0, rounds: 1_000_000)
            try bench.begin()
            let writer = try bench.start("none")
            let name = "stopped writer \(number), \(workload.rawValue)"
            guard wait(until: { bench.releases > 3 }) else {
                tally.fail("fault-limits \(name): no release")
                return "no release"
            }
            usleep(UInt32(number * 97 % 1000))
            kill(writer, SIGSTOP)
            let taken = try bench.recover("none")
            let said = bench.complaint
            if taken == .exit(3), said.contains("held"), said.contains("process \(writer)") {
                refused += 1
            } else {
                tally.fail("fault-limits \(name): beside it, \(taken.text): \(said)")
            }
            if number % 3 == 0 {
                // It was only away: it goes on where it was.
                kill(writer, SIGCONT)
                let before = bench.releases
                if !wait(until: { bench.releases > before + 3 }) {
                    tally.fail("fault-limits \(name): it does not go on")
                }
            }
            kill(writer, SIGKILL)
            guard try bench.wait() == .killed else {
                tally.fail("fault-limits \(name): it was not there to be killed")
                continue
            }
            try bench.forgetComplaint()
            let recovered = try bench.recover("none")
            if recovered != .exit(0) {
                tally.fail("fault-limits \(name): then \(recovered.text): \(bench.complaint)")
            }
        }
        return "\(stops) stops, \(refused) refusals that name the process"
    }

    private func wait(until condition: () -> Bool) -> Bool {
        for _ in 0..<5000 {
            if condition() { return true }
            usleep(1000)
        }
        return false
    }

    func closedOutput() throws -> String {
        var deaths = 0
        for count in stride(from: 100, through: 6000, by: 650) {
            let bench = try FaultBench(options, .twoShards, 0, rounds: 1_000_000)
            try bench.begin()
            var ends: [Int32] = [0, 0]
            guard unsafe pipe(&ends) == 0 else { throw UsageError(description: "no pipe") }
            _ = fcntl(ends[0], F_SETFD, FD_CLOEXEC)
            let writer = try spawn(
                ["work", "two-shards", bench.run + "/ledger", "--rounds", "1000000"],
                ["SWIFT_BACKTRACE=enable=no"], [(ends[1], 1)])
            close(ends[1])
            let handle = FileHandle(fileDescriptor: ends[0])
            var said: [UInt8] = []
            while said.count < count, let part = try handle.read(upToCount: 512), !part.isEmpty {
                said += part
            }
            try handle.close()
            var status: Int32 = 0
            _ = unsafe waitpid(writer, &status, 0)
            let ended = Ended(status: status)
            if ended == .signal(SIGPIPE) {
                deaths += 1
            } else {
                tally.fail("fault-limits closed output: \(ended.text)")
            }
            // What nobody read was begun all the same.
            try bench.hear(Array("unannounced\n".utf8) + said)
            let recovered = try bench.recover("none")
            if recovered != .exit(0) {
                tally.fail("fault-limits closed output: \(recovered.text): \(bench.complaint)")
            }
        }
        return "\(deaths) deaths, as by a kill"
    }

    func secondOpener() throws -> String {
        let bench = try FaultBench(options, .single, 0)
        try bench.begin()
        let path = bench.run + "/ledger"
        let link = bench.run + "/link"
        guard unsafe symlink(path, link) == 0 else { throw UsageError(description: "no link") }
        let shard = ShardID(1)
        for _ in 0..<2 {
            let first = try Ledger(path).openForWriting(shard, durability: .power)
            for second in [path, link] {
                do {
                    _ = try Ledger(second).openForWriting(shard, durability: .power)
                    tally.fail("fault-limits second opener: \(second) was opened twice")
                } catch let error as StoreError {
                    if error.code != .held || !error.text.contains("process \(getpid())") {
                        tally.fail("fault-limits second opener: \(error.code): \(error)")
                    }
                }
            }
            try first.log.close()
        }
        return "refused by both paths, and free once the first one has closed"
    }

    func takenAway() throws -> String {
        let ways = ["removed", "replaced", "renamed"]
        let bench = try FaultBench(options, .single, 0)
        for way in ways {
            try bench.begin()
            let ended = try bench.run(["bereft", way, "ledger"])
            let said = bench.complaint
            if ended != .exit(3) || !said.contains("missingShard") {
                tally.fail("fault-limits log \(way): \(ended.text): \(said)")
            }
        }
        return ways.joined(separator: ", ")
    }

    private func system(_ program: String, _ arguments: String...) throws -> Bool {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = [program] + arguments
        process.standardError = FileHandle.nullDevice
        try process.run()
        process.waitUntilExit()
        return process.terminationStatus == 0
    }
}
