import TallyCore
import TallyStore

/// The first line of the interchange form (see ``InterchangeForm``).
enum InterchangeHeader {
    /// The header of a ledger, newline included.
    static func line(of manifest: Manifest) -> [UInt8] {
        var json = JSONText()
        json.beginObject()
        json.field("format", InterchangeForm.format)
        json.field("version", InterchangeForm.version)
        if manifest.isNative { json.field("native", true) }
        json.field("ledger", manifest.name)
        manifest.writeFields(into: &json)
        json.endObject()
        json.endLine()
        return json.bytes
    }

    /// Reads a header as the manifest of the ledger that an import makes: sealed.
    static func manifest(_ line: Span<UInt8>) throws(InterchangeFault) -> Manifest {
        var form = Form()
        var scanner = InterchangeScanner()
        try scanner.object(line, "an object, the header") {
            (scanner, key) throws(InterchangeFault) in
            try form.read(key, line, &scanner)
        }
        try scanner.end(line)
        return try form.manifest(line)
    }

    private struct Form {
        var seen: Set<String> = []
        var format = ""
        var version: UInt64 = 0
        var isNative = false
        var ledger = ""
        var id: Bytes16?
        var program = ""
        var hasAnswers = true
        var isOrdered = true
        var unordered: [String] = []
        var windows: [(shard: String, range: [UInt64])] = []
        var shards: [String] = []

        mutating func read(
            _ key: Span<UInt8>, _ line: Span<UInt8>, _ scanner: inout InterchangeScanner
        ) throws(InterchangeFault) {
            let name = printable(key)
            guard seen.insert(name).inserted else {
                throw InterchangeFault("the key \"\(name)\" stands twice")
            }
            switch name {
            case "format": format = try scanner.text(line, "format: a string")
            case "version": try readVersion(line, &scanner)
            case "native": isNative = try scanner.bool(line, "native: true or false")
            case "ledger": ledger = try scanner.text(line, "ledger: a string")
            case "id": id = try Self.id(line, &scanner)
            case "program": program = try scanner.text(line, "program: a string")
            case "answers": hasAnswers = try scanner.bool(line, "answers: true or false")
            case "ordered": isOrdered = try scanner.bool(line, "ordered: true or false")
            case "unordered": unordered = try Self.names(line, &scanner, "unordered: channels")
            case "windows": windows = try Self.windows(line, &scanner)
            case "shards": shards = try Self.names(line, &scanner, "shards: names")
            default: throw InterchangeFault("the key \"\(name)\" is not one of the header")
            }
        }

        private mutating func readVersion(
            _ line: Span<UInt8>, _ scanner: inout InterchangeScanner
        ) throws(InterchangeFault) {
            version = try scanner.number(line, "version: a number")
            // At once: a newer version may have keys that are not known here.
            guard version == InterchangeForm.version else {
                var fault = InterchangeFault(
                    "the file has version \(version) of the interchange form; this program reads"
                        + " \(InterchangeForm.version): use a newer tally")
                fault.isNewerFormat = version > InterchangeForm.version
                throw fault
            }
        }

        private static func id(
            _ line: Span<UInt8>, _ scanner: inout InterchangeScanner
        ) throws(InterchangeFault) -> Bytes16 {
            let id = try scanner.string(line, "id: a string") { bytes16(hexadecimal: $0) }
            guard let id else { throw InterchangeFault("id: 32 hexadecimal digits are expected") }
            return id
        }

        private static func names(
            _ line: Span<UInt8>, _ scanner: inout InterchangeScanner, _ wanted: String
        ) throws(InterchangeFault) -> [String] {
            var names: [String] = []
            try scanner.array(line, "\(wanted) in an array") {
                (scanner) throws(InterchangeFault) in
                names.append(try scanner.text(line, "\(wanted) as strings"))
            }
            return names
        }

        private static func windows(
            _ line: Span<UInt8>, _ scanner: inout InterchangeScanner
        ) throws(InterchangeFault) -> [(shard: String, range: [UInt64])] {
            var windows: [(shard: String, range: [UInt64])] = []
            try scanner.object(line, "windows: an object") {
                (scanner, key) throws(InterchangeFault) in
                var range: [UInt64] = []
                try scanner.array(line, "a window: an array of two offsets") {
                    (scanner) throws(InterchangeFault) in
                    range.append(
                        try scanner.number(
                            line, "an offset of a window", through: CommitFormat.offsetMax))
                }
                windows.append((string(key), range))
            }
            return windows
        }

        func manifest(_ line: Span<UInt8>) throws(InterchangeFault) -> Manifest {
            guard format == InterchangeForm.format else {
                throw InterchangeFault(
                    "the first line is no header: it must begin {\"format\":\"tally-events\"")
            }
            for key in ["version", "ledger", "shards"] where !seen.contains(key) {
                throw InterchangeFault("the header lacks the key \"\(key)\"")
            }
            guard let directory = ShardDirectory(shards) else {
                throw InterchangeFault(
                    "the names of the shards cannot be used: each is 1 to 64 of a-z, 0-9 and -,"
                        + " and none stands twice")
            }
            var manifest = Manifest(
                name: ledger, id: id ?? Self.id(of: line), program: program, shards: directory)
            manifest.isSealed = true
            manifest.isNative = isNative
            manifest.hasAnswers = hasAnswers
            manifest.isOrdered = isOrdered
            for text in unordered {
                guard let channel = directory.channel(text) else {
                    throw InterchangeFault("unordered: \"\(printable(text))\" is no channel")
                }
                guard manifest.unordered.insert(channel).inserted else {
                    throw InterchangeFault("unordered: \"\(printable(text))\" stands twice")
                }
            }
            for (name, range) in windows {
                guard let shard = directory.id(of: name) else {
                    throw InterchangeFault("windows: there is no shard \"\(printable(name))\"")
                }
                guard range.count == 2, range[0] >= 1, range[0] <= range[1],
                    manifest.windows[shard] == nil
                else {
                    throw InterchangeFault(
                        "windows: of \(name) one first and one last offset are expected, from 1")
                }
                manifest.windows[shard] = range[0]...range[1]
            }
            return manifest
        }

        /// The identity of a ledger whose header names none.
        private static func id(of line: Span<UInt8>) -> Bytes16 {
            var bytes: [UInt8] = []
            for index in 0..<line.count { bytes.append(line[index]) }
            let digest = Hashing.digest(bytes)
            return Bytes16(low: digest.words.0, high: digest.words.1)
        }
    }
}
