internal import CCRC32C

/// CRC-32C for the small files beside a log.
package enum Checksum {
    package static func crc32c(_ bytes: [UInt8]) -> UInt32 {
        unsafe bytes.withUnsafeBytes { buffer in
            guard let base = buffer.baseAddress else { return 0 }
            return unsafe tally_crc32c(0, base, buffer.count)
        }
    }
}
