import Foundation
import TallyAudit
import TallyCore
import TallyRuntime
import TallyStore
import TallyVenue

/// Opens what a killed or failing process has left, as an application would, and goes on with it.
///
/// Before, after the recovery, and after it was closed in good order: the whole file's structure, every
/// released commit with its position and head, nothing that was never begun, an unbroken chain, no
/// anomaly, and a mark that the log holds and that is not behind what was released. In between: a
/// session on every shard, everything pending settled, one more command. At the end: every level of
/// verification is clean (so no effect is there twice, and every half has its other half), the second
/// opening finds the same end, and the state from its snapshot equals the fold from the beginning.
enum Recovered {
    /// `recovered NAME DIR SAID`: what the workload and the recoveries before this one said is in the
    /// file SAID, to which this run's own output has to be appended.
    static func run(_ arguments: [String]) throws -> Int32 {
        let arguments = try Arguments(arguments)
        let workload = try Workload.named(arguments.name(0, "the workload"))
        let directory = try arguments.name(1, "the ledger's directory")
        let said = try arguments.name(2, "the file with what was said")
        do {
            let before = promises(said)
            if Files.exists(directory) {
                try examine(Ledger(directory), before)
            } else if before.isMade {
                throw Finding("the ledger was made, and is not there")
            }
            let ledger = try workload.ledger(directory)
            try goOn(ledger, workload)
            try examine(ledger, promises(said))
            try openAgain(ledger)
        } catch let finding as Finding {
            Lines.complain("finding: \(finding)")
            return 1
        }
        return 0
    }

    struct Finding: Error, CustomStringConvertible {
        var description: String
        init(_ description: String) { self.description = description }
    }

    static func promises(_ path: String) -> Promises {
        var promises = Promises()
        for line in Scratch.text(path).split(separator: "\n") { promises.take(line) }
        return promises
    }

    private static func goOn(_ ledger: Ledger, _ workload: Workload) throws {
        let runner = try Runner(ledger)
        // What is sent again has its pace on the counted clock; there is no more than this to wait for.
        if workload.shards.count > 1 { try runner.settle() }
        guard let shard = ledger.shards.id(of: "collateral-0") else {
            throw Finding("the ledger has no shard collateral-0")
        }
        try runner.perform(.deposit(account: 1, amount: 1), on: shard)
        try runner.flush()
        try runner.close()
    }

    /// Reads a ledger at rest.
    static func examine(_ ledger: Ledger, _ promises: Promises) throws {
        for shard in ledger.shards.all {
            let name = ledger.shards.name(of: shard)
            _ = try ledger.checkStructure(shard)
            let log = try ledger.openForReading(shard, depth: .whole)
            defer { try? log.close() }
            let promise = promises.shards[name] ?? Promises.Shard()
            var kept = 0
            try log.forEachCommit(from: Offset(1)) { commit in
                let (last, head) = (commit.lastOffset.rawValue, commit.head)
                if let released = promise.released[last] {
                    guard released == head else {
                        throw Finding("\(name)@\(last) was released, and is another commit now")
                    }
                    kept += 1
                }
                if promises.knowsAll, promise.begun[last]?.contains(head) != true {
                    throw Finding("the commit that ends at \(name)@\(last) was never begun")
                }
                return true
            }
            guard kept == promise.released.count else {
                throw Finding(
                    "\(promise.released.count) released ends of \(name), \(kept) of them are there;"
                        + " the log ends at \(try log.end().offset.rawValue)")
            }
            var state = ShardState<Venue>(context: ledger.context(shard), manifest: ledger.manifest)
            try state.fold(log, checksChain: true)
            guard state.messaging.anomalyCount == 0 else {
                throw Finding("the log of \(name) folds to an anomaly")
            }
            let mark = Mark.read(ledger.markPath(of: shard))
            if let conflict = try Ledger.compare(mark, try log.end(), log, name) { throw conflict }
            guard (mark?.position.offset.rawValue ?? 0) >= promise.markedThrough else {
                throw Finding(
                    "the mark of \(name) is at \(mark?.position.offset.rawValue ?? 0), but"
                        + " \(promise.markedThrough) was released")
            }
        }
    }

    private static func openAgain(_ ledger: Ledger) throws {
        for shard in ledger.shards.all {
            let name = ledger.shards.name(of: shard)
            var whole = ShardState<Venue>(context: ledger.context(shard), manifest: ledger.manifest)
            let log = try ledger.openForReading(shard)
            try whole.fold(log)
            try log.close()
            let again = try ledger.openForWriting(shard, durability: .power)
            guard again.end == whole.position, again.wasClean else {
                throw Finding("the second opening of \(name) finds another end, or an unclean one")
            }
            let opened = try ShardState<Venue>.opened(ledger, shard, again.log) { _ in }
            guard opened.messagingDigest == whole.messagingDigest,
                opened.applicationDigest == whole.applicationDigest
            else {
                throw Finding("the state of \(name) from a snapshot is not the fold of its log")
            }
            try again.log.close()
        }
        let report = try Verify.run(Venue.self, AuditLedger(ledger))
        guard report.findings.isEmpty, !report.isPartial else {
            throw Finding(
                "verify is not clean: "
                    + (report.findings.map(\.text) + report.notChecked).joined(separator: "; "))
        }
    }
}
