public import TallyCore

/// What a program decided on a stimulus, for a test to look at; made by ``ProgramTest/when(_:)``.
public struct Decided<P: Program>: Sendable {
    /// The test with the decision folded.
    let test: ProgramTest<P>
    let stimulus: Stimulus
    let text: String
    /// The decision, or the refusal of a command.
    public let outcome: Result<Decision, Refusal>

    /// Expects a decision, the whole of it: what is left out must be empty.
    ///
    /// - Throws: ``ConformanceFailure`` with what was expected and what was decided.
    @discardableResult
    public func then(
        answers: [ExpectedAnswer] = [], notes: [[UInt8]] = [], sends: [ExpectedSend] = [],
        result: [UInt8] = []
    ) throws -> ProgramTest<P> {
        let directory = test.shard.directory
        let expected = Decision(
            answers: try answers.map { answer in
                Decision.Answer(
                    try name(of: answer), accepted: answer.accepted, payload: answer.payload)
            },
            notes: notes,
            sends: try sends.map { send in
                Decision.Send(
                    to: try directory.shard(send.destination), send.payload,
                    deadlineAfter: send.deadlineAfter, correlation: send.correlation)
            },
            result: result)
        let lines = expected.lines(P.self, directory)
        switch outcome {
        case .success(expected): return test
        case .success(let decision):
            throw differs(lines, decision.lines(P.self, directory))
        case .failure(let refusal):
            throw differs(lines, ["refused: \(refusal)"])
        }
    }

    private func name(of answer: ExpectedAnswer) throws -> MessageName {
        if let text = answer.message {
            guard let name = test.shard.directory.message(text) else {
                throw TestMisuse(
                    "\"\(text)\" names no message; write origin/destination/sequence")
            }
            return name
        }
        guard case .message(let name, _) = stimulus else {
            throw TestMisuse("\(text) is no message: say which message is answered (of:)")
        }
        return name
    }

    private func differs(_ expected: [String], _ decided: [String]) -> ConformanceFailure {
        let list = { (lines: [String]) in lines.joined(separator: "\n            ") }
        return ConformanceFailure([
            "the decision on \(text) is not the expected one"
                + "\n  expected: \(list(expected))\n  decided:  \(list(decided))"
        ])
    }

    /// Expects a refusal with exactly this text; nothing has changed.
    @discardableResult
    public func thenRefused(_ refusalText: String) throws -> ProgramTest<P> {
        switch outcome {
        case .success(let decision):
            throw differs(
                ["refused: \(refusalText)"], decision.lines(P.self, test.shard.directory))
        case .failure(let refusal):
            guard refusal.text == refusalText else {
                throw differs(["refused: \(refusalText)"], ["refused: \(refusal)"])
            }
            return test
        }
    }

    /// The test behind a decision that nothing is expected of, but that it is no refusal.
    private func accepted() throws -> ProgramTest<P> {
        if case .failure(let refusal) = outcome {
            throw ConformanceFailure(["\(text) was refused: \(refusal)"])
        }
        return test
    }

    /// Lets the next stimulus come.
    public func when(_ stimulus: TestStimulus) throws -> Decided {
        try accepted().when(stimulus)
    }

    /// Looks at the state behind the decision.
    @discardableResult
    public func thenState(_ body: (P.State) throws -> Void) throws -> ProgramTest<P> {
        try accepted().thenState(body)
    }

    /// Expects a named value of the state behind the decision.
    @discardableResult
    public func thenField(_ name: String, _ value: String) throws -> ProgramTest<P> {
        try accepted().thenField(name, value)
    }
}

extension ProgramTest {
    /// Looks at the state; what the closure throws is thrown on.
    @discardableResult
    public func thenState(_ body: (P.State) throws -> Void) throws -> ProgramTest {
        try body(state)
        return self
    }

    /// Expects a named value of the state, as ``TallyCore/Program/fields(_:)`` gives it.
    @discardableResult
    public func thenField(_ name: String, _ value: String) throws -> ProgramTest {
        let fields = P.fields(state)
        guard let found = fields.first(where: { $0.name == name }) else {
            throw TestMisuse(
                "the state of \(shard.name) has no field \(name); it has"
                    + " \(fields.map(\.name).joined(separator: ", "))")
        }
        guard found.value == value else {
            throw ConformanceFailure([
                "\(name) of \(shard.name) is \(found.value), expected \(value)"
            ])
        }
        return self
    }
}
