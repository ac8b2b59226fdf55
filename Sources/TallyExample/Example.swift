import Foundation
import TallyCommand
import Tallystick

/// The desk asks the vault to reserve margin for a trade and goes on; the answer comes back later.
enum Margin: Program {
    struct State: Sendable { var (free, reserved) = (1000, 0) }

    static let name = "margin"
    static let foldVersion: UInt32 = 1
    static func initial(_ shard: ShardContext) -> State { State() }

    static func decide(
        _ stimulus: Stimulus, _ state: State, _ shard: ShardContext
    ) throws(Refusal) -> Decision {
        switch stimulus {
        case .command(let amount):  // at the desk
            guard number(amount) > 0 else { throw Refusal("an amount is a positive number") }
            return Decision(sends: [.init(to: try shard.id(of: "vault"), amount)])
        case .message(let name, let amount):  // at the vault
            let isEnough = number(amount) <= state.free
            return Decision(answers: [.init(name, accepted: isEnough, payload: amount)])
        case .outcome:  // at the desk again
            return Decision()
        }
    }

    static func evolve(
        _ state: inout State, _ event: Event, _ payload: RawSpan, _ shard: ShardContext
    ) {
        guard event.outcome == .accepted else { return }
        if event.kind == .answered { state.free -= number(payload.copied) }
        if event.kind == .acknowledged { state.reserved += number(payload.copied) }
    }

    static func encode(_ state: State) -> [UInt8] { Array("\(state.free) \(state.reserved)".utf8) }
    static func decode(_ bytes: [UInt8], _ shard: ShardContext) -> State? {
        let numbers = String(decoding: bytes, as: UTF8.self).split(separator: " ").map { Int($0) }
        guard numbers.count == 2, let free = numbers[0], let reserved = numbers[1] else {
            return nil
        }
        return State(free: free, reserved: reserved)
    }
    static func fields(_ state: State) -> [(name: String, value: String)] {
        [("free", "\(state.free)"), ("reserved", "\(state.reserved)")]
    }
    static func number(_ text: [UInt8]) -> Int { Int(String(decoding: text, as: UTF8.self)) ?? 0 }
}

@main struct MarginTool: TallyTool {
    typealias Program = Margin

    static func main() async throws {
        let arguments = Array(CommandLine.arguments.dropFirst())
        switch (arguments.first, arguments.count) {
        case ("crash", 2): try await crash(arguments[1])
        case ("recover", 2): try await recover(arguments[1])
        default: await run(arguments)  // every verb, knowing this program
        }
    }

    /// Sends three requests over a network that carries nothing, and dies.
    static func crash(_ directory: String) async throws {
        let ledger = try Ledger.open(directory, for: Margin.self, shards: ["desk", "vault"])
        let live = try LiveLedger(
            ledger, program: Margin.self,
            transport: InProcessTransport(faults: TransportFaults(loss: 1)))
        for amount in ["300", "600", "500"] {
            let performed = try await live.perform(Array(amount.utf8), on: live.shard("desk"))
            print("sent \(ledger.shards.text(performed.messages[0])): reserve \(amount)")
        }
        fflush(nil)
        kill(getpid(), SIGKILL)
    }

    /// Opening recovers by itself; what was pending is awaited, and the vault's log read from its start.
    static func recover(_ directory: String) async throws {
        let ledger = try Ledger.open(directory, for: Margin.self, shards: ["desk", "vault"])
        let live = try LiveLedger(ledger, program: Margin.self)
        for message in try await live.pending(of: live.shard("desk")) {
            let settled = try await live.outcome(of: message)
            print("\(ledger.shards.text(message)) \(settled.result)")
        }
        var answered = 0
        for try await event in try live.events(of: live.shard("vault"))
        where event.event.kind == .answered {
            let word = event.event.outcome.name
            print("vault@\(event.offset.rawValue) \(word) \(Margin.describe(event.record.payload))")
            answered += 1
            if answered == 3 { break }
        }
        await live.close()
    }
}
