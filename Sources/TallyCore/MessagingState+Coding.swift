/// The canonical bytes of the messaging state: equal states, equal bytes. They are what the messaging
/// digest is taken over, and what a snapshot holds.
extension MessagingState {
    static let codingVersion: UInt16 = 1

    /// - Complexity: O(what is held).
    public func encoded() -> [UInt8] {
        var writer = ByteWriter(capacity: 1024)
        writer.write(Self.codingVersion)
        writer.write(shard.rawValue)
        writer.write(UInt32(peers.count - 1))
        writer.write(offset.rawValue)
        writer.write(timestamp.rawValue)
        writer.write(epoch.rawValue)
        writer.write(foldVersion)
        writer.write(admittedDifference)
        writer.write(anomalyCount)
        writer.write(UInt32(anomalies.count))
        for anomaly in anomalies {
            writer.write(anomaly.code.rawValue)
            writer.write(anomaly.offset.rawValue)
            writer.write(anomaly.peer.rawValue)
            writer.write(anomaly.sequence.rawValue)
        }
        writer.write(UInt32(sessions.count))
        for entry in sessions {
            writer.write(entry.session)
            writer.write(entry.first.rawValue)
        }
        for peer in peers.dropFirst() { peer.encode(into: &writer) }
        writer.write(UInt32(clients.count))
        for (id, client) in clients.sorted(by: { $0.key < $1.key }) {
            writer.write(id)
            writer.write(client.highest.rawValue)
            writer.write(client.settledThrough.rawValue)
            writer.write(UInt32(client.records.count))
            client.records.forEach { sequence, record in
                writer.write(sequence.rawValue)
                writer.write(record.offset.rawValue)
                return true
            }
        }
        return writer.bytes
    }

    /// Reads what ``encoded()`` wrote.
    ///
    /// - Returns: `nil` when the bytes are no state of this shard under these rules.
    public init?(decoding bytes: ArraySlice<UInt8>, shard: ShardID, shardCount: Int, rules: Rules) {
        self.init(shard: shard, shardCount: shardCount, rules: rules)
        var reader = ByteReader(bytes)
        guard reader.read(UInt16.self) == Self.codingVersion,
            reader.read(UInt32.self) == shard.rawValue,
            reader.read(UInt32.self) == UInt32(shardCount), let offset = reader.readOffset(),
            let timestamp = reader.readTimestamp(), let epoch = reader.read(UInt64.self),
            let foldVersion = reader.read(UInt32.self), let admitted = reader.read(UInt64.self),
            let anomalyCount = reader.read(UInt64.self), let listed = reader.read(UInt32.self),
            listed <= Self.anomaliesMax
        else { return nil }
        self.offset = offset
        self.timestamp = timestamp
        self.epoch = Epoch(epoch)
        self.foldVersion = foldVersion
        admittedDifference = admitted
        self.anomalyCount = anomalyCount
        for _ in 0..<listed {
            guard let raw = reader.read(UInt8.self), let code = Anomaly.Code(rawValue: raw),
                let offset = reader.readOffset(), let peer = reader.read(UInt32.self),
                let sequence = reader.readSequence()
            else { return nil }
            anomalies.append(
                Anomaly(code: code, offset: offset, peer: ShardID(peer), sequence: sequence))
        }
        guard let sessionCount = reader.read(UInt32.self) else { return nil }
        for _ in 0..<sessionCount {
            guard let session = reader.readSession(), let first = reader.readOffset() else {
                return nil
            }
            sessions.append((session, first))
        }
        for index in peers.indices.dropFirst() {
            guard peers[index].decode(from: &reader) else { return nil }
        }
        guard decodeClients(from: &reader), reader.isAtEnd else { return nil }
    }

    private mutating func decodeClients(from reader: inout ByteReader) -> Bool {
        guard let count = reader.read(UInt32.self) else { return false }
        for _ in 0..<count {
            guard let id = reader.readBytes16(), let highest = reader.readSequence(),
                let settled = reader.readSequence(), let records = reader.read(UInt32.self)
            else { return false }
            var client = ClientState()
            client.highest = highest
            client.settledThrough = settled
            for _ in 0..<records {
                guard let sequence = reader.readSequence(), let offset = reader.readOffset(),
                    offset != .none
                else { return false }
                client.records.set(sequence, CommandRecord(offset: offset))
            }
            clients[id] = client
        }
        return true
    }
}

extension PeerState {
    func encode(into writer: inout ByteWriter) {
        writer.write(next.rawValue)
        writer.write(attempt)
        writer.write(UInt32(pending.count))
        pending.forEach { sequence, send in
            writer.write(sequence.rawValue)
            writer.write(send.offset.rawValue)
            writer.write(send.sentAt.rawValue)
            writer.write(send.deadline.rawValue)
            return true
        }
        writer.write(UInt32(forced.count))
        for sequence in forced { writer.write(sequence.rawValue) }
        writer.write(floor.rawValue)
        writer.write(receivedThrough.rawValue)
        writer.write(owed)
        writer.write(UInt32(receipts.count))
        receipts.forEach { sequence, receipt in
            writer.write(sequence.rawValue)
            writer.write(receipt.offset.rawValue)
            writer.write(receipt.answer.rawValue)
            writer.write(receipt.isExpired)
            return true
        }
        writer.write(witness.session)
        writer.write(witness.offset.rawValue)
        writer.write(witness.recordedAt.rawValue)
        writer.write(witness.headOffset.rawValue)
        writer.write(UInt32(conflicts.count))
        for conflict in conflicts {
            writer.write(conflict.sequence.rawValue)
            writer.write(conflict.reason.rawValue)
            writer.write(conflict.offered)
        }
        writer.write(UInt32(accepted.count))
        for statement in accepted { statement.encode(into: &writer) }
        for count in [
            counts.sent, counts.applied, counts.expired, counts.answered, counts.acknowledged,
            counts.timedOut, counts.lost, counts.reemitted,
        ] { writer.write(count) }
    }

    mutating func decode(from reader: inout ByteReader) -> Bool {
        guard let next = reader.readSequence(), next != .none,
            let attempt = reader.read(UInt32.self), let pendingCount = reader.read(UInt32.self)
        else { return false }
        self.next = next
        self.attempt = attempt
        for _ in 0..<pendingCount {
            guard let sequence = reader.readSequence(), sequence != .none,
                let offset = reader.readOffset(), offset != .none,
                let sentAt = reader.readTimestamp(), let deadline = reader.readTimestamp()
            else { return false }
            pending.set(sequence, PendingSend(offset: offset, sentAt: sentAt, deadline: deadline))
        }
        guard let forcedCount = reader.read(UInt32.self) else { return false }
        for _ in 0..<forcedCount {
            guard let sequence = reader.readSequence() else { return false }
            forced.append(sequence)
        }
        guard let floor = reader.readSequence(), let through = reader.readSequence(),
            let owed = reader.read(UInt64.self), let receiptCount = reader.read(UInt32.self)
        else { return false }
        self.floor = floor
        receivedThrough = through
        self.owed = owed
        for _ in 0..<receiptCount {
            guard let sequence = reader.readSequence(), let offset = reader.readOffset(),
                offset != .none, let answer = reader.readOffset(), let expired = reader.readBool()
            else { return false }
            receipts.set(sequence, Receipt(offset: offset, answer: answer, isExpired: expired))
        }
        return decodeRest(from: &reader)
    }

    private mutating func decodeRest(from reader: inout ByteReader) -> Bool {
        guard let session = reader.readSession(), let offset = reader.readOffset(),
            let recordedAt = reader.readOffset(), let headOffset = reader.readOffset(),
            let conflictCount = reader.read(UInt32.self), conflictCount <= Self.conflictsMax
        else { return false }
        witness = Witness(
            session: session, offset: offset, recordedAt: recordedAt, headOffset: headOffset)
        for _ in 0..<conflictCount {
            guard let sequence = reader.readSequence(), let raw = reader.read(UInt8.self),
                let reason = Reason(rawValue: raw), let offered = reader.readDigest()
            else { return false }
            conflicts.append(
                ConflictRecord(sequence: sequence, reason: reason, offered: offered))
        }
        guard let acceptedCount = reader.read(UInt32.self) else { return false }
        for _ in 0..<acceptedCount {
            guard let statement = Statement(from: &reader) else { return false }
            accepted.append(statement)
        }
        let counters: [any WritableKeyPath<Counts, UInt64> & Sendable] = [
            \.sent, \.applied, \.expired, \.answered, \.acknowledged, \.timedOut, \.lost,
            \.reemitted,
        ]
        for counter in counters {
            guard let value = reader.read(UInt64.self) else { return false }
            counts[keyPath: counter] = value
        }
        return true
    }
}

extension Statement {
    func encode(into writer: inout ByteWriter) {
        writer.write(session)
        writer.write(offset.rawValue)
        writer.write(statementOffset.rawValue)
        writer.write(receivedThrough.rawValue)
        writer.write(floor.rawValue)
        writer.write(settledThrough.rawValue)
    }

    init?(from reader: inout ByteReader) {
        self.init()
        guard let session = reader.readSession(), let offset = reader.readOffset(),
            let statementOffset = reader.readOffset(), let received = reader.readSequence(),
            let floor = reader.readSequence(), let settled = reader.readSequence()
        else { return nil }
        self.session = session
        self.offset = offset
        self.statementOffset = statementOffset
        receivedThrough = received
        self.floor = floor
        settledThrough = settled
    }
}
