import Tallystick
import Testing

@Suite struct UmbrellaTests {
    @Test("one import brings the names, the ledger and its runtime")
    func oneImport() throws {
        #expect(Offset(1).rawValue == 1)
        #expect(RuntimeOptions().durability == .power)
    }
}
