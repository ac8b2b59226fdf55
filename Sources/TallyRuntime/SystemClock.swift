public import TallyCore

#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#else
    internal import Darwin
#endif

/// The machine's clocks.
public enum SystemClock {
    /// The wall clock and a clock that never goes back.
    public static func now() -> Now {
        Now(wall: Timestamp(read(CLOCK_REALTIME)), ticks: read(CLOCK_MONOTONIC))
    }

    private static func read(_ clock: clockid_t) -> UInt64 {
        var time = timespec()
        guard unsafe clock_gettime(clock, &time) == 0, time.tv_sec >= 0 else { return 0 }
        return UInt64(time.tv_sec) &* 1_000_000_000 &+ UInt64(time.tv_nsec)
    }
}

/// The room a file system has.
enum DiskRoom {
    /// Bytes free for this process and bytes in all; `nil` when the system does not say.
    static func read(_ path: String) -> (free: UInt64, total: UInt64)? {
        var status = statvfs()
        guard unsafe statvfs(path, &status) == 0 else { return nil }
        let unit = UInt64(status.f_frsize)
        return (UInt64(status.f_bavail) &* unit, UInt64(status.f_blocks) &* unit)
    }

    /// Commands are refused below a tenth of the disk or 64 MiB, whichever is less; messages below
    /// half of that.
    static func pressure(_ path: String) -> DiskPressure {
        guard let room = read(path), room.total > 0 else { return .none }
        let reserve = min(64 << 20, room.total / 10)
        if room.free < reserve / 2 { return .refusesMessages }
        return room.free < reserve ? .refusesCommands : .none
    }
}
