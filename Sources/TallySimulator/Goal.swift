/// Situations that some run has to come across, or the simulation does not test what it says it does.
public enum Goal: UInt8, CaseIterable, Sendable {
    case messageRepeated, messageBelowFloor, messageEarly, messageRefused, envelopeUnheard
    case answerLate, expired, timedOut, forced, overruled, conflict
    case forkStopped, forkAccepted, behindMark, promiseLost
    case reemitted, reemittedForDeadline, recoveredByPlan
    case owedAcrossRestart, pendingAcrossRestart, allDown
    case snapshotUsed, snapshotSkipped
    case powerLostInAppend, powerLostInMark, appendFailed, flushFailed, diskFull
    case backpressure, clockBehind, clockSkewRefused, commandKnown, commandTooOld
    case sentToItself, groupCommit, severalCommitsInOneFlush, answeredLater
    case orphanUndelivered, orphanOwed, orphanUnacknowledged, orphanExpired

    /// Its name in reports: words with hyphens.
    public var name: String {
        var text = ""
        for character in "\(self)" {
            if character.isUppercase { text += "-" }
            text += character.lowercased()
        }
        return text
    }
}

/// A set of small enumerations.
public struct BitSet: Equatable, Sendable {
    public private(set) var bits: UInt64 = 0

    public init() {}

    public mutating func insert(_ value: UInt8) { bits |= 1 << UInt64(value) }
    public func contains(_ value: UInt8) -> Bool { bits >> UInt64(value) & 1 == 1 }
    public mutating func formUnion(_ other: BitSet) { bits |= other.bits }
}
