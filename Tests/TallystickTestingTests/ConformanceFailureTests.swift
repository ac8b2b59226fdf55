import TallystickTesting
import Testing

@Suite struct ConformanceFailureTests {
    @Test("a failure says every promise that was broken")
    func saysAll() {
        #expect(ConformanceFailure(["one", "two"]).description == "one; two")
    }
}
