import Foundation
import TallyCore
import TallyStore

/// The crash rig: production code over real files, and the machines that attack them.
///
///     CrashRig VERB ARGUMENTS
@main
enum Main {
    /// A machine or a part of one: gets the arguments behind its verb, gives the exit code.
    typealias Verb = @Sendable ([String]) throws -> Int32

    /// Every verb there is; a machine adds its line here.
    static let verbs: [(name: String, verb: Verb)] = [
        ("prepare", Workload.prepare),
        ("work", Workload.work),
        ("check", Examination.run),
        ("recovered", Recovered.run),
        ("kill", KillPoints.run),
        ("kill-storm", KillStorm.run),
        ("faults", FaultPoints.run),
        ("fault-limits", FaultLimits.run),
        ("limited", FaultLimits.limited),
        ("bereft", FaultLimits.bereft),
        ("power", Power.run),
        ("power-worker", PowerWorker.run),
        ("tears", Power.tears),
        ("tears-worker", TearWorker.run),
        ("together", Power.together),
        ("together-worker", TogetherWorker.run),
        ("lying", Power.lying),
        ("lying-worker", LyingWorker.run),
    ]

    static func main() {
        let arguments = Array(CommandLine.arguments.dropFirst())
        guard let name = arguments.first,
            let verb = verbs.first(where: { $0.name == name })?.verb
        else {
            Lines.complain(
                "say one of: " + verbs.map(\.name).joined(separator: ", ")
                    + "; tools/crash/README.md says what they do")
            exit(2)
        }
        do {
            exit(try verb(Array(arguments.dropFirst())))
        } catch {
            Lines.complain("\(name): \(code(of: error)): \(error)")
            exit(3)
        }
    }
}

/// The code of an error of ours; a machine takes no other error for an answer.
private func code(of error: any Error) -> String {
    if let error = error as? StoreError { return error.code.rawValue }
    if error is Stopped { return "stopped" }
    if let refusal = error as? Refusal { return "refusal-\(refusal.code)" }
    return "untyped"
}

/// What a person typed that makes no sense.
struct UsageError: Error, CustomStringConvertible {
    var description: String
}

/// The arguments of a verb: names in their places, and options with a value each.
struct Arguments {
    private(set) var names: [String] = []
    private var options: [String: String] = [:]

    /// - Throws: ``UsageError`` for an option that is not among the known ones or has no value.
    init(_ arguments: [String], options known: [String] = []) throws {
        var rest = arguments[...]
        while let first = rest.popFirst() {
            guard first.hasPrefix("--") else {
                names.append(first)
                continue
            }
            guard known.contains(first), let value = rest.popFirst() else {
                throw UsageError(
                    description: "\(first) is no option here or has no value; there are: "
                        + known.joined(separator: " "))
            }
            options[first] = value
        }
    }

    func text(_ option: String) -> String? { options[option] }

    func number(_ option: String, default value: Int) throws -> Int {
        guard let text = options[option] else { return value }
        guard let number = Int(text), number >= 0 else {
            throw UsageError(description: "\(option) takes a number, not \(text)")
        }
        return number
    }

    /// The name in a place.
    func name(_ index: Int, _ what: String) throws -> String {
        guard index < names.count else { throw UsageError(description: "\(what) is missing") }
        return names[index]
    }
}
