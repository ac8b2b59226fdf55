/// What a conformance suite has found broken so far: each promise with the first places at which it was.
struct Promises {
    private var places: [(promise: String, first: [String], count: Int)] = []

    /// Places of one promise that are told.
    static let placesMax = 3

    /// Notes a promise as broken unless it was kept.
    mutating func expect(_ isKept: Bool, _ promise: String, _ seen: @autoclosure () -> String) {
        guard !isKept else { return }
        note(promise, [seen()], 1)
    }

    private mutating func note(_ promise: String, _ seen: [String], _ count: Int) {
        guard let index = places.firstIndex(where: { $0.promise == promise }) else {
            return places.append((promise, seen, count))
        }
        places[index].count += count
        places[index].first += seen.prefix(Self.placesMax - places[index].first.count)
    }

    var broken: [String] {
        places.flatMap { promise, first, count in
            let more = count - first.count
            return first.map { "\(promise): \($0)" }
                + (more > 0 ? ["\(promise): and \(more) times more"] : [])
        }
    }

    /// Runs a part of a suite; what it throws breaks the promise that the part is about.
    mutating func run(_ promise: String, _ body: (inout Promises) throws -> Void) {
        do {
            try body(&self)
        } catch {
            note(promise, ["it was kept from being checked by \(error)"], 1)
        }
    }

    mutating func join(_ other: Promises) {
        for (promise, first, count) in other.places { note(promise, first, count) }
    }

    /// - Throws: ``ConformanceFailure`` when a promise was broken.
    func finish() throws(ConformanceFailure) {
        guard places.isEmpty else { throw ConformanceFailure(broken) }
    }
}

/// A test that asks for what is not there: a shard that the ledger does not have, one that is down.
public struct TestMisuse: Error, Equatable, Sendable, CustomStringConvertible {
    public var text: String

    public init(_ text: String) { self.text = text }

    public var description: String { text }
}
