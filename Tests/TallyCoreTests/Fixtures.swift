#if canImport(Glibc)
    import Glibc
#elseif canImport(Darwin)
    import Darwin
#endif
import CCRC32C
import TallyCore
import Testing

/// Test vectors as text: a first line that says how they were made, then `name: hexadecimal` lines.
enum Fixtures {
    /// Whether vectors are written anew on purpose (`TALLY_RECORD=1`).
    static var isRecording: Bool { unsafe getenv("TALLY_RECORD") != nil }

    /// How many times as many seeds are walked as usual (`TALLY_SEEDS`).
    static var seedFactor: Int {
        guard let text = unsafe getenv("TALLY_SEEDS") else { return 1 }
        return Int(unsafe String(cString: text)) ?? 1
    }

    /// The file may have been compiled through a symbolic link; the fixtures lie beside the real
    /// one.
    private static func path(_ name: String, _ file: String) -> String {
        var file = file
        if let resolved = unsafe realpath(file, nil) {
            file = unsafe String(cString: resolved)
            unsafe free(resolved)
        }
        let parts = file.split(separator: "/").dropLast(3)
        return "/" + parts.joined(separator: "/") + "/fixtures/" + name
    }

    /// Compares vectors with the recorded ones, or records them.
    static func compare(
        _ vectors: [(name: String, bytes: [UInt8])], with name: String, about: String,
        file: String = #filePath, _ location: SourceLocation = #_sourceLocation
    ) {
        var text = "# \(about)\n"
        for vector in vectors { text += "\(vector.name): \(hexadecimal(vector.bytes))\n" }
        let path = path(name, file)
        if isRecording { write(text, path) }
        let recorded = read(path)
        #expect(recorded != nil, "\(path) is missing", sourceLocation: location)
        let lines = (recorded ?? "").split(separator: "\n").map(String.init)
        for (line, made) in zip(lines, text.split(separator: "\n").map(String.init)) {
            #expect(line == made, sourceLocation: location)
        }
        #expect(recorded == text, sourceLocation: location)
    }

    /// The recorded vectors.
    static func load(_ name: String, file: String = #filePath) -> [(name: String, bytes: [UInt8])] {
        (read(path(name, file)) ?? "").split(separator: "\n").dropFirst().map { line in
            let parts = line.split(separator: ":")
            return (String(parts[0]), bytes(ofHexadecimal: parts[1].dropFirst()))
        }
    }

    private static func read(_ path: String) -> String? {
        guard let file = unsafe fopen(path, "r") else { return nil }
        defer { _ = unsafe fclose(file) }
        var bytes: [UInt8] = []
        while case let byte = unsafe fgetc(file), byte != EOF { bytes.append(UInt8(byte)) }
        return String(decoding: bytes, as: UTF8.self)
    }

    private static func write(_ text: String, _ path: String) {
        guard let file = unsafe fopen(path, "w") else { return }
        _ = unsafe fputs(text, file)
        _ = unsafe fclose(file)
    }

    static func hexadecimal(_ bytes: [UInt8]) -> String {
        let digits = Array("0123456789abcdef")
        var text = ""
        for byte in bytes {
            text.append(digits[Int(byte >> 4)])
            text.append(digits[Int(byte & 15)])
        }
        return text
    }

    static func bytes(ofHexadecimal text: some StringProtocol) -> [UInt8] {
        let digits = text.utf8.map { UInt8($0 < 58 ? $0 - 48 : $0 - 87) }
        return stride(from: 0, to: digits.count - 1, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
    }
}

/// The CRC-32C of two runs of bytes.
func checksum(_ parts: ArraySlice<UInt8>...) -> UInt32 {
    parts.reduce(0) { crc, part in
        let bytes = Array(part)
        return unsafe tally_crc32c(crc, bytes, bytes.count)
    }
}

extension [UInt8] {
    /// Stores an integer little-endian.
    mutating func put<T: FixedWidthInteger>(_ value: T, at index: Int) {
        for byte in 0..<MemoryLayout<T>.size {
            self[index + byte] = UInt8(truncatingIfNeeded: value >> T(8 * byte))
        }
    }

    /// With the checksum of a commit put right.
    var resealed: [UInt8] {
        var bytes = self
        guard bytes.count >= 80 else { return bytes }
        bytes.put(checksum(bytes[..<76], bytes[80...]), at: 76)
        return bytes
    }

    /// With the checksum of an envelope put right.
    var reposted: [UInt8] {
        var bytes = self
        guard bytes.count >= 128 else { return bytes }
        bytes.put(checksum(bytes[..<124], bytes[128...]), at: 124)
        return bytes
    }
}
