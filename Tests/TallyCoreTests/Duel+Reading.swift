// swift-format-ignore-file: NeverForceUnwrap

import TallyCore
import Testing

/// What tests read off a duel's logs.
extension Duel {
    func messaging(_ shard: ShardID) -> MessagingState { self[shard].machine.messaging }
    func state(_ shard: ShardID) -> ErrandState { self[shard].machine.application }
    func stop(_ shard: ShardID) -> Stop? { self[shard].machine.stop }
    func commits(_ shard: ShardID) -> Int { self[shard].log.commits.count }
    func records(_ shard: ShardID) -> [LogRecord] { self[shard].log.records }

    func events(_ shard: ShardID, _ kind: EventKind) -> [Event] {
        records(shard).map(\.event).filter { $0.kind == kind }
    }

    /// The kinds of a shard's events from a place on.
    func kinds(_ shard: ShardID, from index: Int = 0) -> [EventKind] {
        records(shard).dropFirst(index).map(\.event.kind)
    }

    func name(_ origin: ShardID, _ destination: ShardID, _ sequence: UInt64) -> MessageName {
        MessageName(from: origin, to: destination, SequenceNumber(sequence))
    }

    /// How often a shard's log holds the application of a message.
    func applied(_ origin: ShardID, _ destination: ShardID, _ sequence: UInt64) -> Int {
        events(destination, .received).filter {
            $0.peer == origin && $0.sequence.rawValue == sequence && $0.outcome == .applied
        }.count
    }

    /// The terminal events that a shard's log holds for a message.
    func terminal(_ origin: ShardID, _ destination: ShardID, _ sequence: UInt64) -> [Event] {
        records(origin).map(\.event).filter {
            ($0.kind == .acknowledged || $0.kind == .timedOut) && $0.peer == destination
                && $0.sequence.rawValue == sequence
        }
    }

    /// The statement a shard was stopped with, when it was for a fork.
    func refused(_ shard: ShardID) -> (peer: ShardID, statement: Statement)? {
        guard case .fork(let peer, _, let statement, _, _)? = stop(shard) else { return nil }
        return (peer, statement)
    }

    /// What `recover accept` does: starts the shard, and records the refused statement first.
    func accept(_ shard: ShardID) {
        let (peer, statement) = refused(shard)!
        crash(shard)
        input(shard, .intervene(.acceptPeer(peer, statement, reason: Array("test".utf8))))
    }

    /// Lets every stopped shard go on, one refused statement after the other, and carries
    /// everything: all live again, nothing pending, both halves agree on all but what was lost.
    func acceptAll(lost: [MessageName], _ location: SourceLocation = #_sourceLocation) {
        for _ in 0..<6 {
            #expect(settle(answering: true), sourceLocation: location)
            guard let stopped = directory.all.first(where: { refused($0) != nil }) else { break }
            accept(stopped)
        }
        let others = problems.filter { text in !lost.contains { text.hasPrefix("\($0) ") } }
        #expect(others == [], sourceLocation: location)
        for shard in directory.all {
            #expect(messaging(shard).pendingCount == 0, sourceLocation: location)
            for other in directory.all {
                #expect(hears(shard, other), sourceLocation: location)
            }
        }
    }

    /// A header as a shard would write it now.
    func header(from sender: ShardID, to receiver: ShardID) -> EnvelopeHeader {
        EnvelopeHeader(
            sender: sender, receiver: receiver, senderSession: messaging(sender).session,
            receiverSession: messaging(receiver).session, durableEnd: self[sender].log.end)
    }

    /// A delivery that a shard could have made, with any part of it changed.
    func forged(
        from sender: ShardID, to receiver: ShardID, _ sequence: UInt64, payload: [UInt8],
        change: (inout Delivery, inout EnvelopeHeader) -> Void = { _, _ in }
    ) -> Envelope {
        var header = header(from: sender, to: receiver)
        var delivery = Delivery(
            sequence: SequenceNumber(sequence), offset: header.durableEnd.offset,
            sentAt: header.durableEnd.timestamp, deadline: .none, settledThrough: .none,
            correlation: .none, payload: payload[...])
        change(&delivery, &header)
        return Envelope(header: header, content: .deliver([delivery]))
    }

    /// An answer that a shard could have made to a message of another one.
    func forgedAnswer(
        from sender: ShardID, to receiver: ShardID, _ sequence: UInt64,
        result: AnswerItem.Result,
        change: (inout AnswerItem, inout EnvelopeHeader) -> Void = {
            _, _ in
        }
    ) -> Envelope {
        var header = header(from: sender, to: receiver)
        let sent = records(receiver).last {
            $0.event.kind == .sent && $0.event.peer == sender
                && $0.event.sequence.rawValue == sequence
        }
        let digest = sent.map { self[receiver].log.digest($0.message(in: receiver)) } ?? .none
        var item = AnswerItem(
            sequence: SequenceNumber(sequence), offset: header.durableEnd.offset, result: result,
            digest: digest, payload: [])
        change(&item, &header)
        return Envelope(header: header, content: .answer([item]))
    }

    /// Everything wrong with the logs as they stand, over both halves of every message.
    var problems: [String] {
        var found: [String] = []
        for shard in directory.all {
            let node = self[shard]
            if let stop = node.machine.stop { found.append(stop.text(directory, shard)) }
            if node.machine.messaging.anomalyCount > 0 {
                found.append("\(node.machine.messaging.anomalies)")
            }
        }
        let halves = Halves(logs: directory.all.map { ($0, records($0)) })
        return found + halves.problems
    }
}

/// Both halves of every message, by name, and what is wrong with them.
struct Halves {
    var sent: [MessageName: LogRecord] = [:]
    var received: [MessageName: LogRecord] = [:]
    var answered: [MessageName: LogRecord] = [:]
    var terminal: [MessageName: LogRecord] = [:]
    var problems: [String] = []

    init(logs: [(shard: ShardID, records: [LogRecord])]) {
        for (shard, records) in logs { for record in records { add(record, shard) } }
        for (name, record) in received { check(receipt: record, name) }
        for (name, record) in terminal { check(terminal: record, name) }
    }

    private mutating func add(_ record: LogRecord, _ shard: ShardID) {
        let event = record.event
        let own = MessageName(from: shard, to: event.peer, event.sequence)
        let theirs = MessageName(from: event.peer, to: shard, event.sequence)
        func once(_ old: LogRecord?, _ what: String, _ name: MessageName) {
            if old != nil { problems.append("\(name) \(what) twice") }
        }
        switch event.kind {
        case .sent: once(sent.updateValue(record, forKey: own), "sent", own)
        case .received: once(received.updateValue(record, forKey: theirs), "received", theirs)
        case .answered: once(answered.updateValue(record, forKey: theirs), "answered", theirs)
        case .acknowledged, .timedOut:
            once(terminal.updateValue(record, forKey: own), "settled", own)
        default: break
        }
    }

    private mutating func check(receipt: LogRecord, _ name: MessageName) {
        guard let sent = sent[name] else {
            problems.append("\(name) received and never sent")
            return
        }
        if sent.message(in: name.channel.origin) != receipt.message(in: name.channel.destination) {
            problems.append("\(name) received with other bytes")
        }
        if sent.timestamp >= receipt.timestamp { problems.append("\(name) received before sent") }
        let late = receipt.event.deadline
        let isExpired = late != .none && late <= receipt.timestamp
        if isExpired != (receipt.event.outcome == .expired) {
            problems.append("\(name): lateness decided wrongly")
        }
    }

    private mutating func check(terminal: LogRecord, _ name: MessageName) {
        if terminal.event.kind == .timedOut {
            guard terminal.event.reason != .forced else { return }
            if received[name]?.event.outcome != .expired {
                problems.append("\(name) timed out without an expired receipt")
            }
        } else if let answer = answered[name] {
            if answer.event.outcome != terminal.event.outcome || answer.payload != terminal.payload
            {
                problems.append("\(name) acknowledged with another answer")
            }
            if received[name]?.event.outcome != .applied {
                problems.append("\(name) acknowledged and not applied")
            }
        } else {
            problems.append("\(name) acknowledged without an answer")
        }
    }
}
