/// JSON as text, keys in the order they are written: canonical, and many times faster than encoding
/// through reflection. Reading is left to Foundation.
package struct JSONText {
    package private(set) var bytes: [UInt8] = []
    private var needsComma = false

    package init() {}

    package var text: String { String(decoding: bytes, as: UTF8.self) }

    package mutating func beginObject(_ key: String? = nil) { open(key, UInt8(ascii: "{")) }
    package mutating func endObject() { close(UInt8(ascii: "}")) }
    package mutating func beginArray(_ key: String? = nil) { open(key, UInt8(ascii: "[")) }
    package mutating func endArray() { close(UInt8(ascii: "]")) }

    package mutating func field(_ key: String?, _ value: String) {
        begin(key)
        append(quoted: value)
    }
    package mutating func field(_ key: String?, _ value: UInt64) {
        begin(key)
        bytes.append(contentsOf: String(value).utf8)
    }
    package mutating func field(_ key: String?, _ value: Int) {
        begin(key)
        bytes.append(contentsOf: String(value).utf8)
    }
    package mutating func field(_ key: String?, _ value: Bool) {
        begin(key)
        bytes.append(contentsOf: (value ? "true" : "false").utf8)
    }
    /// A number with three digits behind the point.
    package mutating func field(_ key: String?, thousandths value: UInt64) {
        begin(key)
        let fraction = String(value % 1000)
        let zeros = String(repeating: "0", count: 3 - fraction.count)
        bytes.append(contentsOf: "\(value / 1000).\(zeros)\(fraction)".utf8)
    }
    package mutating func null(_ key: String?) {
        begin(key)
        bytes.append(contentsOf: "null".utf8)
    }

    /// Starts the next line of a JSON lines text.
    package mutating func endLine() {
        bytes.append(UInt8(ascii: "\n"))
        needsComma = false
    }

    package mutating func removeAll() {
        bytes.removeAll(keepingCapacity: true)
        needsComma = false
    }

    private mutating func begin(_ key: String?) {
        if needsComma { bytes.append(UInt8(ascii: ",")) }
        needsComma = true
        guard let key else { return }
        append(quoted: key)
        bytes.append(UInt8(ascii: ":"))
    }

    private mutating func open(_ key: String?, _ bracket: UInt8) {
        begin(key)
        bytes.append(bracket)
        needsComma = false
    }

    private mutating func close(_ bracket: UInt8) {
        bytes.append(bracket)
        needsComma = true
    }

    private mutating func append(quoted value: String) {
        let digits = Array("0123456789abcdef".utf8)
        bytes.append(UInt8(ascii: "\""))
        for byte in value.utf8 {
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"):
                bytes.append(UInt8(ascii: "\\"))
                bytes.append(byte)
            case 0..<0x20, 0x7F:
                bytes.append(contentsOf: "\\u00".utf8)
                bytes.append(digits[Int(byte >> 4)])
                bytes.append(digits[Int(byte & 15)])
            default:
                bytes.append(byte)
            }
        }
        bytes.append(UInt8(ascii: "\""))
    }
}
