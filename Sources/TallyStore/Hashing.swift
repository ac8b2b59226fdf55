internal import struct Crypto.SHA256
internal import struct Crypto.SHA256Digest
public import TallyCore

/// SHA-256 (swift-crypto), where the design says digest: heads, messages, states.
public enum Hashing {
    /// The digest of some bytes.
    public static func digest(_ bytes: [UInt8]) -> Digest {
        unsafe bytes.withUnsafeBytes { unsafe digest($0) }
    }

    /// The digest of some bytes in place.
    public static func digest(_ bytes: RawSpan) -> Digest {
        unsafe bytes.withUnsafeBytes { unsafe digest($0) }
    }

    static func digest(_ buffer: UnsafeRawBufferPointer) -> Digest {
        var hasher = SHA256()
        unsafe hasher.update(bufferPointer: buffer)
        return Digest(hasher.finalize())
    }

    /// The head before the first commit of a shard's log: SHA-256 of ledger id and shard id, so that a
    /// log cannot stand in for another ledger's, or another shard's.
    public static func seed(ledger: Bytes16, shard: ShardID) -> Digest {
        var writer = ByteWriter(capacity: 20)
        writer.write(ledger)
        writer.write(shard.rawValue)
        return digest(writer.bytes)
    }

    /// The digest of a message, see ``TallyCore/MessageContent/digestPrefix``.
    public static func digest(_ message: MessageContent) -> Digest {
        var hasher = SHA256()
        unsafe message.digestPrefix.withUnsafeBytes { unsafe hasher.update(bufferPointer: $0) }
        unsafe message.payload.withUnsafeBytes { unsafe hasher.update(bufferPointer: $0) }
        return Digest(hasher.finalize())
    }
}

extension Hashing {
    /// The digest of a message whose payload is read in place; the same as that of its content.
    package static func digest(
        of name: MessageName, deadline: Timestamp, correlation: Bytes16, payload: RawSpan
    ) -> Digest {
        let prefix = MessageContent(
            name: name, deadline: deadline, correlation: correlation, payload: []
        ).digestPrefix
        var hasher = SHA256()
        unsafe prefix.withUnsafeBytes { unsafe hasher.update(bufferPointer: $0) }
        unsafe payload.withUnsafeBytes { unsafe hasher.update(bufferPointer: $0) }
        return Digest(hasher.finalize())
    }
}

extension CommitView {
    /// The head of the log at this commit's end: SHA-256 of its bytes.
    public var head: Digest {
        withBytes { (bytes: RawSpan) -> Digest in Hashing.digest(bytes) }
    }
}

extension Digest {
    fileprivate init(_ digest: SHA256Digest) {
        self = unsafe digest.withUnsafeBytes { bytes in
            // In bounds: a SHA-256 has 32 bytes.
            func word(_ at: Int) -> UInt64 {
                UInt64(
                    littleEndian: unsafe bytes.loadUnaligned(fromByteOffset: at, as: UInt64.self))
            }
            return Digest((word(0), word(8), word(16), word(24)))
        }
    }
}
