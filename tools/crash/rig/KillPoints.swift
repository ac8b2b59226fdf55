import Foundation
import Synchronization
import TallyStore

/// `kill`: SIGKILL at every system call that writes, before it, half-way through it and after it; and
/// again during the recovery that follows.
///
/// Each point is two kills deep: the recovery from the first one is killed as well, at a call that goes
/// round with the number of the point, and then recovered in peace. For the points in `depthTwo` of each
/// workload, the recovery is killed at each of its calls.
enum KillPoints {
    private struct Point: Sendable {
        var call: Int
        var part: String
        var name: String { "\(call):\(part)" }
    }

    /// Where a workload is killed before its recovery is killed at every call: shares of its calls.
    private static let depthTwo = [0.1, 0.5, 0.97]

    static func run(_ arguments: [String]) throws -> Int32 {
        let options = try FaultOptions(Arguments(arguments, options: FaultOptions.names))
        defer { Files.removeTree(options.scratch) }
        let tally = FaultTally()
        for workload in options.workloads { try run(workload, options, tally) }
        let kills = tally.counted("kills")
        Lines.say(
            "kill: \(kills) kills, \(tally.counted("deep")) of them during a recovery, in"
                + " \(Int(tally.seconds)) s, \(Int(Double(kills) / tally.seconds)) a second;"
                + " \(tally.failureCount) broke a promise")
        return tally.failureCount == 0 && kills > 0 ? 0 : 1
    }

    private static func run(
        _ workload: Workload, _ options: FaultOptions, _ tally: FaultTally
    ) throws {
        let began = Date()
        let before = (kills: tally.counted("kills"), deep: tally.counted("deep"))
        let counting = try FaultBench(options, workload, 0)
        let calls = try counting.calls("kill")
        let deep = try counting.callsOfRecovery("kill").count
        let all = points(of: calls)
        let chosen = depthTwo.map { share in
            Point(call: max(1, Int(Double(calls.count) * share)), part: "before")
        }
        let next = Atomic(0)
        try options.onEveryWorker { number in
            let bench = try FaultBench(options, workload, number + 1)
            if let at = options.at {
                if number == 0 { try again(at, workload, bench, tally) }
                return
            }
            while true {
                let index = next.wrappingAdd(1, ordering: .relaxed).oldValue
                if index < all.count {
                    guard index % options.part.count == options.part.index else { continue }
                    // A prime, so that the calls of the recovery go round with no pattern.
                    let second = Point(
                        call: 1 + index * 7919 % max(1, deep), part: parts[index % parts.count])
                    try strike(all[index], then: second, workload, bench, tally)
                } else if index - all.count < chosen.count {
                    try exhaust(chosen[index - all.count], workload, bench, tally)
                } else {
                    return
                }
            }
        }
        Lines.say(
            "kill \(workload.rawValue): \(calls.count) calls, \(all.count) points;"
                + " \(tally.counted("kills") - before.kills) kills,"
                + " \(tally.counted("deep") - before.deep) of them during a recovery of \(deep)"
                + " calls, \(String(format: "%.1f", Date().timeIntervalSince(began))) s")
    }

    private static let parts = ["before", "half", "after"]

    private static func points(of calls: [FaultBench.Call]) -> [Point] {
        let halves: Set = ["write", "truncate", "allocate"]
        return calls.indices.flatMap { index in
            parts.filter { $0 != "half" || halves.contains(calls[index].kind) }.map {
                Point(call: index + 1, part: $0)
            }
        }
    }

    private static func strike(
        _ first: Point, then second: Point, _ workload: Workload, _ bench: FaultBench,
        _ tally: FaultTally
    ) throws {
        let name = "\(workload.rawValue) --at \(first.name)/\(second.name)"
        try bench.begin()
        guard try work(first, name, bench, tally) else { return }
        guard try recover(second, name, bench, tally) != nil else { return }
        try settle(name, bench, tally)
    }

    /// Kills the recovery from one kill at each of its calls.
    private static func exhaust(
        _ first: Point, _ workload: Workload, _ bench: FaultBench, _ tally: FaultTally
    ) throws {
        try bench.begin()
        guard try work(first, "\(workload.rawValue) --at \(first.name)", bench, tally) else {
            return
        }
        let standing = try bench.standing()
        for call in 1... {
            for part in parts {
                try bench.comeBack(to: standing)
                let second = Point(call: call, part: part)
                let name = "\(workload.rawValue) --at \(first.name)/\(second.name)"
                guard let isKilled = try recover(second, name, bench, tally) else { return }
                try settle(name, bench, tally)
                if !isKilled { return }
            }
        }
    }

    /// - Returns: Whether the run ended as it had to.
    private static func work(
        _ point: Point, _ name: String, _ bench: FaultBench, _ tally: FaultTally
    ) throws -> Bool {
        switch try bench.work("kill:\(point.name)") {
        case .killed: tally.count("kills")
        // The live workload does not make the same number of calls each time.
        case .exit(0): tally.count("unreached")
        case let other:
            tally.fail("kill --only \(name): \(other.text): \(bench.complaint)")
            return false
        }
        return true
    }

    /// - Returns: Whether the recovery was killed; `nil` when it ended as it must not.
    private static func recover(
        _ point: Point, _ name: String, _ bench: FaultBench, _ tally: FaultTally
    ) throws -> Bool? {
        switch try bench.recover("kill:\(point.name)") {
        case .killed:
            tally.count("kills")
            tally.count("deep")
            return true
        case .exit(0): return false
        case let other:
            tally.fail("kill --only \(name): recovery: \(other.text): \(bench.complaint)")
            return nil
        }
    }

    private static func settle(_ name: String, _ bench: FaultBench, _ tally: FaultTally) throws {
        let ended = try bench.recover("none")
        if ended != .exit(0) {
            tally.fail("kill --only \(name): last recovery: \(ended.text): \(bench.complaint)")
        }
    }

    /// One point again, as a failure has named it: `CALL:PART/CALL:PART`.
    private static func again(
        _ at: String, _ workload: Workload, _ bench: FaultBench, _ tally: FaultTally
    ) throws {
        let points = at.split(separator: "/").compactMap { text -> Point? in
            let words = text.split(separator: ":")
            guard words.count == 2, let call = Int(words[0]) else { return nil }
            return Point(call: call, part: String(words[1]))
        }
        guard points.count == 2 else {
            throw UsageError(description: "--at takes CALL:PART/CALL:PART, as a failure says it")
        }
        try strike(points[0], then: points[1], workload, bench, tally)
        Lines.say("what was said:")
        Lines.say(bench.record)
    }
}
