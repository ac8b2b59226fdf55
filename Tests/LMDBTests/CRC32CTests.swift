import CCRC32C
import Testing

@Suite("CRC-32C")
struct CRC32CTests {
    @Test("the check value of the standard comes out of both forms")
    func checkValue() {
        let bytes = text("123456789")
        #expect(unsafe tally_crc32c(0, bytes, bytes.count) == 0xE306_9283)
        #expect(unsafe tally_crc32c_portable(0, bytes, bytes.count) == 0xE306_9283)
    }

    @Test("thirty-two zeros give the value of RFC 3720")
    func zeros() {
        let bytes = [UInt8](repeating: 0, count: 32)
        #expect(unsafe tally_crc32c(0, bytes, 32) == 0x8A91_36AA)
    }

    @Test("nothing leaves the value as it is")
    func nothing() {
        #expect(tally_crc32c(0, nil, 0) == 0)
        #expect(tally_crc32c(0x1234_5678, nil, 0) == 0x1234_5678)
    }

    @Test("the instruction and the tables agree at every length and alignment")
    func agreement() {
        var generator = SeededGenerator(seed: 1)
        let bytes = (0..<20_000).map { _ in UInt8.random(in: 0...255, using: &generator) }
        unsafe bytes.withUnsafeBytes { buffer in
            for length in 0...5000 {
                let start = unsafe buffer.baseAddress! + length % 16
                let crc = UInt32.random(in: 0 ... .max, using: &generator)
                let fast = unsafe tally_crc32c(crc, start, length)
                let slow = unsafe tally_crc32c_portable(crc, start, length)
                #expect(fast == slow, "length \(length)")
            }
            for length in [6143, 6144, 6145, 6911, 6912, 12_288, 19_000] {
                let start = unsafe buffer.baseAddress! + 3
                let fast = unsafe tally_crc32c(9, start, length)
                let slow = unsafe tally_crc32c_portable(9, start, length)
                #expect(fast == slow, "length \(length)")
            }
        }
    }

    @Test("a message in two parts gives the value of the whole")
    func chaining() {
        var generator = SeededGenerator(seed: 2)
        let bytes = (0..<9000).map { _ in UInt8.random(in: 0...255, using: &generator) }
        let whole = unsafe tally_crc32c(0, bytes, bytes.count)
        for _ in 0..<200 {
            let cut = Int.random(in: 0...bytes.count, using: &generator)
            let (head, tail) = (Array(bytes[..<cut]), Array(bytes[cut...]))
            let crc = unsafe tally_crc32c(tally_crc32c(0, head, cut), tail, tail.count)
            #expect(crc == whole, "cut at \(cut)")
        }
    }
}
