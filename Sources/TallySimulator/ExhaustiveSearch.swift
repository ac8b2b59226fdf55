internal import TallyCore

extension Exploration {
    /// The states that were met: open addressing over their fingerprints.
    struct Visited {
        private var slots: [Fingerprint]
        private var mask: Int
        private(set) var count = 0
        private static var vacant: Fingerprint { Fingerprint(low: 0, high: 0) }

        init() {
            slots = Array(repeating: Self.vacant, count: 1 << 12)
            mask = slots.count - 1
        }

        /// - Returns: Whether it was not there yet.
        mutating func insert(_ print: Fingerprint) -> Bool {
            if count * 2 >= slots.count { grow() }
            guard place(print) else { return false }
            count += 1
            return true
        }

        private mutating func place(_ print: Fingerprint) -> Bool {
            var index = Int(truncatingIfNeeded: print.low) & mask
            while slots[index] != Self.vacant {
                if slots[index] == print { return false }
                index = (index + 1) & mask
            }
            slots[index] = print
            return true
        }

        private mutating func grow() {
            let old = slots
            slots = Array(repeating: Self.vacant, count: old.count * 2)
            mask = slots.count - 1
            for print in old where print != Self.vacant { _ = place(print) }
        }
    }

    /// One exploration under way.
    final class Search {
        private let setting: Setting
        private let goals = Goals()
        private var visited = Visited()
        private var press: Press
        /// By state, in the order of discovery: where it came from, and how.
        private var origins: [(parent: UInt32, step: Step)] = []
        private var transitions: UInt64 = 0
        private var continuations: UInt64 = 0
        private var roundsMax = 0
        private var depth = 0
        private var violation: Report.Violation?
        private let progress: (Report) -> Void

        init(_ setting: Setting, _ progress: @escaping (Report) -> Void) {
            self.setting = setting
            self.progress = progress
            press = Press(shards: setting.directory.count)
        }

        private struct Open {
            var world: World
            var index: UInt32
            var depth: Int
        }

        func run() -> Report {
            var isComplete = true
            var current: [Open] = []
            begin(&current)
            // Breadth first takes levels one after the other; depth first the end of one list.
            while !current.isEmpty, violation == nil {
                var next: [Open] = []
                while violation == nil, let open = current.popLast() {
                    if visited.count >= setting.options.statesMax {
                        isComplete = false
                        break
                    }
                    expand(open) { found in
                        if setting.options.isDepthFirst {
                            current.append(found)
                        } else {
                            next.append(found)
                        }
                    }
                }
                // Reversed, so that states are taken in the order in which they were found.
                current = isComplete ? next.reversed() : []
            }
            return report(isComplete: isComplete && violation == nil)
        }

        private func begin(_ list: inout [Open]) {
            do {
                var world = try World(setting)
                world.goals = goals
                _ = visited.insert(press.print(world))
                origins.append((.max, Step(kind: .restart, shard: ShardID(1))))
                list.append(Open(world: world, index: 0, depth: 0))
            } catch {
                violation = Report.Violation(error, ["the beginning"])
            }
        }

        private func expand(_ open: Open, _ found: (Open) -> Void) {
            for step in open.world.steps {
                do {
                    let isChanged = try open.world.after(step) { step, world in
                        transitions += 1
                        guard visited.insert(press.print(world)) else { return }
                        origins.append((open.index, step))
                        let depth = open.depth + 1
                        self.depth = max(self.depth, depth)
                        goals.note(world)
                        found(Open(world: world, index: UInt32(origins.count - 1), depth: depth))
                        try settle(world)
                        if visited.count % 65_536 == 0 { progress(report(isComplete: false)) }
                    }
                    if !isChanged { transitions += 1 }
                } catch let breach as Breach {
                    let isBehind = breach.isBehind
                    violation = Report.Violation(
                        breach,
                        isBehind
                            ? history(of: UInt32(origins.count - 1), and: nil)
                            : history(of: open.index, and: step))
                    return
                } catch {
                    preconditionFailure("a step throws a breach or nothing: \(error)")
                }
            }
        }

        /// The fair continuation of each n-th state.
        private func settle(_ world: World) throws(Breach) {
            guard UInt64(origins.count) % setting.options.settlesEach == 0 else { return }
            continuations += 1
            var world = world
            world.goals = nil
            do {
                roundsMax = max(roundsMax, try world.settleFairly())
            } catch {
                throw Breach(error.law, "in a fair continuation: " + error.text, isBehind: true)
            }
        }

        private func history(of index: UInt32, and last: Step?) -> [String] {
            var path: [Step] = []
            var index = index
            while index != 0 {
                path.append(origins[Int(index)].step)
                index = origins[Int(index)].parent
            }
            path.reverse()
            if let last { path.append(last) }
            var lines: [String] = []
            guard var world = try? World(setting) else { return ["the beginning"] }
            for step in path {
                lines.append("\(lines.count + 1). \(world.text(step))")
                if (try? world.replay(step)) == nil { break }
            }
            return lines
        }

        private func report(isComplete: Bool) -> Report {
            Report(
                name: setting.options.name, states: UInt64(visited.count),
                transitions: transitions, depth: depth, isComplete: isComplete,
                continuations: continuations, roundsMax: roundsMax, goals: goals.reached,
                violation: violation)
        }
    }
}
