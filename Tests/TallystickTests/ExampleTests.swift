import Foundation
import Testing

/// The example of the README is built and run as it stands there.
@Suite("The example", .timeLimit(.minutes(5)))
struct ExampleTests {
    private static let repository = URL(fileURLWithPath: #filePath).resolvingSymlinksInPath()
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent().path

    private static func text(_ path: String) throws -> String {
        try String(contentsOfFile: repository + "/" + path, encoding: .utf8)
    }

    private struct Outcome {
        var status: Int32
        var output: String
    }

    /// Runs the example that was built with these tests.
    private static func run(_ arguments: [String], in directory: String) throws -> Outcome {
        let beside =
            URL(fileURLWithPath: CommandLine.arguments.first ?? "")
            .resolvingSymlinksInPath().deletingLastPathComponent().path + "/TallyExample"
        let process = Process()
        let isBeside = FileManager.default.isExecutableFile(atPath: beside)
        process.executableURL = URL(
            fileURLWithPath: isBeside ? beside : repository + "/.build/debug/TallyExample")
        process.arguments = arguments
        process.currentDirectoryURL = URL(fileURLWithPath: directory)
        let pipe = Pipe()
        process.standardOutput = pipe
        try process.run()
        let output = try pipe.fileHandleForReading.readToEnd() ?? Data()
        process.waitUntilExit()
        let isSignal = process.terminationReason == .uncaughtSignal
        return Outcome(
            status: isSignal ? -process.terminationStatus : process.terminationStatus,
            output: String(decoding: output, as: UTF8.self))
    }

    @Test("sends, dies, is found out by its own tool, recovers, and verifies clean")
    func story() throws {
        let directory =
            FileManager.default.temporaryDirectory.path + "/example-\(UUID().uuidString)"
        try FileManager.default.createDirectory(
            atPath: directory, withIntermediateDirectories: false)
        defer { try? FileManager.default.removeItem(atPath: directory) }
        func run(_ verb: String) throws -> Outcome {
            try Self.run([verb, "margin.ledger"], in: directory)
        }
        let crash = try run("crash")
        #expect(crash.status == -9)
        #expect(
            crash.output == """
                sent desk/vault/1: reserve 300
                sent desk/vault/2: reserve 600
                sent desk/vault/3: reserve 500

                """)
        let orphans = try run("orphans")
        #expect(orphans.status == 1)
        #expect(orphans.output.contains("3 orphans: 3 undelivered"))
        let recover = try run("recover")
        #expect(recover.status == 0)
        #expect(
            recover.output == """
                desk/vault/1 accepted
                desk/vault/2 accepted
                desk/vault/3 rejected
                vault@5 accepted 300
                vault@7 accepted 600
                vault@9 rejected 500

                """)
        let again = try run("orphans")
        #expect(again.status == 0)
        let state = try run("state")
        #expect(state.output.contains("reserved  900"))
        #expect(state.output.contains("free      100"))
        let verify = try run("verify")
        #expect(verify.status == 0)
    }

    @Test(
        "stands where it is shown as it is",
        arguments: ["README.md", "Sources/Tallystick/Tallystick.docc/GettingStarted.md"])
    func shown(_ page: String) throws {
        let example = try Self.text("Sources/TallyExample/Example.swift")
        #expect(try Self.text(page).contains("```swift\n\(example)```"))
    }
}
