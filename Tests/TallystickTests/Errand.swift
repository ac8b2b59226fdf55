import Foundation
import Tallystick

/// The smallest program: a command becomes a message, a message is accepted with its own bytes.
enum Errand: Program {
    struct State: Sendable { var accepted: UInt64 = 0 }

    static let name = "errand"
    static let foldVersion: UInt32 = 1
    static func initial(_ shard: ShardContext) -> State { State() }

    static func decide(
        _ stimulus: Stimulus, _ state: State, _ shard: ShardContext
    ) throws(Refusal) -> Decision {
        switch stimulus {
        case .command(let payload):
            return Decision(sends: [.init(to: try shard.id(of: "there"), payload)])
        case .message(let name, let payload):
            return Decision(answers: [.init(name, accepted: true, payload: payload)])
        case .outcome: return Decision()
        }
    }

    static func evolve(
        _ state: inout State, _ event: Event, _ payload: RawSpan, _ shard: ShardContext
    ) {
        if event.outcome == .accepted { state.accepted += 1 }
    }

    static func encode(_ state: State) -> [UInt8] { Array("\(state.accepted)".utf8) }
    static func decode(_ bytes: [UInt8], _ shard: ShardContext) -> State? {
        UInt64(String(decoding: bytes, as: UTF8.self)).map { State(accepted: $0) }
    }

    /// A new ledger in a directory of its own, removed behind the closure.
    static func withLedger(_ body: (Ledger) async throws -> Void) async throws {
        let path = FileManager.default.temporaryDirectory.path + "/errand-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: path) }
        try await body(Ledger.open(path, for: Errand.self, shards: ["here", "there"]))
    }
}
