import Foundation
import Testing

/// What the house allows: which module may import which, and what the core must not know.
@Suite("The house")
struct HouseTests {
    private static let system: Set<String> = [
        "Glibc", "Musl", "Darwin", "Synchronization", "Dispatch", "Foundation",
        "FoundationEssentials",
    ]

    /// Modules of ours and of others; the system's come on top where they are allowed.
    private static let allowed: [String: (modules: Set<String>, system: Bool)] = [
        "LMDB": (["CLMDB"], true),
        "TallyCore": (["CCRC32C"], false),
        "TallyStore": (["TallyCore", "LMDB", "CCRC32C", "Crypto"], true),
        "TallyAudit": (["TallyCore", "TallyStore"], true),
        "TallyRuntime": (
            ["TallyCore", "TallyStore", "TallyAudit", "Logging", "CoreMetrics"], true
        ),
        "Tallystick": (
            [
                "TallyCore", "TallyStore", "TallyAudit", "TallyRuntime", "ServiceLifecycle",
                "Tracing", "Logging",
            ], false
        ),
        "TallystickTesting": (["TallyCore", "TallyStore", "TallyAudit", "TallyRuntime"], true),
        "TallyVenue": (["TallyCore"], false),
        "TallySimulator": (
            ["TallyCore", "TallyStore", "TallyAudit", "TallyRuntime", "TallyVenue"], true
        ),
        "TallyCommand": (
            [
                "TallyCore", "TallyStore", "TallyAudit", "TallyRuntime", "ArgumentParser",
                "Logging",
            ], true
        ),
        "TallyExample": (["Tallystick", "TallyCommand"], true),
        "TallyMain": (
            [
                "TallyCore", "TallyStore", "TallyAudit", "TallyRuntime", "TallyVenue",
                "TallySimulator", "TallyCommand", "ArgumentParser", "CoreMetrics",
            ], true
        ),
    ]

    private static var sources: URL {
        URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().appendingPathComponent("Sources")
    }

    private static func files(of module: String) throws -> [(name: String, text: String)] {
        let folder = sources.appendingPathComponent(module)
        return try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted()
            .filter { $0.hasSuffix(".swift") }
            .map { name in
                let file = folder.appendingPathComponent(name)
                return ("\(module)/\(name)", try String(contentsOf: file, encoding: .utf8))
            }
    }

    /// The modules a file imports: the first word behind `import` that is no kind of declaration.
    private static func imports(in text: String) -> [String] {
        text.split(separator: "\n").compactMap { line in
            let words = line.split(whereSeparator: { $0 == " " || $0 == "." }).map(String.init)
            guard let index = words.firstIndex(of: "import"), index <= 1,
                !line.trimmingCharacters(in: .whitespaces).hasPrefix("//")
            else { return nil }
            return words[(index + 1)...].first {
                !["struct", "class", "func", "enum"].contains($0)
            }
        }
    }

    @Test("every module of ours is in the table of imports")
    func everyModuleIsKnown() throws {
        let folders = try FileManager.default.contentsOfDirectory(atPath: Self.sources.path)
        let swift = try folders.filter { try !Self.files(of: $0).isEmpty }
        #expect(Set(swift) == Set(Self.allowed.keys))
    }

    @Test("a module imports what the design allows it", arguments: allowed.keys.sorted())
    func importsAreAllowed(_ module: String) throws {
        let rule = try #require(Self.allowed[module])
        for (name, text) in try Self.files(of: module) {
            for imported in Self.imports(in: text) {
                let isAllowed =
                    rule.modules.contains(imported)
                    || (rule.system && Self.system.contains(imported))
                #expect(isAllowed, "\(name) imports \(imported)")
            }
        }
    }

    @Test("the core knows no clock, no randomness of the system's, and no file")
    func coreIsPure() throws {
        let forbidden = [
            "SystemRandomNumberGenerator", ".random(", ".shuffled(", ".randomElement(",
            "ContinuousClock", "SuspendingClock", "Date(", "clock_gettime", "fopen", "print(",
        ]
        let files = try Self.files(of: "TallyCore")
        #expect(files.count > 10)
        for (name, text) in files {
            for word in forbidden {
                #expect(!text.contains(word), "\(name) says \(word)")
            }
        }
    }

    @Test("sources are ASCII, and none is longer than 450 lines")
    func sourcesAreTidy() throws {
        for module in Self.allowed.keys {
            for (name, text) in try Self.files(of: module) {
                #expect(text.utf8.allSatisfy { $0 < 0x80 }, "\(name) is not ASCII")
                #expect(
                    text.split(separator: "\n", omittingEmptySubsequences: false).count <= 450,
                    "\(name) is too long")
            }
        }
    }
}
