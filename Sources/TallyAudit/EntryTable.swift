internal import TallyCore

/// What is known of a message in flight: each of its events at most once.
struct MessageEntry {
    var send = Offset.none
    var sentAt = Timestamp.none
    var deadline = Timestamp.none
    var sendDigest = Digest.none
    var receipt = Offset.none
    var receivedAt = Timestamp.none
    var receiptPeerOffset = Offset.none
    var receiptDigest = Digest.none
    var answer = Offset.none
    var terminal = Offset.none
    var terminalAt = Timestamp.none
    var terminalPeerOffset = Offset.none
    var disposition = Outcome.none
    var answerOutcome = Outcome.none
    var terminalOutcome = Outcome.none
    var isTimeout = false
    var isForced = false
    /// False for a place in the ring that holds nothing.
    var isHeld = false

    /// Takes an event.
    ///
    /// - Returns: False when it is the second of its kind.
    mutating func take(_ event: HalfEvent) -> Bool {
        switch event.kind {
        case .sent:
            guard send == .none else { return false }
            send = event.offset
            sentAt = event.time
            deadline = event.deadline
            sendDigest = event.digest
        case .received:
            guard receipt == .none else { return false }
            receipt = event.offset
            receivedAt = event.time
            receiptPeerOffset = event.peerOffset
            receiptDigest = event.digest
            disposition = event.outcome
        case .answered:
            guard answer == .none else { return false }
            answer = event.offset
            answerOutcome = event.outcome
        default:
            guard terminal == .none else { return false }
            terminal = event.offset
            terminalAt = event.time
            terminalPeerOffset = event.peerOffset
            terminalOutcome = event.outcome
            isTimeout = event.kind == .timedOut
            isForced = event.isForced
        }
        return true
    }

    /// Whether both halves are there, agree, and say that nothing is left to do.
    func isComplete(answers: Bool) -> Bool {
        guard send != .none, receipt != .none, sendDigest == receiptDigest else { return false }
        guard answers else { return true }
        guard terminal != .none else { return false }
        if isTimeout { return !isForced && disposition == .expired }
        return disposition == .applied && answer != .none && answerOutcome == terminalOutcome
    }
}

/// The messages of one channel that are in flight, changed in place.
///
/// Sequences near each other live in a ring indexed by sequence; what does not fit its span (one
/// message pending for a long time, sequences from all over) lives aside in a dictionary.
///
/// Invariants: the ring covers `base ..< base + capacity`, and a place in it belongs to one
/// sequence at a time; a sequence is held in one of the two.
struct EntryTable {
    private var ring: ContiguousArray<MessageEntry> = []
    private var base: UInt64 = 0
    private var ringCount = 0
    private var aside: [UInt64: MessageEntry] = [:]

    private static let capacityMin = 64
    private static let capacityMax = 1 << 16

    @inline(__always)
    private func slot(_ key: UInt64) -> Int { Int(truncatingIfNeeded: key) & (ring.count - 1) }

    @inline(__always)
    private func covers(_ key: UInt64) -> Bool { key >= base && key - base < UInt64(ring.count) }

    func contains(_ sequence: SequenceNumber) -> Bool {
        let key = sequence.rawValue
        if covers(key), ring[slot(key)].isHeld { return true }
        return !aside.isEmpty && aside[key] != nil
    }

    /// Changes the entry of a sequence, a new one when there is none; removes it when the closure
    /// returns false.
    @inline(__always)
    mutating func update(_ sequence: SequenceNumber, _ body: (inout MessageEntry) -> Bool) {
        let key = sequence.rawValue
        if !aside.isEmpty, var entry = aside[key] {
            aside[key] = body(&entry) ? entry : nil
            return
        }
        if !covers(key), !reach(key) {
            var entry = MessageEntry()
            entry.isHeld = true
            if body(&entry) { aside[key] = entry }
            return
        }
        let index = slot(key)
        if !ring[index].isHeld {
            ring[index] = MessageEntry()
            ring[index].isHeld = true
            ringCount += 1
        }
        if !body(&ring[index]) {
            ring[index].isHeld = false
            ringCount -= 1
        }
    }

    /// Moves the ring's span so that it covers a sequence.
    ///
    /// - Returns: False when the sequence lies below the span, and has to live aside.
    private mutating func reach(_ key: UInt64) -> Bool {
        if ringCount == 0 {
            if ring.isEmpty {
                ring = ContiguousArray(repeating: MessageEntry(), count: Self.capacityMin)
            }
            // Room below: neighbours of the first one seen may come later.
            let below = UInt64(ring.count / 4)
            base = key > below ? key - below : 0
            return true
        }
        guard key >= base else { return false }
        while base < key, !ring[slot(base)].isHeld { base += 1 }
        if key - base < UInt64(Self.capacityMax) { while !covers(key) { grow() } }
        while !covers(key) {
            let index = slot(base)
            if ring[index].isHeld {
                aside[base] = ring[index]
                ring[index].isHeld = false
                ringCount -= 1
            }
            base += 1
            // Nothing is held any more: no need to walk the rest of a long way.
            if ringCount == 0 { base = max(base, key) }
        }
        return true
    }

    private mutating func grow() {
        var larger = ContiguousArray(repeating: MessageEntry(), count: ring.count * 2)
        for step in 0..<UInt64(ring.count) {
            let key = base &+ step
            let entry = ring[slot(key)]
            if entry.isHeld { larger[Int(truncatingIfNeeded: key) & (larger.count - 1)] = entry }
        }
        ring = larger
    }

    /// Visits what is held, by sequence.
    func forEach(_ body: (SequenceNumber, MessageEntry) -> Void) {
        var keys = Array(aside.keys)
        for step in 0..<UInt64(ring.count) where ring[slot(base &+ step)].isHeld {
            keys.append(base &+ step)
        }
        for key in keys.sorted() {
            body(SequenceNumber(key), aside[key] ?? ring[slot(key)])
        }
    }
}
