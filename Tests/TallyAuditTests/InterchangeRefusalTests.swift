import Foundation
import TallyAudit
import TallyCore
import TallyStore
import Testing

@Suite("a malformed line is refused with its number, and nothing is left behind")
struct InterchangeRefusalTests {
    static let header =
        #"{"format":"tally-events","version":1,"ledger":"x","shards":["a","b"]}"#
    static let time = #""time":"2026-01-01T00:00:00.000000001Z""#
    static let sent =
        #"{"shard":"a","offset":1,"commit":1,\#(time),"kind":"sent","peer":"b","sequence":1}"#

    static func noted(_ offset: Int, _ nanosecond: Int, _ rest: String = "") -> String {
        #"{"shard":"a","offset":\#(offset),"time":"2026-01-01T00:00:00.00000000\#(nanosecond)Z","#
            + #""kind":"noted"\#(rest)}"#
    }

    struct Case: CustomTestStringConvertible, Sendable {
        var name: String
        var line: Int
        var lines: [String]
        var text: String
        var testDescription: String { name }

        init(_ name: String, _ line: Int, _ text: String, _ lines: [String]) {
            (self.name, self.line, self.text, self.lines) = (name, line, text, lines)
        }

        /// A second line, behind the plain header.
        init(_ name: String, _ text: String, _ line: String) {
            self.init(name, 2, text, [InterchangeRefusalTests.header, line])
        }
    }

    static func event(_ kind: String, _ rest: String) -> String {
        #"{"shard":"a",\#(time),"kind":"\#(kind)"\#(rest)}"#
    }

    static let headers: [Case] = [
        Case("an empty file", 1, "empty", []),
        Case("a header that is no JSON", 1, "an object", ["hello"]),
        Case("an event first", 1, "not one of the header", [sent]),
        Case("another format", 1, "no header", [#"{"format":"x","shards":["a"]}"#]),
        Case("no format", 1, "no header", [#"{"version":1,"ledger":"x","shards":["a"]}"#]),
        Case(
            "a newer version", 1, "newer tally", [#"{"format":"tally-events","version":2,"z":1}"#]),
        Case("version 0", 1, "version 0", [#"{"format":"tally-events","version":0}"#]),
        Case("no ledger", 1, "ledger", [#"{"format":"tally-events","version":1,"shards":["a"]}"#]),
        Case("no shards", 1, "shards", [#"{"format":"tally-events","version":1,"ledger":"x"}"#]),
        header("no shard in it", "shards", #""shards":[]"#),
        header("a shard twice", "names of the shards", #""shards":["a","a"]"#),
        header("a shard's bad name", "names of the shards", #""shards":["../x"]"#),
        header("a shard that is a number", "shards", #""shards":["a",1]"#),
        header("a key twice", "twice", #""shards":["a"],"shards":["a"]"#),
        header("an unknown key", "not one of the header", #""colour":"red","shards":["a"]"#),
        header("a bad id", "id", #""id":"12","shards":["a"]"#),
        header("an unknown channel", "no channel", #""unordered":["a/c"],"shards":["a","b"]"#),
        header(
            "a channel twice", "twice", #""unordered":["a/b","a/b"],"shards":["a","b"]"#),
        header("an unknown window", "no shard", #""windows":{"z":[1,2]},"shards":["a"]"#),
        header("a window of one", "window", #""windows":{"a":[1]},"shards":["a"]"#),
        header("a window from 0", "window", #""windows":{"a":[0,2]},"shards":["a"]"#),
        header("a window backwards", "window", #""windows":{"a":[3,2]},"shards":["a"]"#),
        header(
            "a window twice", "window", #""windows":{"a":[1,2],"a":[1,2]},"shards":["a"]"#),
        header(
            "a window too far", "out of range", #""windows":{"a":[1,9223372036854775808]}"#),
        header("ordered as a string", "ordered", #""ordered":"yes","shards":["a"]"#),
        header("text behind the header", "end of the line", #""shards":["a"]} {"#, end: ""),
        Case("the header again", 2, "not one of an event", [header, header]),
        Case("half a header", 1, "cut off", [String(header.dropLast(4))]),
    ]

    static func header(_ name: String, _ text: String, _ rest: String, end: String = "}") -> Case {
        Case(name, 1, text, [#"{"format":"tally-events","version":1,"ledger":"x",\#(rest)\#(end)"#])
    }

    static let texts: [Case] = [
        Case("no JSON", "an object", "hello"),
        Case("an array", "an object", "[1]"),
        Case("a blank line", "an object", ""),
        Case("null", "kind", #"{"shard":"a",\#(time),"kind":null}"#),
        Case("an unknown key", "\"colour\"", event("noted", #","colour":1"#)),
        Case("a key twice", "twice", event("noted", #","shard":"a""#)),
        Case("a trailing comma", "a key", event("noted", ",")),
        Case("text behind it", "end of the line", event("noted", "") + "x"),
        Case("a control character", "control", event("noted", #","payload":"\#u{1}""#)),
        Case("an escape that is none", "escape", event("noted", #","payload":"\q""#)),
        Case("half an escape", "four digits", event("noted", #","payload":"\u00g0""#)),
        Case("half a pair", "half a character", event("noted", #","payload":"\ud800""#)),
        Case("a pair's second half", "half a character", event("noted", #","payload":"\udc00""#)),
        Case("two first halves", "half a character", event("noted", #","payload":"\ud800\ud800""#)),
        Case("cut inside a string", "cut off", String(sent.dropLast(38))),
        Case("cut before its end", "cut off", String(sent.dropLast(1))),
        Case("cut behind a backslash", "cut off", #"{"shard":"a\"#),
        Case(
            "a truncated last line", 3, "cut off",
            [header, sent, #"{"shard":"a","offset":2,"comm"#]),
    ]

    static let values: [Case] = [
        Case("no shard", "\"shard\"", #"{\#(time),"kind":"noted"}"#),
        Case("no time", "\"time\"", #"{"shard":"a","kind":"noted"}"#),
        Case("no kind", "\"kind\"", #"{"shard":"a",\#(time)}"#),
        Case("an unknown shard", "\"z\"", #"{"shard":"z",\#(time),"kind":"noted"}"#),
        Case("a shard that is a number", "shard", #"{"shard":1,\#(time),"kind":"noted"}"#),
        Case("an unknown kind", "\"lost\"", event("lost", "")),
        Case("an unknown peer", "\"q\"", event("sent", #","peer":"q","sequence":1"#)),
        Case(
            "a peer that has a name", "shard-#1", event("sent", #","peer":"shard-#1","sequence":1"#)
        ),
        Case("no peer", "\"peer\"", event("sent", #","sequence":1"#)),
        Case("no sequence", "\"sequence\"", event("sent", #","peer":"b""#)),
        Case("sequence 0", "sequence", event("sent", #","peer":"b","sequence":0"#)),
        Case("no outcome", "\"outcome\"", event("received", #","peer":"b","sequence":1"#)),
        Case(
            "an unknown outcome", "\"lost\"",
            event("received", #","peer":"b","sequence":1,"outcome":"lost""#)),
        Case(
            "an outcome of another kind", "outcome",
            event("received", #","peer":"b","sequence":1,"outcome":"accepted""#)),
        Case("no reason", "\"reason\"", event("conflicted", #","peer":"b","sequence":1"#)),
        Case(
            "a reason of another kind", "reason",
            event("reemitted", #","peer":"b","sequence":1,"through":1,"reason":"forced""#)),
        Case(
            "a range backwards", "range",
            event("reemitted", #","peer":"b","sequence":2,"through":1,"reason":"retry""#)),
        Case("a peer's intervention without it", "peer", event("intervened", #","reason":"peer""#)),
        Case(
            "a deadline on a note", "\"deadline\"",
            event("noted", #","deadline":"2026-01-01T00:00:00Z""#)),
        Case(
            "sentAt on a send", "\"sentAt\"",
            String(sent.dropLast()) + #","sentAt":"2026-01-01T00:00:00Z"}"#),
        Case("a payload on opened", "\"payload\"", event("opened", #","payload":"AAAA""#)),
        Case("a result on a note", "\"result\"", event("noted", #","result":"AAAA""#)),
        Case("a number as a string", "a number", event("noted", #","cause":"1""#)),
        Case("a string as a number", "a string", event("noted", #","payload":1"#)),
        Case("a negative number", "a number", event("noted", #","cause":-1"#)),
        Case("a fraction", "whole", event("noted", #","cause":1.5"#)),
        Case("an exponent", "whole", event("noted", #","cause":1e3"#)),
        Case("a leading zero", "zero", event("noted", #","cause":01"#)),
        Case("2^64", "out of range", event("noted", #","cause":18446744073709551616"#)),
        Case("10^20", "out of range", event("noted", #","cause":100000000000000000000"#)),
        Case(
            "a fold version of 2^32", "out of range", event("opened", #","foldVersion":4294967296"#)
        ),
        Case("clean as a number", "clean", event("opened", #","clean":1"#)),
        Case("base64 without padding", "base64", event("noted", #","payload":"AAA""#)),
        Case("base64 of another alphabet", "base64", event("noted", #","payload":"AA_-""#)),
        Case("base64 with loose bits", "base64", event("noted", #","payload":"AB==""#)),
        Case("base64 padded inside", "base64", event("noted", #","payload":"A==A""#)),
        Case("base64 of padding", "base64", event("noted", #","payload":"====""#)),
        Case("hexadecimal too short", "32", event("noted", #","correlation":"12""#)),
        Case(
            "hexadecimal in capitals", "32",
            event("noted", #","correlation":"0123456789ABCDEF0123456789abcdef""#)),
        Case("a bad head", "64", event("noted", #","head":"12""#)),
        Case("a time that is none", "time", #"{"shard":"a","time":"today","kind":"noted"}"#),
        Case(
            "the 30th of February", "time",
            #"{"shard":"a","time":"2026-02-30T00:00:00.000000000Z","kind":"noted"}"#),
        Case(
            "hour 24", "time",
            #"{"shard":"a","time":"2026-02-03T24:00:00.000000000Z","kind":"noted"}"#),
        Case(
            "a time before 1970", "time",
            #"{"shard":"a","time":"1969-12-31T23:59:59.999999999Z","kind":"noted"}"#),
        Case(
            "a time behind 2262", "time",
            #"{"shard":"a","time":"2262-04-11T23:47:16.854775808Z","kind":"noted"}"#),
        Case(
            "the beginning of time", "not later",
            #"{"shard":"a","time":"1970-01-01T00:00:00.000000000Z","kind":"noted"}"#),
    ]

    static let orders: [Case] = [
        Case("offset 2 first", 2, "offset 1", [header, noted(2, 1)]),
        Case("offset 0", 2, "offset 1", [header, noted(0, 1)]),
        Case("a gap", 4, "offset 3", [header, noted(1, 1), noted(2, 2), noted(4, 3)]),
        Case("an offset twice", 3, "offset 2", [header, noted(1, 1), noted(1, 2)]),
        Case(
            "time that stands still", 3, "not later",
            [
                header, noted(1, 1, #","commit":1"#), noted(2, 1, #","commit":2"#),
            ]),
        Case(
            "time that goes back", 4, "not later",
            [
                header, noted(1, 1), noted(2, 3), noted(3, 2),
            ]),
        Case(
            "two times in a commit", 3, "different times",
            [
                header, noted(1, 1, #","commit":1"#), noted(2, 2, #","commit":1"#),
            ]),
        Case(
            "two epochs in a commit", 3, "different epochs",
            [
                header, noted(1, 1, #","epoch":1"#), noted(2, 1, #","epoch":2"#),
            ]),
        Case(
            "a commit with another's name", 3, "begins at offset 2",
            [
                header, noted(1, 1, #","commit":1"#), noted(2, 2, #","commit":3"#),
            ]),
        Case("a commit's name 0", 2, "begins at offset 1", [header, noted(1, 1, #","commit":0"#)]),
        Case(
            "a wrong head", 3, "head says",
            [
                header, noted(1, 1),
                noted(2, 2, #","head":"\#(String(repeating: "0", count: 64))""#),
            ]),
        Case(
            "a head inside a commit", 2, "not its commit's last",
            [
                header, noted(1, 1, #","head":"\#(String(repeating: "0", count: 64))""#),
                noted(2, 1),
            ]),
        Case(
            "an invalid event in a commit's middle", 3, "range",
            [
                header, noted(1, 1),
                #"{"shard":"a",\#(time),"kind":"sent","peer":"b","sequence":0}"#,
                noted(3, 1), noted(4, 2),
            ]),
        Case(
            "an offset beyond the window", 3, "beyond",
            [
                windowed, noted(5, 1), noted(6, 2),
            ]),
        Case("an offset before the window", 2, "offset 5", [windowed, noted(1, 1)]),
    ]

    static let windowed =
        #"{"format":"tally-events","version":1,"ledger":"x","windows":{"a":[5,5]},"shards":["a"]}"#

    @Test("every kind of malformed line", arguments: headers + texts + values + orders)
    func refused(_ refusal: Case) throws {
        let scratch = try InterchangeFixture.scratch()
        defer { InterchangeFixture.remove(scratch) }
        let file = scratch + "/lines"
        let isCut = refusal.text == "cut off"
        try InterchangeFixture.write(
            (refusal.lines.joined(separator: "\n") + (isCut || refusal.lines.isEmpty ? "" : "\n")),
            to: file)
        let error = #expect(throws: StoreError.self) { try Import.run(file, to: scratch + "/new") }
        let text = error?.text ?? ""
        #expect(text.hasPrefix("line \(refusal.line): "), "\(text)")
        #expect(text.contains(refusal.text), "\(text)")
        #expect(!text.contains { $0.isNewline })
        #expect(error?.code == (refusal.name == "a newer version" ? .newerFormat : .malformed))
        #expect(InterchangeFixture.list(scratch) == ["lines"])
    }

    @Test("a changed, a missing and a swapped line of a copy are found by the heads")
    func heads() throws {
        let scratch = try InterchangeFixture.scratch()
        defer { InterchangeFixture.remove(scratch) }
        let ledger = try InterchangeFixture.allKinds(scratch + "/original")
        let lines = InterchangeFixture.lines(try InterchangeFixture.export(ledger))
        let before = InterchangeFixture.list(scratch)
        var changed = lines
        changed[3] = lines[3].replacing("\"cause\":1,", with: "\"cause\":2,")
        #expect(changed != lines)
        let error = #expect(throws: StoreError.self) {
            try InterchangeFixture.importing(
                changed.joined(separator: "\n"), in: scratch)
        }
        // The head stands on the last of the first commit's twelve events.
        #expect(error?.text.hasPrefix("line 13: head says") == true, "\(error?.text ?? "")")
        var missing = lines
        missing.remove(at: 5)
        #expect(throws: StoreError.self) {
            try InterchangeFixture.importing(missing.joined(separator: "\n"), in: scratch)
        }
        #expect(InterchangeFixture.list(scratch) == before)
    }

    @Test("a line longer than any event is refused while it is read")
    func longLine() throws {
        let scratch = try InterchangeFixture.scratch()
        defer { InterchangeFixture.remove(scratch) }
        var text = Array((Self.header + "\n").utf8)
        text += [UInt8](repeating: UInt8(ascii: " "), count: InterchangeForm.lineLengthMax + 1)
        text.append(UInt8(ascii: "\n"))
        let error = #expect(throws: StoreError.self) {
            try InterchangeFixture.importing(text, in: scratch)
        }
        #expect(error?.text.hasPrefix("line 2: ") == true)
        #expect(InterchangeFixture.list(scratch) == [])
    }

    @Test("a payload of more than 16 MiB, and a commit of more than 64 MiB")
    func tooLarge() throws {
        let scratch = try InterchangeFixture.scratch()
        defer { InterchangeFixture.remove(scratch) }
        func line(_ bytes: Int) -> String {
            let payload = String(repeating: "AAAA", count: bytes / 3)
            return Self.event("noted", #","payload":"\#(payload)""#) + "\n"
        }
        let big = Self.header + "\n" + line((16 << 20) + 5)
        var error = #expect(throws: StoreError.self) {
            try InterchangeFixture.importing(big, in: scratch)
        }
        #expect(error?.text.hasPrefix("line 2: payload") == true, "\(error?.text ?? "")")
        let many = Self.header + "\n" + String(repeating: line(15 << 20), count: 5)
        error = #expect(throws: StoreError.self) {
            try InterchangeFixture.importing(many, in: scratch)
        }
        #expect(error?.text.hasPrefix("line 6: the commit is larger") == true)
        #expect(InterchangeFixture.list(scratch) == [])
    }

    @Test("an existing directory is not touched, a missing file is named")
    func places() throws {
        let scratch = try InterchangeFixture.scratch()
        defer { InterchangeFixture.remove(scratch) }
        try InterchangeFixture.write((Self.header + "\n"), to: scratch + "/lines")
        var error = #expect(throws: StoreError.self) {
            try Import.run(scratch + "/lines", to: scratch)
        }
        #expect(error?.code == .exists)
        error = #expect(throws: StoreError.self) {
            try Import.run(scratch + "/nothing", to: scratch + "/new")
        }
        #expect(error?.text.contains(scratch + "/nothing") == true)
        #expect(InterchangeFixture.list(scratch) == ["lines"])
    }
}
