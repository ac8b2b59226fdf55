/// What a conformance suite found broken: one sentence for each promise that was not kept.
public struct ConformanceFailure: Error, Equatable, Sendable, CustomStringConvertible {
    /// One sentence for each broken promise.
    public var broken: [String]

    /// Makes a failure of its sentences.
    public init(_ broken: [String]) { self.broken = broken }

    public var description: String { broken.joined(separator: "; ") }
}
