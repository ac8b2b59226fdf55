import TallyCore
import TallyStore

/// What a workload's lines promise: what has to be in each log, and what may be.
struct Promises: Sendable {
    struct Shard: Sendable {
        /// Ends of commits that were released: each has to be there.
        var released: [UInt64: Digest] = [:]
        var releasedThrough: UInt64 = 0
        /// The last end that was handed out, and not just found at an opening: the mark is not behind.
        var markedThrough: UInt64 = 0
        /// Closed in good order, and not opened since.
        var isClosed = false
        /// Ends of commits that were begun: nothing else may be there.
        var begun: [UInt64: Set<Digest>] = [:]
    }

    /// A ledger was made, durably.
    var isMade = false
    /// Whether every appended commit was announced; a live ledger's are not.
    var knowsAll = true
    var shards: [String: Shard] = [:]

    /// Takes one line of a workload; a line that the death of its process cut short says nothing.
    mutating func take(_ line: some StringProtocol) {
        let words = line.split(separator: " ")
        switch words.first {
        case "made": isMade = true
        case "unannounced": knowsAll = false
        case "opening" where words.count == 2:
            shards[String(words[1])]?.isClosed = false
        case "opened", "closed", "released":
            guard words.count >= 4, let offset = UInt64(words[2]),
                let head = Digest(hexadecimal: words[3]), offset > 0
            else { return }
            var shard = shards[String(words[1])] ?? Shard()
            shard.released[offset] = head
            shard.releasedThrough = max(shard.releasedThrough, offset)
            if words[0] == "released" { shard.markedThrough = max(shard.markedThrough, offset) }
            shard.isClosed = words[0] == "closed"
            shards[String(words[1])] = shard
        case "appending":
            guard words.count == 5, let last = UInt64(words[3]),
                let head = Digest(hexadecimal: words[4])
            else { return }
            shards[String(words[1]), default: Shard()].begun[last, default: []].insert(head)
        case "refused":
            guard words.count == 4, let last = UInt64(words[2]),
                let head = Digest(hexadecimal: words[3])
            else { return }
            shards[String(words[1]), default: Shard()].begun[last]?.remove(head)
        default: return
        }
    }
}

extension Digest {
    /// Reads 64 hexadecimal digits.
    init?(hexadecimal text: some StringProtocol) {
        guard text.utf8.count == 64 else { return nil }
        var words: [UInt64] = []
        var rest = text[...]
        while !rest.isEmpty {
            guard let word = UInt64(rest.prefix(16), radix: 16) else { return nil }
            // Digits stand in the order of the bytes, a word holds its lowest byte first.
            words.append(word.byteSwapped)
            rest = rest.dropFirst(16)
        }
        self.init((words[0], words[1], words[2], words[3]))
    }
}
