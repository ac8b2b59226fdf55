import TallyCore
import TallyStore

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// What a workload says to the watcher outside: one line per fact, one write(2) per line, so that a line
/// that was read was said before anything that the process did afterwards.
///
///     working NAME                      the preparation is over, the work begins
///     making                            a ledger is about to be made
///     made ID                           it is there, durably
///     opening SHARD                     a shard is about to be opened for writing
///     opened SHARD OFFSET HEAD clean|unclean   its log's end, as the door found it
///     unannounced                       commits will be appended that no line announces
///     appending SHARD FIRST LAST HEAD   a commit is about to be appended
///     refused SHARD LAST HEAD           that commit was refused: it must never be there
///     released SHARD OFFSET HEAD        durable: everything through OFFSET has to be there for ever
///     closed SHARD OFFSET HEAD          closed in good order
///     snapshot SHARD OFFSET             a snapshot was written; disposable, so it promises nothing
///     killed                            prepared, and left as a killed process leaves it
///     settled                           nothing is pending any more
///     done                              the workload is over
enum Lines {
    static func say(_ line: String) { write(line, to: 1) }

    static func complain(_ line: String) { write("crash rig: " + line, to: 2) }

    private static func write(_ line: String, to descriptor: Int32) {
        let bytes = Array((line + "\n").utf8)
        // Sound: the buffer lives for the call. A pipe takes lines of this length whole.
        _ = unsafe bytes.withUnsafeBytes { buffer in
            unsafe writeAll(descriptor, buffer.baseAddress, buffer.count)
        }
    }
}

private func writeAll(_ descriptor: Int32, _ base: UnsafeRawPointer?, _ count: Int) -> Int {
    unsafe write(descriptor, base, count)
}

/// A production log that says what it is about to append.
final class AnnouncingLog: LogStore {
    private let log: LMDBLog
    /// The next commit is this process's last call: what a kill inside its flush leaves.
    var diesAtCommit = false
    private let isQuiet: Bool

    init(_ log: LMDBLog, isQuiet: Bool) {
        self.log = log
        self.isQuiet = isQuiet
    }

    var name: String { log.name }
    func end() throws -> LogPosition { try log.end() }
    func forEachCommit(from offset: Offset, _ body: (CommitView) throws -> Bool) throws {
        try log.forEachCommit(from: offset, body)
    }

    func append(
        _ commit: borrowing CommitBuilder, expecting head: Digest
    ) throws -> LogPosition {
        let end = "\(commit.lastOffset.rawValue) \(Hashing.digest(commit.bytes))"
        if !isQuiet { Lines.say("appending \(name) \(commit.firstOffset.rawValue) \(end)") }
        let position: LogPosition
        do {
            position = try log.append(commit, expecting: head)
        } catch let error as StoreError where error.code == .full || error.code == .moved {
            // By the promise of these two codes nothing was written.
            if !isQuiet { Lines.say("refused \(name) \(end)") }
            throw error
        }
        if diesAtCommit {
            Lines.say("killed")
            exit(0)
        }
        return position
    }

    func flush() throws { log.flush() }
    func close() throws { try log.close() }
}
