import TallySimulator
import Testing

@Suite("Faults")
struct FaultTests {
    @Test("every fault has its own word, in lower case")
    func words() {
        let words = Fault.allCases.map(\.rawValue)
        #expect(Set(words).count == words.count)
        #expect(words.allSatisfy { $0 == $0.lowercased() && !$0.contains("_") })
    }
}
