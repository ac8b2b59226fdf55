/// What a conformance suite found broken: one sentence for each promise that was not kept.
public struct ConformanceFailure: Error, Equatable, Sendable, CustomStringConvertible {
    public var broken: [String]

    public init(_ broken: [String]) { self.broken = broken }

    public var description: String { broken.joined(separator: "; ") }
}
