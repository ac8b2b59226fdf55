internal import TallyCore

/// What may still arrive, without what is the same to whom it reaches.
extension Exploration {
    /// One item that may arrive, now or later, once or often or never.
    struct Flight {
        /// What time has made of it; it only ever gets older, but for the session of its receiver
        /// ending, when all of a kind are one again.
        enum Age {
            /// What it says counts.
            case present
            /// A question with a statement that is not its sender's present one: no reply to it
            /// counts. A reply to such a question: it leads to another question at most. A message
            /// at or below the floor, an answer to what is settled: dropped when their session is
            /// heard, and when it is not, a reason to ask.
            case old
            /// A message that its destination holds above its floor: it is answered again.
            case known
            /// Meant for a session that has ended: it is not heard, and no more is looked at.
            case stray
        }
        var envelope: Envelope
        var age = Age.present

        init(_ envelope: Envelope) { self.envelope = envelope }

        /// Whether another item leads to the same, but for the durable end that it names.
        func isAlike(_ other: Flight, _ setting: Setting) -> Bool {
            let (mine, others) = (envelope.header, other.envelope.header)
            guard age == other.age, mine.sender == others.sender, mine.receiver == others.receiver
            else { return false }
            if age == .stray { return true }
            guard mine.senderSession == others.senderSession else { return false }
            if age == .present {
                let isOfOneTime =
                    !setting.options.hasOwnClocks
                    || mine.durableEnd.timestamp.rawValue / phaseLength
                        == others.durableEnd.timestamp.rawValue / phaseLength
                return isOfOneTime && mine.receiverSession == others.receiverSession
                    && envelope.content == other.envelope.content
            }
            switch (envelope.content, other.envelope.content) {
            case (.confirmed, .confirmed), (.answer, .answer): return true
            case (.deliver(let items), .deliver(let others)):
                return age == .old || items.first?.sequence == others.first?.sequence
            case (.confirmAsk(let statement), .confirmAsk(let another)):
                return mine.receiverSession == others.receiverSession
                    && statement.session == another.session
            default: return false
            }
        }
    }
}

extension Exploration.World {
    /// Lets everything in the bag become as old as it is, and keeps one of each that are alike.
    mutating func tidy() {
        guard !isFair else { return }
        var kept: [Exploration.Flight] = []
        kept.reserveCapacity(bag.count)
        for var flight in bag {
            guard let age = age(of: flight.envelope) else { continue }
            flight.age = age
            if !kept.contains(where: { $0.isAlike(flight, setting) }) { kept.append(flight) }
        }
        bag = kept
    }

    /// - Returns: `nil` for what does nothing at all any more.
    private func age(of envelope: Envelope) -> Exploration.Flight.Age? {
        let header = envelope.header
        let receiver = self[header.receiver]
        let isMeant =
            receiver.isUp && receiver.machine.messaging.session == header.receiverSession
        switch envelope.content {
        case .conflict, .refused: return isMeant ? .present : .stray
        case .deliver(let items):
            guard isMeant else { return .stray }
            guard let sequence = items.first?.sequence,
                let peer = receiver.machine.messaging.peer(header.sender)
            else { return .present }
            if sequence <= peer.floor { return .old }
            return peer.receipts[sequence] == nil ? .present : .known
        case .answer(let items):
            guard isMeant else { return .stray }
            guard let sequence = items.first?.sequence else { return .present }
            let pending = receiver.machine.messaging.peer(header.sender)?.pending[sequence]
            return pending == nil ? .old : .present
        case .confirmed(let statement):
            guard isMeant else { return nil }
            return statement == receiver.machine.messaging.peer(header.sender)?.statement
                ? .present : .old
        case .confirmAsk(let statement):
            let sender = self[header.sender]
            let isLive = sender.isUp && sender.machine.messaging.session == header.senderSession
            return isLive
                && statement == sender.machine.messaging.peer(header.receiver)?.statement
                ? .present : .old
        }
    }
}

extension Envelope {
    /// An envelope for each item.
    var apart: [Envelope] {
        switch content {
        case .deliver(let items) where items.count > 1:
            items.map { Envelope(header: header, content: .deliver([$0])) }
        case .answer(let items) where items.count > 1:
            items.map { Envelope(header: header, content: .answer([$0])) }
        default: [self]
        }
    }
}
