public import TallyCore
internal import TallyStore

/// Whether a plan still fits its ledger.
public struct PlanCurrency: Sendable {
    /// A log that is no longer what the plan was made for, and where that begins.
    public struct Move: Equatable, Sendable {
        /// The shard whose log moved.
        public var shard: ShardID
        /// Where it moved.
        public var offset: Offset
        /// What happened to it, for a message.
        public var text: String
    }

    /// Whether a `reemitted` names the plan: its application has begun, and may be resumed.
    public var hasBegun: Bool
    /// What happened since that the plan does not know of.
    public var moved: [Move]
    /// Logs that do not hold what the plan was made from: nothing excuses that.
    public var replaced: [Move]

    /// Whether the plan may be applied.
    public var isCurrent: Bool { replaced.isEmpty && (moved.isEmpty || hasBegun) }
}

extension RecoveryPlan {
    /// Compares the plan with the logs as they are now.
    ///
    /// A log has not moved when only `opened` and `witnessed` stand behind the plan's offset, or
    /// when a `reemitted` that names the plan does. Once one log has such an event the plan is
    /// being applied: what other logs received because of it is no move against it.
    ///
    /// - Throws: ``TallyStore/StoreError/Code/malformed`` when the plan is another ledger's.
    public func currency(for audit: AuditLedger) throws -> PlanCurrency {
        guard ledger == audit.manifest.id, directory == audit.directory else {
            throw StoreError(
                .malformed,
                "the plan was made for ledger \(ledger); this one is \(audit.manifest.id)")
        }
        return try audit.reading {
            var found = PlanCurrency(hasBegun: false, moved: [], replaced: [])
            for shard in shards { try compare(shard, audit, &found) }
            return found
        }
    }

    /// Whether the plan may be applied to the ledger as it is now.
    public func isCurrent(for audit: AuditLedger) throws -> Bool {
        try currency(for: audit).isCurrent
    }

    private func compare(
        _ planned: Shard, _ audit: AuditLedger, _ found: inout PlanCurrency
    ) throws {
        let shard = audit[planned.shard]
        func move(_ offset: Offset, _ text: String) -> PlanCurrency.Move {
            PlanCurrency.Move(shard: planned.shard, offset: offset, text: text)
        }
        guard let log = shard.log else {
            found.replaced.append(
                move(planned.offset, shard.problem?.text ?? "shard \(shard.name) is missing"))
            return
        }
        let id = id
        var isHeld =
            planned.offset == .none
            && planned.head == Hashing.seed(ledger: ledger, shard: planned.shard)
        var first: Event?
        var firstOffset = Offset.none
        var isNamed = false
        try log.forEachCommit(from: planned.offset) { commit in
            if commit.lastOffset == planned.offset {
                isHeld = commit.head == planned.head
                return isHeld
            }
            // Without the plan's commit at its offset the rest says nothing.
            guard isHeld else { return false }
            commit.forEach { view in
                let kind = view.kind
                if kind == .opened || kind == .witnessed || isNamed { return }
                if kind == .reemitted, view.event.identity == id {
                    isNamed = true
                } else if first == nil {
                    (first, firstOffset) = (view.event, view.offset)
                }
            }
            return !isNamed
        }
        let place = audit.directory.address(planned.shard, planned.offset)
        if !isHeld {
            found.replaced.append(
                move(
                    planned.offset,
                    "the log of \(shard.name) does not hold the commit that ends at \(place) in the"
                        + " plan: it was cut or rewritten since"))
            return
        }
        if isNamed {
            found.hasBegun = true
        } else if let first {
            found.moved.append(
                move(
                    firstOffset,
                    "the log of \(shard.name) has moved since the plan was made: \(first.kind.name)"
                        + " at \(audit.directory.address(planned.shard, firstOffset))"))
        }
    }
}
