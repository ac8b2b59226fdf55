internal import CLMDB
internal import Synchronization

#if canImport(Glibc)
    internal import Glibc
#elseif canImport(Musl)
    internal import Musl
#else
    internal import Darwin
#endif

/// One file, whatever its path.
struct FileIdentity: Hashable, Sendable {
    let device: UInt64
    let inode: UInt64

    init(_ status: stat) {
        device = UInt64(truncatingIfNeeded: status.st_dev)
        inode = UInt64(truncatingIfNeeded: status.st_ino)
    }
}

/// `MDB_env *`.
///
/// `@unchecked Sendable`: an environment may be used by any thread; only its end needs care, and
/// ``Environment`` sees to that.
@safe struct EnvironmentHandle: @unchecked Sendable {
    let pointer: OpaquePointer

    init(_ pointer: OpaquePointer) {
        unsafe self.pointer = pointer
    }
}

/// The files this process has open with their lock file.
///
/// POSIX record locks belong to the process: closing any descriptor of `lock.mdb` drops them all,
/// and with them the exclusion of other processes. So one file is open once. The lock is held
/// during the whole of an opening and of a closing, which also keeps openings apart.
private let openFiles = Mutex<Set<FileIdentity>>([])

extension Environment {
    static func open(
        _ path: String, _ options: Options
    ) throws(LMDBError) -> (EnvironmentHandle, FileIdentity?) {
        let result = openFiles.withLock {
            files -> Result<(EnvironmentHandle, FileIdentity?), LMDBError> in
            do throws(LMDBError) {
                if options.access == .readOnlyNoLock {
                    return .success((try openHandle(path, options), nil))
                }
                var status = stat()
                if unsafe stat(path + "/data.mdb", &status) == 0,
                    files.contains(FileIdentity(status))
                {
                    throw LMDBError(.alreadyOpen, "mdb_env_open", path)
                }
                let handle = try openHandle(path, options)
                var descriptor: mdb_filehandle_t = -1
                guard unsafe mdb_env_get_fd(handle.pointer, &descriptor) == MDB_SUCCESS,
                    unsafe fstat(descriptor, &status) == 0
                else {
                    let cause = errno
                    unsafe mdb_env_close(handle.pointer)
                    throw LMDBError(cause, "fstat", path)
                }
                files.insert(FileIdentity(status))
                return .success((handle, FileIdentity(status)))
            } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }

    static func close(_ handle: EnvironmentHandle, _ identity: FileIdentity?) {
        openFiles.withLock { files in
            unsafe mdb_env_close(handle.pointer)
            if let identity { files.remove(identity) }
        }
    }

    private static func openHandle(
        _ path: String, _ options: Options
    ) throws(LMDBError) -> EnvironmentHandle {
        guard options.mapSize > 0, let tables = UInt32(exactly: options.maxTables),
            let readers = UInt32(exactly: options.maxReaders), readers > 0
        else { throw LMDBError(EINVAL, "mdb_env_create", path) }
        var created: OpaquePointer?
        let returnCode = unsafe mdb_env_create(&created)
        guard returnCode == MDB_SUCCESS, let pointer = unsafe created else {
            throw LMDBError(returnCode, "mdb_env_create", path)
        }
        var flags = MDB_NOTLS
        switch options.access {
        case .readWrite: break
        case .readOnly: flags |= MDB_RDONLY
        case .readOnlyNoLock: flags |= MDB_RDONLY | MDB_NOLOCK
        }
        if options.noMetaSync { flags |= MDB_NOMETASYNC }
        if options.noSync { flags |= MDB_NOSYNC }
        do throws(LMDBError) {
            try step(
                unsafe mdb_env_set_mapsize(pointer, options.mapSize), "mdb_env_set_mapsize",
                path)
            try step(unsafe mdb_env_set_maxdbs(pointer, tables), "mdb_env_set_maxdbs", path)
            try step(
                unsafe mdb_env_set_maxreaders(pointer, readers), "mdb_env_set_maxreaders", path)
            try step(
                unsafe mdb_env_open(pointer, path, UInt32(flags), mode_t(options.fileMode)),
                "mdb_env_open", path)
        } catch {
            // liblmdb demands this after a failed open, too.
            unsafe mdb_env_close(pointer)
            throw error
        }
        return unsafe EnvironmentHandle(pointer)
    }

    private static func step(
        _ returnCode: Int32, _ operation: String, _ path: String
    ) throws(LMDBError) {
        if returnCode != MDB_SUCCESS { throw LMDBError(returnCode, operation, path) }
    }
}
