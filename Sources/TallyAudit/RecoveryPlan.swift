#if canImport(FoundationEssentials)
    internal import FoundationEssentials
#else
    internal import Foundation
#endif
public import TallyCore
public import TallyStore

/// What to do about each orphan of a ledger at rest; made by reading alone, and the same for the
/// same logs.
///
/// The text is JSON lines: a header, one line per shard, one per message, and the plan's id, the
/// first 16 bytes of SHA-256 over all lines before.
///
///     {"format":"tally-plan","version":1,"ledger":"hex","shards":2,"entries":1}
///     {"shard":"trades-0","offset":17,"head":"hex"}
///     {"message":"trades-0/collateral-0/5","class":"undelivered","overdue":false,"since":"...",
///      "evidence":["trades-0@17"],"action":"re-emit"}
///     {"plan":"hex"}
///
/// A plan is valid if and only if it is byte for byte what these values are written as.
public struct RecoveryPlan: Equatable, Sendable {
    /// Where a log ended when the plan was made.
    public struct Shard: Equatable, Sendable {
        /// The shard.
        public var shard: ShardID
        /// Its last offset.
        public var offset: Offset
        /// Its head there.
        public var head: Digest
    }

    /// What is to be done about a message.
    public enum Action: String, Sendable {
        /// The destination answers again from its log, or records expiry, or decides for the first
        /// time.
        case reemit = "re-emit"
        /// The destination owes the answer, or its log cannot be read.
        case wait
    }

    /// One orphan, and what is to be done about it.
    public struct Entry: Equatable, Sendable {
        /// The message.
        public var message: MessageName
        /// Why it is pending.
        public var `class`: OrphanClass
        /// Past its deadline.
        public var isOverdue: Bool
        /// When it was sent.
        public var since: Timestamp
        /// The places in the logs.
        public var evidence: [Evidence]
        /// What is to be done.
        public var action: Action
    }

    /// The id of the ledger it was made for.
    public var ledger: Bytes16
    /// In the manifest's order; a shard that cannot be read is not among them.
    public var shards: [Shard]
    /// By message name.
    public var entries: [Entry]
    /// The ledger's names.
    public let directory: ShardDirectory

    /// The messages to send again.
    public var messages: [MessageName] {
        entries.filter { $0.action == .reemit }.map(\.message)
    }

    /// Makes the plan of a ledger at rest.
    ///
    /// - Throws: ``TallyStore/StoreError/Code/held`` when a writer runs: it recovers by itself.
    ///   ``TallyStore/StoreError/Code/sealed`` for evidence, which nobody can recover.
    public static func make(_ audit: AuditLedger) throws -> RecoveryPlan {
        if let live = audit.shards.first(where: \.isLive) {
            throw StoreError(
                .held,
                "shard \(live.name) is being written by \(live.writer ?? "a process"), which"
                    + " recovers by itself; a plan is made for a ledger at rest")
        }
        guard !audit.manifest.isSealed, audit.manifest.hasAnswers, audit.manifest.isNative else {
            throw StoreError(
                .sealed, "the ledger is evidence (an import or a copy): it cannot be recovered")
        }
        let joined = try Join.run(audit, comparesBytes: false)
        let shards = audit.shards.compactMap { shard in
            shard.end.map { Shard(shard: shard.shard, offset: $0.offset, head: $0.head) }
        }
        let entries = joined.orphans.map { orphan in
            let waits = orphan.class == .owed || orphan.class == .unknown
            return Entry(
                message: orphan.message, class: orphan.class, isOverdue: orphan.isOverdue,
                since: orphan.since, evidence: orphan.evidence, action: waits ? .wait : .reemit)
        }
        return RecoveryPlan(
            ledger: audit.manifest.id, shards: shards, entries: entries,
            directory: audit.directory)
    }

    // MARK: The text

    /// The text without its last line.
    private var body: [UInt8] {
        var json = JSONText()
        json.beginObject()
        json.field("format", "tally-plan")
        json.field("version", 1)
        json.field("ledger", ledger.description)
        json.field("shards", shards.count)
        json.field("entries", entries.count)
        json.endObject()
        json.endLine()
        for shard in shards {
            json.beginObject()
            json.field("shard", directory.name(of: shard.shard))
            json.field("offset", shard.offset.rawValue)
            json.field("head", shard.head.description)
            json.endObject()
            json.endLine()
        }
        for entry in entries {
            json.beginObject()
            json.field("message", directory.text(entry.message))
            json.field("class", entry.class.rawValue)
            json.field("overdue", entry.isOverdue)
            json.field("since", entry.since.description)
            json.beginArray("evidence")
            for place in entry.evidence {
                json.field(nil, directory.address(place.shard, place.offset))
            }
            json.endArray()
            json.field("action", entry.action.rawValue)
            json.endObject()
            json.endLine()
        }
        return json.bytes
    }

    /// The plan's name: what `reemitted` events carry.
    public var id: Bytes16 { Self.id(of: body) }

    private static func id(of body: [UInt8]) -> Bytes16 {
        let digest = Hashing.digest(body)
        return Bytes16(low: digest.words.0, high: digest.words.1)
    }

    /// The canonical text.
    public func encoded() -> [UInt8] {
        let body = body
        var json = JSONText()
        json.beginObject()
        json.field("plan", Self.id(of: body).description)
        json.endObject()
        json.endLine()
        return body + json.bytes
    }
}

extension RecoveryPlan {
    private struct HeaderForm: Decodable {
        var format: String
        var version: Int
        var ledger: String
        var shards: Int
        var entries: Int
    }
    private struct ShardForm: Decodable {
        var shard: String
        var offset: UInt64
        var head: String
    }
    private struct EntryForm: Decodable {
        var message: String
        var `class`: String
        var overdue: Bool
        var since: String
        var evidence: [String]
        var action: String
    }
    private struct IDForm: Decodable { var plan: String }

    private static func malformed(_ line: Int, _ what: String) -> StoreError {
        StoreError(
            .malformed,
            "line \(line) of the plan: \(what); make it again: tally recover plan DIR -o PLAN")
    }

    private static func form<Form: Decodable>(
        _ type: Form.Type, _ lines: [ArraySlice<UInt8>], _ line: Int
    ) throws(StoreError) -> Form {
        guard line <= lines.count else { throw malformed(line, "it is missing") }
        do {
            return try JSONDecoder().decode(Form.self, from: Data(lines[line - 1]))
        } catch {
            throw malformed(line, "it is not the JSON object it should be")
        }
    }

    /// Reads a plan.
    ///
    /// - Throws: ``TallyStore/StoreError/Code/malformed`` with the number of the line;
    ///   ``TallyStore/StoreError/Code/newerFormat``.
    public init(decoding bytes: [UInt8], _ directory: ShardDirectory) throws(StoreError) {
        let lines = bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        let header = try Self.form(HeaderForm.self, lines, 1)
        guard header.format == "tally-plan" else { throw Self.malformed(1, "it is no plan") }
        guard header.version == 1 else {
            throw StoreError(
                .newerFormat,
                "the plan has format version \(header.version); this program reads 1")
        }
        guard let ledger = Bytes16(hexadecimal: header.ledger) else {
            throw Self.malformed(1, "the ledger's id")
        }
        guard header.shards >= 0, header.entries >= 0, header.shards <= lines.count,
            header.entries <= lines.count
        else { throw Self.malformed(1, "its counts") }
        self.ledger = ledger
        self.directory = directory
        shards = []
        entries = []
        for line in 2..<(2 + header.shards) {
            let form = try Self.form(ShardForm.self, lines, line)
            guard let shard = directory.id(of: form.shard),
                let head = Digest(hexadecimal: form.head)
            else { throw Self.malformed(line, "an unknown shard, or a head that is none") }
            shards.append(Shard(shard: shard, offset: Offset(form.offset), head: head))
        }
        let first = 2 + header.shards
        for line in first..<(first + header.entries) {
            entries.append(
                try Self.entry(Self.form(EntryForm.self, lines, line), line, directory))
        }
        let last = first + header.entries
        let form = try Self.form(IDForm.self, lines, last)
        try checkForm(bytes, lines)
        guard form.plan == id.description else {
            throw Self.malformed(last, "its id is not that of the lines before: it was changed")
        }
    }

    private static func entry(
        _ form: EntryForm, _ line: Int, _ directory: ShardDirectory
    ) throws(StoreError) -> Entry {
        guard let message = directory.message(form.message),
            let kind = OrphanClass(rawValue: form.class), let since = Timestamp(form.since),
            let action = Action(rawValue: form.action)
        else { throw malformed(line, "a message, class, time or action that is none") }
        var evidence: [Evidence] = []
        for text in form.evidence {
            guard let place = directory.address(text) else {
                throw malformed(line, "the address \(text)")
            }
            evidence.append(Evidence(place.shard, place.offset))
        }
        return Entry(
            message: message, class: kind, isOverdue: form.overdue, since: since,
            evidence: evidence, action: action)
    }

    /// There is one form: what was read has to be what would be written.
    private func checkForm(
        _ bytes: [UInt8], _ lines: [ArraySlice<UInt8>]
    ) throws(StoreError) {
        let written = body.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
            .dropLast()
        for (index, line) in written.enumerated()
        where index >= lines.count || line != lines[index] {
            throw Self.malformed(index + 1, "it is not in the form a plan is written in")
        }
        guard bytes.count == encoded().count else {
            throw Self.malformed(written.count + 1, "it is not the plan's last line")
        }
    }
}
