extension Exploration {
    /// The explorations of `tally simulate --exhaustive`: together 10^6 states or more, and every goal
    /// reached by one of them. Each is complete, unless its ``Options/statesMax`` says otherwise.
    public static var standard: [Options] {
        let late = Errand(0, 1, hasDeadline: true)
        let no = Errand(0, 1, .reject)
        let yes = Errand(0, 1)
        let owed = Errand(0, 1, .later)
        let ordered = [late, Errand(0, 1, .reject, hasDeadline: true), yes]
        return [
            // Three messages, whatever the network and the clocks do.
            without("ordered", ordered),
            without("unordered", [late, no, yes]) { $0.isOrdered = false },
            without("both-ways", [late, Errand(1, 0, .reject, hasDeadline: true), yes]),
            without("deferred", [Errand(0, 1, .later, hasDeadline: true), owed, yes]),
            without("own-clocks", ordered) { $0.hasOwnClocks = true },
            // And with crashes.
            with("ordered-crash", [late, no]),
            with("both-ways-crash", [late, Errand(1, 0, .reject)]),
            with("unordered-crash", [late, no]) { $0.isOrdered = false },
            with("deferred-crash", [owed]),
            with("chain-crash", [Errand(0, 1, then: .accept, afterwards: .reject)]),
            with("opening-crash", [yes]) { $0.isConnected = false },
            // Too many to be complete here: the nearest ones.
            with("two-crashes", [yes]) {
                $0.crashesMax = 2
                $0.statesMax = 400_000
            },
            with("unflushed-crash", [yes]) {
                $0.unflushedMax = 2
                $0.statesMax = 200_000
            },
        ]
    }

    /// The explorations that take an hour and more; depth first, for the sake of memory.
    public static var soak: [Options] {
        let late = Errand(0, 1, hasDeadline: true)
        let no = Errand(0, 1, .reject)
        let yes = Errand(0, 1)
        let large = [
            with("ordered-three", [late, no, yes]),
            with("unordered-three", [late, no, yes]) { $0.isOrdered = false },
            with("both-ways-three", [late, Errand(1, 0, .reject, hasDeadline: true), yes]),
            with("ordered-two-crashes", [late, no]) { $0.crashesMax = 2 },
            with("unflushed-two", [late]) { $0.unflushedMax = 2 },
            with("three-shards", [late, Errand(1, 2, .reject), Errand(2, 0, hasDeadline: true)]) {
                $0.shards = 3
            },
        ]
        return large.map { options in
            var options = options
            options.isDepthFirst = true
            options.statesMax = 50_000_000
            return options
        }
    }

    private static func without(
        _ name: String, _ messages: [Errand], _ change: (inout Options) -> Void = { _ in }
    ) -> Options {
        var options = Options(name, messages)
        options.crashesMax = 0
        change(&options)
        return options
    }

    private static func with(
        _ name: String, _ messages: [Errand], _ change: (inout Options) -> Void = { _ in }
    ) -> Options {
        var options = Options(name, messages)
        options.settlesEach = 64
        change(&options)
        return options
    }

    /// Explores several, some of them at a time.
    ///
    /// - Parameters:
    ///   - all: What is explored; the ones that take longest had best be the first.
    ///   - atATime: How many at a time, one core each.
    ///   - progress: Is told now and then how far one of them is.
    /// - Returns: What was found, in the order of the options; one that names a shard that there is not
    ///   is left out.
    public static func run(
        _ all: [Options], atATime: Int, progress: @escaping @Sendable (Report) -> Void
    ) async -> [Report] {
        await withTaskGroup(of: (Int, Report?).self) { group in
            var reports = [Report?](repeating: nil, count: all.count)
            for (index, options) in all.enumerated() {
                if index >= max(1, atATime), let (done, report) = await group.next() {
                    reports[done] = report
                }
                group.addTask { (index, run(options, progress: progress)) }
            }
            for await (done, report) in group { reports[done] = report }
            return reports.compactMap { $0 }
        }
    }
}
