public import TallyAudit
public import TallyCore
internal import TallyRuntime
public import TallyStore

/// What the shards and their logs hold.
extension TestLedger {
    /// The program's state: that of the running shard, or the fold of the log of one that is down.
    public func state(of shard: String) throws -> P.State {
        let node = try node(shard)
        return try node.engine?.machine.application ?? folded(node).application
    }

    /// The state of a shard's messages.
    public func messaging(of shard: String) throws -> MessagingState {
        let node = try node(shard)
        return try node.engine?.machine.messaging ?? folded(node).messaging
    }

    /// Why a shard serves no more; `nil` while it does.
    public func stop(of shard: String) throws -> Stop? { try node(shard).engine?.machine.stop }

    /// What a running shard has dropped or answered again without a trace in its log.
    public func counters(of shard: String) throws -> MachineCounters {
        try running(node(shard)).machine.counters
    }

    /// A shard's log; what is held counts as appended.
    public func log(of shard: String) throws -> VolatileLog { try node(shard).log }

    /// Every event of a shard's log; the one at offset n is at n - 1.
    public func events(of shard: String) throws -> [LogRecord] {
        try node(shard).log.records()
    }

    /// The id of a shard, for names of messages.
    public func id(of shard: String) throws -> ShardID { try directory.shard(shard) }

    /// The name of a message, read from `origin/destination/sequence`.
    public func message(_ text: String) throws -> MessageName {
        guard let name = directory.message(text) else {
            throw TestMisuse("\"\(text)\" names no message; write origin/destination/sequence")
        }
        return name
    }

    /// How a message ended for its origin; `nil` while it is pending, and when it was never sent.
    public func result(of message: MessageName) throws -> MessageResult? {
        let origin = directory.name(of: message.channel.origin)
        let last = try events(of: origin).last { record in
            (record.event.kind == .acknowledged || record.event.kind == .timedOut)
                && record.event.peer == message.channel.destination
                && record.event.sequence == message.sequence
        }
        return last.map { record in
            if record.event.kind == .timedOut { return .timedOut }
            return record.event.outcome == .accepted ? .accepted : .rejected
        }
    }

    // MARK: Auditing

    /// The durable logs, for whatever audits a ledger: orphans, trace, replay, verify.
    ///
    /// The audit is a look at this moment: it reads up to the ends that the logs have now.
    public func audit() -> AuditLedger {
        var logs: [ShardID: any LogReading] = [:]
        for node in nodes { logs[node.shard] = node.log.durable }
        return AuditLedger(manifest: manifest, logs: logs)
    }

    /// The orphans of the durable logs, by message name.
    public func orphans() throws -> [Orphan] { try Join.run(audit()).orphans }

    /// The ledger in the interchange form, what is durable of it.
    public func exported() throws -> [UInt8] {
        var text: [UInt8] = []
        try LedgerExport(manifest) { shard in
            self.nodes[Int(shard.rawValue) - 1].log.durable
        }.write { text += $0 }
        return text
    }
}

extension LogReading {
    /// Every event of a log with its bytes; of a whole log, the one at offset n is at n - 1.
    ///
    /// - Complexity: O(the log), all of it in memory.
    public func records() throws -> [LogRecord] {
        var records: [LogRecord] = []
        try forEachCommit(from: Offset(1)) { commit in
            let time = commit.timestamp
            commit.forEach { view in
                records.append(
                    LogRecord(
                        event: view.event, timestamp: time, payload: view.payload,
                        result: view.result))
            }
            return true
        }
        return records
    }
}
