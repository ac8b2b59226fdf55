import TallyCore

extension CrashScope {
    /// Beyond so many unflushed pages and names not every subset is made.
    static let exhaustiveMax = 12

    /// Whatever is not flushed is lost.
    var none: CrashImage {
        CrashImage(
            versions: [Int](repeating: 0, count: pages.count),
            names: [Bool](repeating: false, count: names.count))
    }

    /// Nothing is lost.
    var all: CrashImage {
        CrashImage(
            versions: pages.map { $0.versions.count - 1 },
            names: [Bool](repeating: true, count: names.count))
    }

    /// Some of it is lost, and each page is as any of its writes left it.
    func random(_ random: inout SplitMix64) -> CrashImage {
        var image = none
        for (index, page) in pages.enumerated() {
            image.versions[index] = Int(random.next() % UInt64(page.versions.count))
        }
        for index in names.indices { image.names[index] = random.next() & 1 == 1 }
        image.isLong = random.next() & 1 == 1
        return image
    }

    private var unitCount: Int { pages.count + names.count }

    private func image(_ isChosen: (Int) -> Bool) -> CrashImage {
        var image = none
        for index in pages.indices where isChosen(index) {
            image.versions[index] = pages[index].versions.count - 1
        }
        for index in names.indices where isChosen(pages.count + index) {
            image.names[index] = true
        }
        return image
    }

    /// Shows every image that is to be tried.
    ///
    /// - Parameters:
    ///   - samples: How many random subsets, where there are too many for all.
    ///   - seed: Of those.
    func forEachImage(samples: Int, seed: UInt64, _ show: (CrashImage) throws -> Void) rethrows {
        func both(_ image: CrashImage) throws {
            try show(image)
            guard hasTwoLengths else { return }
            var short = image
            short.isLong = false
            try show(short)
        }
        let count = unitCount
        if count <= Self.exhaustiveMax {
            for set in 0..<1 << count { try both(image { set >> $0 & 1 == 1 }) }
        } else {
            try both(none)
            try both(all)
            for unit in 0..<count {
                try both(image { $0 == unit })
                try both(image { $0 != unit })
                try both(image { $0 < unit })
            }
            var random = SplitMix64(seed: seed)
            for _ in 0..<samples {
                // Few, half or nearly all of them.
                let share = random.next() % 15 + 1
                var bits: [Bool] = []
                for _ in 0..<count { bits.append(random.next() % 16 < share) }
                try both(image { bits[$0] })
            }
        }
        for index in pages.indices { try tear(index, show) }
        try tearMarks(show)
    }

    /// A page that is half written, or holds an older write, the others all there or all lost.
    private func tear(_ index: Int, _ show: (CrashImage) throws -> Void) rethrows {
        let page = pages[index]
        let (old, new) = (page.versions[0], page.versions[page.versions.count - 1])
        for base in [none, all] {
            var image = base
            for version in 1..<page.versions.count - 1 {
                image.versions[index] = version
                try show(image)
            }
            for cut in stride(from: 512, to: DiskModel.pageLength, by: 512) {
                image.torn = (index, Array(new[..<cut] + old[cut...]))
                try show(image)
                image.torn = (index, Array(old[..<cut] + new[cut...]))
                try show(image)
            }
            guard let small = page.small else { continue }
            let before = page.versions[page.versions.count - 2]
            for cut in stride(from: small.lowerBound + 8, to: small.upperBound, by: 8) {
                image.torn = (index, Array(new[..<cut] + before[cut...]))
                try show(image)
            }
        }
    }

    /// Both slots of a mark torn at once, at any eight bytes each, the rest all there or all lost.
    private func tearMarks(_ show: (CrashImage) throws -> Void) rethrows {
        for (index, page) in pages.enumerated() {
            guard let small = page.small, small.count < 96, page.versions.count > 2 else {
                continue
            }
            let new = page.versions[page.versions.count - 1]
            let old = page.versions[0]
            let other = small.lowerBound < 512 ? small.lowerBound + 512 : small.lowerBound - 512
            for base in [none, all] {
                for cut in stride(from: 8, to: small.count, by: 8) {
                    var torn = new
                    let first = small.lowerBound + cut
                    torn.replaceSubrange(
                        first..<small.upperBound, with: old[first..<small.upperBound])
                    let second = other + (small.count - cut) / 8 * 8
                    torn.replaceSubrange(
                        second..<other + small.count, with: old[second..<other + small.count])
                    var image = base
                    image.torn = (index, torn)
                    image.losesMark = true
                    try show(image)
                }
            }
        }
    }
}
