/* Records what a process asks of its disk, in order, for the power machine.
 *
 * LD_PRELOAD this library with
 *     CRASH_TRACE  the file to append the record to
 *     CRASH_ROOT   a directory, absolute, without links: only what lies below it is recorded
 * Lines written to standard output are recorded, too: what had been promised at each instant is part of
 * the record. One lock is held over each call and its entry, so the order is one that happened.
 *
 * An entry, integers little-endian as the machine writes them:
 *     u32 kind, u32 length of the bytes that follow, u64 inode, u64 offset, bytes
 *
 *     kind         inode            offset        bytes
 *     1 line       0                0             the line
 *     2 write      file             offset        what was written (as many as the call took)
 *     3 written    file             offset        the same, through a descriptor opened O_DSYNC or O_SYNC:
 *                                                 the range is flushed when the call returns
 *     4 size       file             new size      (ftruncate, O_TRUNC, an allocation that extends)
 *     5 flush      file, directory  0             fsync, fdatasync, sync_file_range
 *     6 make       file             0             path of a file made by an opening
 *     7 makedir    directory        0             path
 *     8 rename     what is moved    0             path, NUL, new path
 *     9 unlink     0                0             path
 *    10 link       file             0             path, NUL, new path
 *    11 unknown    0                0             name of a call that the model does not know
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum kind {
    LINE = 1, WRITE, WRITTEN, SIZE, FLUSH, MAKE, MAKEDIR, RENAME, UNLINK, LINK, UNKNOWN
};
enum { FILES = 4096 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int trace = -1;
static char root[PATH_MAX];
/* What of a descriptor is known: 0 not below the root, 1 below it, 2 below it and flushing. */
static unsigned char known[FILES];

#define REAL(name) ((__typeof__(&name))real(#name))

static void *real(const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    if (found == NULL) abort();
    return found;
}

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("CRASH_TRACE"), *directory = getenv("CRASH_ROOT");
    if (path == NULL || directory == NULL) return;
    snprintf(root, sizeof root, "%s/", directory);
    trace = REAL(open)(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (trace < 0) abort();
}

static void put(const void *bytes, size_t count) {
    const char *next = bytes;
    while (count > 0) {
        ssize_t done = REAL(write)(trace, next, count);
        if (done <= 0) abort();
        next += done;
        count -= (size_t)done;
    }
}

static void entry(
    enum kind kind, uint64_t inode, uint64_t offset, const void *bytes, size_t count) {
    struct { uint32_t kind, length; uint64_t inode, offset; } head = {
        kind, (uint32_t)count, inode, offset};
    put(&head, sizeof head);
    put(bytes, count);
}

/* The path below the root, absolute; 0 when it lies elsewhere. */
static int below(const char *path, char *absolute) {
    char joined[PATH_MAX];
    if (trace < 0) return 0;
    if (path[0] == '/') {
        snprintf(joined, sizeof joined, "%s", path);
    } else {
        char here[PATH_MAX];
        if (getcwd(here, sizeof here) == NULL) return 0;
        if (snprintf(joined, sizeof joined, "%s/%s", here, path) >= (int)sizeof joined) return 0;
    }
    /* Without "." and "//"; the rig uses no "..". */
    char *out = absolute;
    for (const char *in = joined; *in != 0; in++) {
        if (*in == '/' && (in[1] == '/' || in[1] == 0)) continue;
        if (*in == '/' && in[1] == '.' && (in[2] == '/' || in[2] == 0)) { in++; continue; }
        *out++ = *in;
    }
    *out = 0;
    return strncmp(absolute, root, strlen(root)) == 0
        || (strlen(absolute) + 1 == strlen(root) && strncmp(absolute, root, strlen(absolute)) == 0);
}

static int isKnown(int file) { return trace >= 0 && file >= 0 && file < FILES && known[file] != 0; }

static uint64_t inodeOf(int file) {
    struct stat status;
    return fstat(file, &status) == 0 ? status.st_ino : 0;
}

/* MARK: names */

static int opened(const char *path, int flags, mode_t mode) {
    char absolute[PATH_MAX];
    if (!below(path, absolute)) return REAL(open)(path, flags, mode);
    pthread_mutex_lock(&lock);
    struct stat before;
    int wasThere = stat(path, &before) == 0;
    int file = REAL(open)(path, flags, mode);
    int number = errno;
    if (file >= FILES) abort();
    if (file >= 0) {
        known[file] = (flags & O_DSYNC) != 0 ? 2 : 1;
        uint64_t inode = inodeOf(file);
        if (!wasThere) entry(MAKE, inode, 0, absolute, strlen(absolute));
        else if ((flags & O_TRUNC) != 0) entry(SIZE, inode, 0, "", 0);
    }
    pthread_mutex_unlock(&lock);
    errno = number;
    return file;
}

int open(const char *path, int flags, ...) {
    va_list list;
    va_start(list, flags);
    mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(list, mode_t) : 0;
    va_end(list);
    return opened(path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    va_list list;
    va_start(list, flags);
    mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(list, mode_t) : 0;
    va_end(list);
    return opened(path, flags, mode);
}

int openat(int directory, const char *path, int flags, ...) {
    va_list list;
    va_start(list, flags);
    mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(list, mode_t) : 0;
    va_end(list);
    if (directory == AT_FDCWD || path[0] == '/') return opened(path, flags, mode);
    return REAL(openat)(directory, path, flags, mode);
}

int close(int file) {
    if (!isKnown(file)) return REAL(close)(file);
    pthread_mutex_lock(&lock);
    known[file] = 0;
    int result = REAL(close)(file);
    int number = errno;
    pthread_mutex_unlock(&lock);
    errno = number;
    return result;
}

int mkdir(const char *path, mode_t mode) {
    char absolute[PATH_MAX];
    if (!below(path, absolute)) return REAL(mkdir)(path, mode);
    pthread_mutex_lock(&lock);
    int result = REAL(mkdir)(path, mode);
    int number = errno;
    struct stat status;
    if (result == 0 && stat(path, &status) == 0)
        entry(MAKEDIR, status.st_ino, 0, absolute, strlen(absolute));
    pthread_mutex_unlock(&lock);
    errno = number;
    return result;
}

static int moved(enum kind kind, const char *from, const char *to) {
    char old[PATH_MAX], new[PATH_MAX], both[2 * PATH_MAX];
    int isOld = below(from, old), isNew = below(to, new);
    int (*call)(const char *, const char *) = kind == RENAME ? REAL(rename) : REAL(link);
    if (!isOld || !isNew) return call(from, to);
    pthread_mutex_lock(&lock);
    struct stat status;
    uint64_t inode = stat(from, &status) == 0 ? status.st_ino : 0;
    int result = call(from, to);
    int number = errno;
    if (result == 0) {
        size_t first = strlen(old) + 1, second = strlen(new);
        memcpy(both, old, first);
        memcpy(both + first, new, second);
        entry(kind, inode, 0, both, first + second);
    }
    pthread_mutex_unlock(&lock);
    errno = number;
    return result;
}

int rename(const char *from, const char *to) { return moved(RENAME, from, to); }
int link(const char *from, const char *to) { return moved(LINK, from, to); }

static int removed(const char *path, int (*call)(const char *)) {
    char absolute[PATH_MAX];
    if (!below(path, absolute)) return call(path);
    pthread_mutex_lock(&lock);
    int result = call(path);
    int number = errno;
    if (result == 0) entry(UNLINK, 0, 0, absolute, strlen(absolute));
    pthread_mutex_unlock(&lock);
    errno = number;
    return result;
}

int unlink(const char *path) { return removed(path, REAL(unlink)); }
int rmdir(const char *path) { return removed(path, REAL(rmdir)); }

/* MARK: bytes */

static void wrote(int file, uint64_t offset, const void *bytes, ssize_t count) {
    if (count > 0)
        entry(known[file] == 2 ? WRITTEN : WRITE, inodeOf(file), offset, bytes, (size_t)count);
}

ssize_t pwrite(int file, const void *bytes, size_t count, off_t offset) {
    if (!isKnown(file)) return REAL(pwrite)(file, bytes, count, offset);
    pthread_mutex_lock(&lock);
    ssize_t done = REAL(pwrite)(file, bytes, count, offset);
    int number = errno;
    wrote(file, (uint64_t)offset, bytes, done);
    pthread_mutex_unlock(&lock);
    errno = number;
    return done;
}

ssize_t pwrite64(int file, const void *bytes, size_t count, off64_t offset) {
    return pwrite(file, bytes, count, offset);
}

ssize_t write(int file, const void *bytes, size_t count) {
    if (file == 1 && trace >= 0) {
        pthread_mutex_lock(&lock);
        entry(LINE, 0, 0, bytes, count);
        pthread_mutex_unlock(&lock);
    }
    if (!isKnown(file)) return REAL(write)(file, bytes, count);
    pthread_mutex_lock(&lock);
    ssize_t done = REAL(write)(file, bytes, count);
    int number = errno;
    off_t end = lseek(file, 0, SEEK_CUR);
    wrote(file, (uint64_t)(end - done), bytes, done);
    pthread_mutex_unlock(&lock);
    errno = number;
    return done;
}

static void wroteParts(int file, uint64_t offset, const struct iovec *parts, int count, ssize_t done) {
    for (int part = 0; part < count && done > 0; part++) {
        ssize_t length = (ssize_t)parts[part].iov_len < done ? (ssize_t)parts[part].iov_len : done;
        wrote(file, offset, parts[part].iov_base, length);
        offset += (uint64_t)length;
        done -= length;
    }
}

ssize_t writev(int file, const struct iovec *parts, int count) {
    if (!isKnown(file)) return REAL(writev)(file, parts, count);
    pthread_mutex_lock(&lock);
    ssize_t done = REAL(writev)(file, parts, count);
    int number = errno;
    off_t end = lseek(file, 0, SEEK_CUR);
    if (done > 0) wroteParts(file, (uint64_t)(end - done), parts, count, done);
    pthread_mutex_unlock(&lock);
    errno = number;
    return done;
}

ssize_t pwritev(int file, const struct iovec *parts, int count, off_t offset) {
    if (!isKnown(file)) return REAL(pwritev)(file, parts, count, offset);
    pthread_mutex_lock(&lock);
    ssize_t done = REAL(pwritev)(file, parts, count, offset);
    int number = errno;
    if (done > 0) wroteParts(file, (uint64_t)offset, parts, count, done);
    pthread_mutex_unlock(&lock);
    errno = number;
    return done;
}

static int sized(int file, off_t size, int (*call)(int, off_t)) {
    if (!isKnown(file)) return call(file, size);
    pthread_mutex_lock(&lock);
    int result = call(file, size);
    int number = errno;
    if (result == 0) entry(SIZE, inodeOf(file), (uint64_t)size, "", 0);
    pthread_mutex_unlock(&lock);
    errno = number;
    return result;
}

int ftruncate(int file, off_t size) { return sized(file, size, REAL(ftruncate)); }
int ftruncate64(int file, off64_t size) { return sized(file, size, REAL(ftruncate)); }

int posix_fallocate(int file, off_t offset, off_t count) {
    if (!isKnown(file)) return REAL(posix_fallocate)(file, offset, count);
    pthread_mutex_lock(&lock);
    int result = REAL(posix_fallocate)(file, offset, count);
    struct stat status;
    if (result == 0 && fstat(file, &status) == 0)
        entry(SIZE, status.st_ino, (uint64_t)status.st_size, "", 0);
    pthread_mutex_unlock(&lock);
    return result;
}

static int flushed(int file, int (*call)(int)) {
    if (!isKnown(file)) return call(file);
    pthread_mutex_lock(&lock);
    int result = call(file);
    int number = errno;
    if (result == 0) entry(FLUSH, inodeOf(file), 0, "", 0);
    pthread_mutex_unlock(&lock);
    errno = number;
    return result;
}

int fsync(int file) { return flushed(file, REAL(fsync)); }
int fdatasync(int file) { return flushed(file, REAL(fdatasync)); }

/* MARK: what the model does not know: recorded, so that it refuses to judge */

static void unknown(const char *name) {
    if (trace < 0) return;
    pthread_mutex_lock(&lock);
    entry(UNKNOWN, 0, 0, name, strlen(name));
    pthread_mutex_unlock(&lock);
}

int sync_file_range(int file, off64_t offset, off64_t count, unsigned int flags) {
    if (isKnown(file)) unknown("sync_file_range");
    return REAL(sync_file_range)(file, offset, count, flags);
}

int fallocate(int file, int mode, off_t offset, off_t count) {
    if (isKnown(file)) unknown("fallocate");
    return REAL(fallocate)(file, mode, offset, count);
}

int msync(void *address, size_t count, int flags) {
    unknown("msync");
    return REAL(msync)(address, count, flags);
}
