import Foundation
import Synchronization
import TallyStore

/// What a machine that strikes at system calls is told: the same options for each of them.
///
///     --library DIR     where fault.c was compiled to
///     --scratch DIR     where the runs take place; in memory unless given, flushes are not tried
///     --workers N       runs at once
///     --only WORKLOAD   only this one
///     --part I/N        only every N-th point, from the I-th on
///     --rounds N        how long each run works; shorter ones make fewer calls of the same kinds
///     --at POINT        one point again, as a failure has named it
struct FaultOptions {
    static let names = [
        "--library", "--scratch", "--workers", "--only", "--part", "--rounds", "--at",
    ]

    let library: String
    let scratch: String
    let workers: Int
    let workloads: [Workload]
    let part: (index: Int, count: Int)
    /// `nil`: as long as each workload does by itself.
    let rounds: Int?
    /// One point, as a failure names it.
    let at: String?

    init(_ arguments: Arguments) throws {
        guard let library = arguments.text("--library") else {
            throw UsageError(description: "--library is missing: tools/crash/run gives it")
        }
        self.library = library + "/fault.so"
        let memory = Files.isDirectory("/dev/shm") ? "/dev/shm" : NSTemporaryDirectory()
        let parent = arguments.text("--scratch") ?? memory
        // Short names: every path of every call is compared with it.
        scratch = parent + "/tally-crash-\(getpid())"
        workers = max(
            1,
            try arguments.number(
                "--workers", default: ProcessInfo.processInfo.activeProcessorCount))
        workloads =
            try arguments.text("--only").map { [try Workload.named($0)] } ?? Workload.allCases
        let numbers = (arguments.text("--part") ?? "0/1").split(separator: "/").map { Int($0) }
        guard numbers.count == 2, let index = numbers[0], let count = numbers[1], count > 0 else {
            throw UsageError(description: "--part takes I/N, such as 0/4")
        }
        part = (index, count)
        rounds =
            arguments.text("--rounds") == nil ? nil : try arguments.number("--rounds", default: 1)
        at = arguments.text("--at")
        try Files.makeDirectory(scratch)
    }

    /// Runs a closure on every worker at once.
    func onEveryWorker(_ body: @Sendable (Int) throws -> Void) throws {
        let failure = Mutex<(any Error)?>(nil)
        DispatchQueue.concurrentPerform(iterations: workers) { worker in
            do { try body(worker) } catch { failure.withLock { $0 = $0 ?? error } }
        }
        if let error = failure.withLock({ $0 }) { throw error }
    }
}

/// One worker's place for the runs of one workload: a ledger laid out anew for each of them.
final class FaultBench {
    private let place: String
    private let image: Image
    private let said: [UInt8]
    private let workload: Workload
    private let library: String
    private var started: pid_t?
    private let worker: FaultServer
    private let recovery: FaultServer

    /// Where the runs are, and the ledger in it.
    let run: String
    /// What they say; beside the run, where no fault is.
    let out: String
    private let err: String

    /// Starts the servers, and prepares the ledger that the workload begins with.
    ///
    /// - Parameters:
    ///   - rounds: How long a run works; as the options say unless given.
    ///   - directory: Where the ledger lies; in the place of this bench unless given.
    init(
        _ options: FaultOptions, _ workload: Workload, _ number: Int, rounds: Int? = nil,
        in directory: String? = nil
    ) throws {
        self.workload = workload
        library = options.library
        place = "\(options.scratch)/\(workload.rawValue)-\(number)"
        try Files.makeDirectory(place)
        run = directory ?? place + "/run"
        out = place + "/out"
        err = place + "/err"
        try Files.makeDirectory(run)
        let name = workload.rawValue
        let preparing = try FaultServer(library: options.library, ["prepare", name, "ledger"])
        let ended = try preparing.run("none", in: run, out: out, err: err)
        guard ended == .exit(0) else {
            throw UsageError(
                description: "\(name) cannot be prepared: \(ended.text): "
                    + Scratch.text(err))
        }
        image = try Image(of: run)
        said = Array(Scratch.text(out).utf8)
        let more = (rounds ?? options.rounds).map { ["--rounds", String($0)] } ?? []
        worker = try FaultServer(library: options.library, ["work", name, "ledger"] + more)
        recovery = try FaultServer(library: options.library, ["recovered", name, "ledger", out])
    }

    deinit {
        Files.removeTree(place)
        Files.removeTree(run)
    }

    /// Lays out the ledger that the workload begins with.
    func begin() throws {
        try image.lay(out: run)
        try Scratch.write(said, to: out)
        try Scratch.write([], to: err)
    }

    /// - Parameter killAfter: Microseconds after which it is killed.
    func work(_ plan: String, killAfter: UInt32? = nil) throws -> Ended {
        try worker.run(plan, in: run, out: out, err: err, killAfter: killAfter)
    }

    /// Starts the work; ``wait()`` has to follow before the next run.
    ///
    /// - Returns: Its process.
    func start(_ plan: String) throws -> pid_t {
        let process = try worker.start(plan, in: run, out: out, err: err)
        started = process
        return process
    }

    func wait() throws -> Ended {
        guard let process = started else { throw UsageError(description: "nothing was started") }
        started = nil
        return try worker.wait(for: process)
    }

    /// The work under a limit of the system's.
    func work(under limit: String, _ value: Int) throws -> Ended {
        try run(["limited", limit, String(value), "work", workload.rawValue, "ledger"])
    }

    /// Another verb of this program.
    func run(_ arguments: [String]) throws -> Ended {
        try FaultServer(library: library, arguments).run("none", in: run, out: out, err: err)
    }

    /// Adds what was said elsewhere.
    func hear(_ lines: [UInt8]) throws {
        try Scratch.write(try Files.read(out, max: 1 << 30) + lines, to: out)
    }

    func recover(_ plan: String) throws -> Ended {
        try recovery.run(plan, in: run, out: out, err: err)
    }

    /// The last line on standard error since the ledger was laid out, and those before it.
    var complaint: String { errors.suffix(3).joined(separator: " / ") }

    /// What was said on standard error, but for what `fault.c` said.
    var errors: [Substring] {
        Scratch.text(err).split(separator: "\n").filter { !$0.hasPrefix("fault: ") }
    }

    /// The call that a fault has struck, as `fault.c` said it.
    var struck: Call? {
        for line in Scratch.text(err).split(separator: "\n") where line.hasPrefix("fault: ") {
            let words = line.split(separator: " ", maxSplits: 2)
            if words.count == 3 { return Call(kind: String(words[1]), path: String(words[2])) }
        }
        return nil
    }

    /// How many releases the runs since then have said.
    var releases: Int {
        Scratch.text(out).split(separator: "\n").count { $0.hasPrefix("released ") }
    }

    /// All that the runs since then have said.
    var record: String { Scratch.text(out) + Scratch.text(err) }

    func forgetComplaint() throws { try Scratch.write([], to: err) }

    /// The calls of a workload that a fault could strike.
    func calls(_ fault: String) throws -> [Call] {
        try begin()
        return try counting(try work("count:\(fault):\(place)/calls"))
    }

    /// The same for the recovery from what is there now.
    func callsOfRecovery(_ fault: String) throws -> [Call] {
        try counting(try recover("count:\(fault):\(place)/calls"))
    }

    private func counting(_ ended: Ended) throws -> [Call] {
        let path = place + "/calls"
        guard ended == .exit(0) else {
            throw UsageError(description: "without a fault, \(ended.text): \(complaint)")
        }
        defer { Files.remove(path) }
        return Scratch.text(path).split(separator: "\n").compactMap { line in
            let words = line.split(separator: " ", maxSplits: 2)
            guard words.count == 3 else { return nil }
            return Call(kind: String(words[1]), path: String(words[2]))
        }
    }

    /// A call that a fault could strike: what it does, as `fault.c` says it, and to which path below the
    /// run's directory.
    struct Call: Sendable {
        var kind: String
        var path: String
    }

    /// What is there now, to come back to.
    struct Standing {
        fileprivate let image: Image
        fileprivate let said: [UInt8]
    }

    func standing() throws -> Standing {
        Standing(image: try Image(of: run), said: Array(Scratch.text(out).utf8))
    }

    func comeBack(to standing: Standing) throws {
        try standing.image.lay(out: run)
        try Scratch.write(standing.said, to: out)
        try Scratch.write([], to: err)
    }
}

/// What a machine has done, counted by all its workers.
final class FaultTally: Sendable {
    private struct State {
        var counts: [String: Int] = [:]
        var failures: [String] = []
        var slowest = 0.0
    }
    private let state = Mutex(State())
    private let began = Date()

    func count(_ what: String, _ number: Int = 1) {
        state.withLock { $0.counts[what, default: 0] += number }
    }

    func took(_ seconds: Double) {
        state.withLock { $0.slowest = max($0.slowest, seconds) }
    }

    /// Says a failure at once: a machine that hangs later has said it.
    func fail(_ text: String) {
        let isShown = state.withLock { state in
            state.failures.append(text)
            return state.failures.count <= 20
        }
        if isShown { Lines.say("FAILED \(text)") }
    }

    func counted(_ what: String) -> Int { state.withLock { $0.counts[what] ?? 0 } }
    var failureCount: Int { state.withLock { $0.failures.count } }
    var slowest: Double { state.withLock { $0.slowest } }
    var seconds: Double { Date().timeIntervalSince(began) }

    /// The rest of a name, and how often it was counted, for every name that begins so.
    func counts(_ prefix: String) -> [(name: String, count: Int)] {
        state.withLock { $0.counts }.filter { $0.key.hasPrefix(prefix) }
            .map { (String($0.key.dropFirst(prefix.count)), $0.value) }.sorted { $0.0 < $1.0 }
    }
}
