public import TallyCore
public import TallyRuntime

/// What every ``TallyRuntime/Transport`` promises, asked of one that somebody wrote.
///
/// It may lose, repeat, delay and reorder envelopes. It never alters one, never hands one to another
/// shard, never blocks who sends, carries nothing once it is closed, and hands envelopes to the receiver
/// that was attached last.
///
/// ```swift
/// try await TransportConformance.check(requiresDelivery: true) { try MyTransport(port: 0) }
/// ```
public enum TransportConformance {
    /// Checks a transport.
    ///
    /// - Parameters:
    ///   - requiresDelivery: Whether each envelope has to arrive, at least once: for a transport that
    ///     claims to lose nothing while it runs.
    ///   - patience: Nanoseconds to wait at most for what has to arrive or to return.
    ///   - quiet: Nanoseconds without an arrival after which nothing more is waited for.
    ///   - largestPayload: Bytes of the largest message that is carried.
    ///   - make: A new transport; called once for each group of promises.
    /// - Throws: ``ConformanceFailure``, and what `make` throws.
    public static func check(
        requiresDelivery: Bool = false, patience: UInt64 = 10_000_000_000,
        quiet: UInt64 = 100_000_000, largestPayload: Int = CommitFormat.payloadLengthMax,
        make: @Sendable () throws -> any Transport
    ) async throws {
        var promises = Promises()
        for part in [carrying, concurrent, attaching, unattended, closing] {
            let run = TransportRun(
                try make(), requiresDelivery: requiresDelivery, patience: patience, quiet: quiet,
                largestPayload: largestPayload)
            await part(run)
            run.transport.close()
            promises.join(run.judged())
        }
        try promises.finish()
    }

    private typealias Part = @Sendable (TransportRun) async -> Void

    /// Envelopes of all sizes, one after the other, for three shards.
    private static let carrying: Part = { run in
        for shard in TransportRun.shards { run.attach(shard, as: 1) }
        let sizes = [0, 1, 7, 300, 4_096, 65_537]
        await run.send(sizes.map { (ShardID(1), $0) })
        for _ in 0..<20 {
            await run.send(TransportRun.shards.map { ($0, 100) })
        }
        await run.send([(ShardID(2), run.largestPayload)])
        await run.waitForArrivals()
    }

    /// Envelopes of many threads at once.
    private static let concurrent: Part = { run in
        for shard in TransportRun.shards { run.attach(shard, as: 1) }
        let parcels = (0..<200).map { (TransportRun.shards[$0 % 3], 50 + $0) }
        await run.send(parcels, threads: 8)
        await run.waitForArrivals()
    }

    /// A second receiver in place of the first one.
    private static let attaching: Part = { run in
        run.attach(ShardID(1), as: 1)
        await run.send((0..<50).map { _ in (ShardID(1), 40) })
        await run.waitForArrivals()
        run.attach(ShardID(1), as: 2)
        await run.send((0..<50).map { _ in (ShardID(1), 40) }, receiver: 2)
        await run.waitForArrivals()
    }

    /// Many envelopes for a shard that nobody receives for, then some that somebody does.
    private static let unattended: Part = { run in
        run.attach(ShardID(1), as: 1)
        await run.send((0..<2_000).map { _ in (ShardID(2), 200) }, isRequired: false)
        await run.send((0..<50).map { _ in (ShardID(1), 200) })
        await run.waitForArrivals()
    }

    /// Envelopes before and behind the close.
    private static let closing: Part = { run in
        run.attach(ShardID(1), as: 1)
        await run.send((0..<50).map { _ in (ShardID(1), 40) }, isRequired: false)
        run.transport.close()
        // What a thread had in its hands when it was closed may still be handed over.
        try? await Task.sleep(nanoseconds: run.quiet)
        run.seal()
        await run.send((0..<50).map { _ in (ShardID(1), 40) }, isRequired: false)
        run.attach(ShardID(1), as: 1)
        await run.send((0..<50).map { _ in (ShardID(1), 40) }, isRequired: false)
        try? await Task.sleep(nanoseconds: run.quiet)
        run.transport.close()
    }
}
