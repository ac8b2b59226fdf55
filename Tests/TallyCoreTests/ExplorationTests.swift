import Testing

/// Random walks with the whole of the protocol's laws. A failure names its seed, which replays it;
/// `TALLY_SEEDS=20` walks twenty times as far.
@Suite("Exploration")
struct ExplorationTests {
    @Test(
        "two shards keep every law, whatever is lost, repeated, reordered or crashed",
        arguments: 0..<10)
    func twoShards(block: Int) { explore(shards: 2, block: block) }

    @Test(
        "three shards keep every law, whatever is lost, repeated, reordered or crashed",
        arguments: 0..<10)
    func threeShards(block: Int) { explore(shards: 3, block: block) }

    @Test(
        "whatever old copies are put into place, accepted shards go on and what is left settles",
        arguments: 0..<10)
    func staleRestores(block: Int) {
        explore(shards: 2, block: block, restores: true, seeds: 10)
        explore(shards: 3, block: block, restores: true, seeds: 5)
    }

    private func explore(shards: Int, block: Int, restores: Bool = false, seeds: Int = 30) {
        let seeds = seeds * Fixtures.seedFactor
        for seed in block * seeds + 1...block * seeds + seeds {
            let explorer = Explorer(shards: shards, seed: UInt64(seed), restores: restores)
            explorer.run(steps: 200)
            #expect(explorer.failures.first == nil, "\(shards) shards, seed \(seed)")
        }
    }
}
