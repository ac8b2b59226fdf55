#if canImport(FoundationEssentials)
    internal import FoundationEssentials
#else
    internal import Foundation
#endif
public import TallyCore

/// `ledger.json`: what a ledger is. Replaced atomically, never edited in place.
public struct Manifest: Equatable, Sendable {
    /// The ledger's name, for people.
    public var name: String
    /// The ledger's id: part of every shard's seed.
    public var id: Bytes16
    /// The program that made it; empty when unknown.
    public var program: String
    /// Its shards and their names.
    public var shards: ShardDirectory
    /// Channels are ordered unless they stand in `unordered`.
    public var isOrdered = true
    /// Channels that differ from `isOrdered`.
    public var unordered: Set<Channel> = []
    /// False: recorded from a one-way system; a receipt settles a message.
    public var hasAnswers = true
    /// Evidence, an import or a copy: no shard of it can be opened for writing.
    public var isSealed = false
    /// Made by writers of ours, so that it keeps the rules of sessions and sequences; false for a
    /// foreign import.
    public var isNative = true
    /// What part of a shard's log there is, in offsets; absent: the whole log.
    public var windows: [ShardID: ClosedRange<UInt64>] = [:]

    /// The name of its file in the ledger.
    public static let fileName = "ledger.json"
    static let version = 1

    /// The manifest of a new ledger: ordered channels, with answers, native, not sealed.
    public init(name: String, id: Bytes16, program: String, shards: ShardDirectory) {
        self.name = name
        self.id = id
        self.program = program
        self.shards = shards
    }

    /// Where a shard's log begins: at 1, or at the lower end of its window.
    package func first(of shard: ShardID) -> Offset {
        Offset(windows[shard]?.lowerBound ?? 1)
    }

    /// What of it the messaging fold depends on.
    public var rules: MessagingState.Rules {
        MessagingState.Rules(
            answers: hasAnswers, native: isNative, ordered: isOrdered, unordered: unordered)
    }

    /// The fields that the manifest and the interchange header share.
    package func writeFields(into json: inout JSONText) {
        json.field("id", id.description)
        if !program.isEmpty { json.field("program", program) }
        json.field("answers", hasAnswers)
        json.field("ordered", isOrdered)
        if !unordered.isEmpty {
            json.beginArray("unordered")
            for channel in unordered.sorted() { json.field(nil, shards.text(channel)) }
            json.endArray()
        }
        if !windows.isEmpty {
            json.beginObject("windows")
            for (shard, range) in windows.sorted(by: { $0.key < $1.key }) {
                json.beginArray(shards.name(of: shard))
                json.field(nil, range.lowerBound)
                json.field(nil, range.upperBound)
                json.endArray()
            }
            json.endObject()
        }
        json.beginArray("shards")
        for name in shards.names { json.field(nil, name) }
        json.endArray()
    }

    /// Its bytes: one JSON object and a newline.
    public func encoded() -> [UInt8] {
        var json = JSONText()
        json.beginObject()
        json.field("format", "tally-ledger")
        json.field("version", Self.version)
        json.field("name", name)
        writeFields(into: &json)
        json.field("sealed", isSealed)
        json.field("native", isNative)
        json.endObject()
        json.endLine()
        return json.bytes
    }

    /// Reads a manifest.
    ///
    /// - Throws: ``StoreError`` that names the file.
    public init(decoding bytes: [UInt8], path: String) throws(StoreError) {
        func bad(_ what: String) -> StoreError {
            StoreError(
                .manifest,
                "the manifest \(path) cannot be used: \(what); bring it back from a copy of the ledger"
            )
        }
        // The version first: a newer manifest may have another shape.
        if let kind = try? JSONDecoder().decode(Kind.self, from: Data(bytes)) {
            guard kind.format == "tally-ledger" else { throw bad("its format is another one") }
            guard kind.version == Self.version else {
                throw StoreError(
                    .newerFormat,
                    "\(path) has format version \(kind.version); this program reads"
                        + " \(Self.version): use a newer tally")
            }
        }
        let form: Form
        do {
            form = try JSONDecoder().decode(Form.self, from: Data(bytes))
        } catch {
            throw bad("it is not the JSON object it should be")
        }
        guard let shards = ShardDirectory(form.shards) else { throw bad("its shard names") }
        guard let id = Bytes16(hexadecimal: form.id) else { throw bad("its id") }
        self.init(name: form.name, id: id, program: form.program ?? "", shards: shards)
        isOrdered = form.ordered
        hasAnswers = form.answers
        isSealed = form.sealed
        isNative = form.native
        for text in form.unordered ?? [] {
            guard let channel = shards.channel(text) else { throw bad("its channel \(text)") }
            unordered.insert(channel)
        }
        for (name, range) in form.windows ?? [:] {
            guard let shard = shards.id(of: name), range.count == 2, range[0] <= range[1] else {
                throw bad("its window of \(name)")
            }
            windows[shard] = range[0]...range[1]
        }
    }

    private struct Kind: Decodable {
        var format: String
        var version: Int
    }

    private struct Form: Decodable {
        var format: String
        var version: Int
        var name: String
        var id: String
        var program: String?
        var answers: Bool
        var ordered: Bool
        var unordered: [String]?
        var windows: [String: [UInt64]]?
        var shards: [String]
        var sealed: Bool
        var native: Bool
    }
}
