/*
 * A library for LD_PRELOAD that strikes a process at one system call, or at one allocation.
 *
 * It counts the calls that touch files below the directory in which the process was started, and
 * does what the variable TALLY_FAULT says:
 *
 *     count:WHAT:FILE       appends a line to FILE for each call that WHAT could strike
 *     kill:N:before         SIGKILL instead of the N-th call that writes
 *     kill:N:half           half of it, then SIGKILL; calls without halves are struck before
 *     kill:N:after          all of it, then SIGKILL
 *     ERROR:N:once          the N-th call that can fail so does
 *     ERROR:N:ever          so do it and all that follow
 *
 * A call that fails is said on standard error, once: `fault: KIND PATH`.
 *
 * WHAT is kill or an ERROR: EIO ENOSPC EDQUOT EROFS EINTR EMFILE ENOMEM; `short` (half of the
 * bytes, no error); `after` (the effect, and EIO; those that follow fail without effect); `alloc`
 * (an allocation that liblmdb asks for returns nothing). What can fail how stands in `applies`
 * below. Half of a write is half of its bytes, half of a truncation or an allocation is half of the
 * way; a flush, a rename, an unlink, a mkdir and an open have no half that anybody could see.
 *
 * With TALLY_FAULT=server the process stops before main and serves: for each line
 * `PLAN DIRECTORY OUT ERR` on descriptor 198 it forks a child that goes on to main in that
 * directory, its outputs appended to those files, under that plan; it writes the child's id to
 * descriptor 199 as 4 bytes and then, when that has ended, its wait status. So a run costs a fork,
 * and no loading.
 *
 * Not counted: calls that libc makes by itself, such as the read inside readdir.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { requests = 198, replies = 199 };

/* What a call does. The order is that of `names`. */
enum kind {
    doesWrite, doesTruncate, doesAllocate, doesSync, doesRename, doesUnlink, doesMakeDirectory,
    doesCreate, /* the last one that writes */
    doesOpen, doesRead, doesMap, doesLock, doesLook, doesReserve
};

static const char *const names[] = {
    "write", "truncate", "allocate", "sync", "rename", "unlink", "mkdir", "create",
    "open", "read", "map", "lock", "look", "reserve"
};

/* What is done to a call. */
enum fault { faultNone, faultKill, faultError, faultShort, faultAfter, faultReserve };
enum part { partBefore, partHalf, partAfter };

static struct {
    enum fault fault;
    enum part part;
    int isEver, isCounting, number, log;
    long at;
    char directory[4096];
    size_t directoryLength;
} plan;

static atomic_long counter;
/* Whether the call that is struck is the one that was planned, and none of those after it. */
static _Thread_local int isFirst;
static uintptr_t lmdbStart, lmdbEnd;

/* Which calls a fault can strike: each error where a system gives it. */
static int applies(enum kind kind)
{
    int isWriting = kind <= doesCreate;
    int opens = kind == doesCreate || kind == doesOpen;
    switch (plan.fault) {
    case faultNone: return 0;
    case faultKill: return isWriting;
    case faultReserve: return kind == doesReserve;
    case faultShort: return kind == doesWrite || kind == doesRead;
    case faultAfter: return isWriting;
    case faultError: break;
    }
    if (kind == doesReserve) return 0;
    switch (plan.number) {
    case ENOSPC: case EDQUOT:
        return kind == doesWrite || kind == doesTruncate || kind == doesAllocate
            || kind == doesMakeDirectory || kind == doesCreate || kind == doesRename;
    case EROFS: return isWriting && kind != doesSync;
    case EINTR: return kind == doesWrite || kind == doesRead || opens || kind == doesAllocate;
    case EMFILE: return opens;
    case ENOMEM: return kind == doesMap || opens;
    default: return 1;
    }
}

static void strike(void)
{
    syscall(SYS_kill, getpid(), SIGKILL);
    for (;;) pause();
}

/* Counts a call. Returns whether this one is struck. */
static int counted(enum kind kind, const char *path)
{
    if (!applies(kind)) return 0;
    long number = atomic_fetch_add(&counter, 1) + 1;
    if (plan.isCounting) {
        char line[4400];
        int length = snprintf(line, sizeof line, "%ld %s %s\n", number, names[kind], path);
        syscall(SYS_write, plan.log, line, (size_t)length);
        return 0;
    }
    isFirst = number == plan.at;
    if (isFirst && plan.fault != faultKill) {
        char line[4400];
        int length = snprintf(line, sizeof line, "fault: %s %s\n", names[kind], path);
        syscall(SYS_write, 2, line, (size_t)length);
    }
    return isFirst || (plan.isEver && number > plan.at);
}

static int isBelow(const char *path)
{
    return plan.directoryLength > 0
        && strncmp(path, plan.directory, plan.directoryLength) == 0
        && (path[plan.directoryLength] == '/' || path[plan.directoryLength] == 0);
}

static int strikesPath(enum kind kind, const char *path)
{
    if (plan.fault == faultNone || path == NULL) return 0;
    char full[8300];
    if (path[0] != '/') {
        snprintf(full, sizeof full, "%s/%s", plan.directory, path);
        path = full;
    }
    return isBelow(path) && counted(kind, path + plan.directoryLength);
}

static int strikesFile(enum kind kind, int descriptor)
{
    if (plan.fault == faultNone || !applies(kind)) return 0;
    char link[64], path[4200];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = syscall(SYS_readlink, link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return isBelow(path) && counted(kind, path + plan.directoryLength);
}

/* A call that is struck. `half` says how to do half of it: NULL where there is none. */
#define STRUCK(result, all, half)                                          \
    do {                                                                   \
        switch (plan.fault) {                                              \
        case faultKill:                                                    \
            if (plan.part == partHalf) { half; }                           \
            if (plan.part == partAfter) { (void)!(all); }                  \
            strike();                                                      \
            break;                                                         \
        case faultShort: { half; break; }                                  \
        case faultAfter:                                                   \
            if (isFirst) (void)!(all);                                     \
            errno = EIO;                                                   \
            return (result);                                               \
        default: errno = plan.number; return (result);                     \
        }                                                                  \
    } while (0)

#define NO_HALF (void)0

/* MARK: Bytes */

static long positioned(long call, int descriptor, const void *bytes, size_t count, off_t offset)
{
    return syscall(call, descriptor, bytes, count, offset);
}

/* Writes or reads half of what was asked for; at least a byte of more than none. */
#define HALF_OF_BYTES(done)                                                \
    do {                                                                   \
        ssize_t short_ = (done);                                           \
        if (plan.fault == faultShort) return short_;                       \
    } while (0)

ssize_t write(int descriptor, const void *bytes, size_t count)
{
    if (strikesFile(doesWrite, descriptor))
        STRUCK(-1, syscall(SYS_write, descriptor, bytes, count),
               HALF_OF_BYTES(syscall(SYS_write, descriptor, bytes, (count + 1) / 2)));
    return syscall(SYS_write, descriptor, bytes, count);
}

ssize_t pwrite(int descriptor, const void *bytes, size_t count, off_t offset)
{
    if (strikesFile(doesWrite, descriptor))
        STRUCK(-1, positioned(SYS_pwrite64, descriptor, bytes, count, offset),
               HALF_OF_BYTES(
                   positioned(SYS_pwrite64, descriptor, bytes, (count + 1) / 2, offset)));
    return positioned(SYS_pwrite64, descriptor, bytes, count, offset);
}

ssize_t pwrite64(int descriptor, const void *bytes, size_t count, off_t offset)
{
    return pwrite(descriptor, bytes, count, offset);
}

/* Half of the bytes of a vector, in its order. */
static ssize_t writeHalf(int descriptor, const struct iovec *vector, int count)
{
    size_t total = 0, written = 0;
    for (int index = 0; index < count; index++) total += vector[index].iov_len;
    for (int index = 0; index < count && written < (total + 1) / 2; index++) {
        size_t length = vector[index].iov_len;
        if (length > (total + 1) / 2 - written) length = (total + 1) / 2 - written;
        ssize_t result = syscall(SYS_write, descriptor, vector[index].iov_base, length);
        if (result < 0) return result;
        written += (size_t)result;
    }
    return (ssize_t)written;
}

ssize_t writev(int descriptor, const struct iovec *vector, int count)
{
    if (strikesFile(doesWrite, descriptor))
        STRUCK(-1, syscall(SYS_writev, descriptor, vector, count),
               HALF_OF_BYTES(writeHalf(descriptor, vector, count)));
    return syscall(SYS_writev, descriptor, vector, count);
}

ssize_t read(int descriptor, void *bytes, size_t count)
{
    if (strikesFile(doesRead, descriptor))
        STRUCK(-1, syscall(SYS_read, descriptor, bytes, count),
               HALF_OF_BYTES(syscall(SYS_read, descriptor, bytes, (count + 1) / 2)));
    return syscall(SYS_read, descriptor, bytes, count);
}

ssize_t pread(int descriptor, void *bytes, size_t count, off_t offset)
{
    if (strikesFile(doesRead, descriptor))
        STRUCK(-1, positioned(SYS_pread64, descriptor, bytes, count, offset),
               HALF_OF_BYTES(
                   positioned(SYS_pread64, descriptor, bytes, (count + 1) / 2, offset)));
    return positioned(SYS_pread64, descriptor, bytes, count, offset);
}

ssize_t pread64(int descriptor, void *bytes, size_t count, off_t offset)
{
    return pread(descriptor, bytes, count, offset);
}

/* MARK: Lengths and flushes */

int ftruncate(int descriptor, off_t length)
{
    if (strikesFile(doesTruncate, descriptor)) {
        struct stat status = { 0 };
        fstat(descriptor, &status);
        off_t half = status.st_size + (length - status.st_size) / 2;
        STRUCK(-1, syscall(SYS_ftruncate, descriptor, length),
               (void)syscall(SYS_ftruncate, descriptor, half));
    }
    return (int)syscall(SYS_ftruncate, descriptor, length);
}

int ftruncate64(int descriptor, off_t length) { return ftruncate(descriptor, length); }

int fallocate(int descriptor, int mode, off_t offset, off_t length)
{
    if (strikesFile(doesAllocate, descriptor))
        STRUCK(-1, syscall(SYS_fallocate, descriptor, mode, offset, length),
               (void)syscall(SYS_fallocate, descriptor, mode, offset, (length + 1) / 2));
    return (int)syscall(SYS_fallocate, descriptor, mode, offset, length);
}

/* Returns the error instead of setting it, unlike all others here. */
int posix_fallocate(int descriptor, off_t offset, off_t length)
{
    return fallocate(descriptor, 0, offset, length) == 0 ? 0 : errno;
}

int posix_fallocate64(int descriptor, off_t offset, off_t length)
{
    return posix_fallocate(descriptor, offset, length);
}

int fsync(int descriptor)
{
    if (strikesFile(doesSync, descriptor)) STRUCK(-1, syscall(SYS_fsync, descriptor), NO_HALF);
    return (int)syscall(SYS_fsync, descriptor);
}

int fdatasync(int descriptor)
{
    if (strikesFile(doesSync, descriptor))
        STRUCK(-1, syscall(SYS_fdatasync, descriptor), NO_HALF);
    return (int)syscall(SYS_fdatasync, descriptor);
}

/* MARK: Names */

int rename(const char *from, const char *to)
{
    if (strikesPath(doesRename, to)) STRUCK(-1, syscall(SYS_rename, from, to), NO_HALF);
    return (int)syscall(SYS_rename, from, to);
}

int unlink(const char *path)
{
    if (strikesPath(doesUnlink, path)) STRUCK(-1, syscall(SYS_unlink, path), NO_HALF);
    return (int)syscall(SYS_unlink, path);
}

int rmdir(const char *path)
{
    if (strikesPath(doesUnlink, path)) STRUCK(-1, syscall(SYS_rmdir, path), NO_HALF);
    return (int)syscall(SYS_rmdir, path);
}

int mkdir(const char *path, mode_t mode)
{
    if (strikesPath(doesMakeDirectory, path)) STRUCK(-1, syscall(SYS_mkdir, path, mode), NO_HALF);
    return (int)syscall(SYS_mkdir, path, mode);
}

int open(const char *path, int flags, ...)
{
    mode_t mode = 0;
    if (flags & (O_CREAT | O_TMPFILE)) {
        va_list list;
        va_start(list, flags);
        mode = va_arg(list, mode_t);
        va_end(list);
    }
    if (strikesPath(flags & O_CREAT ? doesCreate : doesOpen, path))
        STRUCK(-1, syscall(SYS_openat, AT_FDCWD, path, flags, mode), NO_HALF);
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    mode_t mode = 0;
    if (flags & (O_CREAT | O_TMPFILE)) {
        va_list list;
        va_start(list, flags);
        mode = va_arg(list, mode_t);
        va_end(list);
    }
    return open(path, flags, mode);
}

/* MARK: Looking, locking, mapping */

/* Calls the function of libc that has the name of the one it stands in. */
#define NEXT(function) ((__typeof__(&function))dlsym(RTLD_NEXT, #function))

DIR *opendir(const char *path)
{
    if (strikesPath(doesOpen, path)) STRUCK(NULL, NEXT(opendir)(path), NO_HALF);
    return NEXT(opendir)(path);
}

int access(const char *path, int mode)
{
    if (strikesPath(doesLook, path)) STRUCK(-1, syscall(SYS_access, path, mode), NO_HALF);
    return (int)syscall(SYS_access, path, mode);
}

int stat(const char *path, struct stat *status)
{
    if (strikesPath(doesLook, path)) STRUCK(-1, NEXT(stat)(path, status), NO_HALF);
    return NEXT(stat)(path, status);
}

/* What liblmdb as Debian builds it calls for fstat. */
int __fxstat(int version, int descriptor, struct stat *status)
{
    (void)version;
    return fstat(descriptor, status);
}

int fstat(int descriptor, struct stat *status)
{
    if (strikesFile(doesLook, descriptor)) STRUCK(-1, NEXT(fstat)(descriptor, status), NO_HALF);
    return NEXT(fstat)(descriptor, status);
}

int statvfs(const char *path, struct statvfs *status)
{
    if (strikesPath(doesLook, path)) STRUCK(-1, NEXT(statvfs)(path, status), NO_HALF);
    return NEXT(statvfs)(path, status);
}

int fcntl(int descriptor, int command, ...)
{
    va_list list;
    va_start(list, command);
    void *argument = va_arg(list, void *);
    va_end(list);
    int locks = command == F_SETLK || command == F_SETLKW || command == F_GETLK
        || command == F_OFD_SETLK || command == F_OFD_SETLKW || command == F_OFD_GETLK;
    if (locks && strikesFile(doesLock, descriptor))
        STRUCK(-1, (int)syscall(SYS_fcntl, descriptor, command, argument), NO_HALF);
    return (int)syscall(SYS_fcntl, descriptor, command, argument);
}

int fcntl64(int descriptor, int command, ...)
{
    va_list list;
    va_start(list, command);
    void *argument = va_arg(list, void *);
    va_end(list);
    return fcntl(descriptor, command, argument);
}

void *mmap(void *address, size_t length, int protection, int flags, int descriptor, off_t offset)
{
    if (descriptor >= 0 && strikesFile(doesMap, descriptor)) {
        errno = plan.fault == faultError ? plan.number : EIO;
        return MAP_FAILED;
    }
    return (void *)syscall(SYS_mmap, address, length, protection, flags, descriptor, offset);
}

void *mmap64(void *address, size_t length, int protection, int flags, int descriptor, off_t offset)
{
    return mmap(address, length, protection, flags, descriptor, offset);
}

/* MARK: Allocations that liblmdb asks for */

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);

/* Whether the code that asks lies in liblmdb, and this time gets nothing. */
#define DENIED                                                             \
    (plan.fault == faultReserve                                            \
     && (uintptr_t)__builtin_return_address(0) - lmdbStart < lmdbEnd - lmdbStart \
     && counted(doesReserve, "memory"))

void *malloc(size_t size)
{
    if (DENIED) { errno = ENOMEM; return NULL; }
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    if (DENIED) { errno = ENOMEM; return NULL; }
    return __libc_calloc(count, size);
}

void *realloc(void *block, size_t size)
{
    if (DENIED) { errno = ENOMEM; return NULL; }
    return __libc_realloc(block, size);
}

char *strdup(const char *text)
{
    if (DENIED) { errno = ENOMEM; return NULL; }
    size_t size = strlen(text) + 1;
    char *copy = __libc_malloc(size);
    return copy ? memcpy(copy, text, size) : NULL;
}

static int findLMDB(struct dl_phdr_info *info, size_t size, void *unused)
{
    (void)size;
    (void)unused;
    if (strstr(info->dlpi_name, "liblmdb") == NULL) return 0;
    for (int index = 0; index < info->dlpi_phnum; index++) {
        const ElfW(Phdr) *header = &info->dlpi_phdr[index];
        if (header->p_type != PT_LOAD || !(header->p_flags & PF_X)) continue;
        lmdbStart = info->dlpi_addr + header->p_vaddr;
        lmdbEnd = lmdbStart + header->p_memsz;
    }
    return 1;
}

/* MARK: The plan */

static void misunderstood(const char *text)
{
    fprintf(stderr, "fault.c: TALLY_FAULT=%s makes no sense; see the top of tools/crash/fault.c\n",
            text);
    _exit(99);
}

static void setFault(const char *text, const char *word)
{
    static const struct { const char *word; enum fault fault; int number; } table[] = {
        { "kill", faultKill, 0 }, { "short", faultShort, 0 }, { "after", faultAfter, EIO },
        { "alloc", faultReserve, ENOMEM }, { "EIO", faultError, EIO },
        { "ENOSPC", faultError, ENOSPC }, { "EDQUOT", faultError, EDQUOT },
        { "EROFS", faultError, EROFS }, { "EINTR", faultError, EINTR },
        { "EMFILE", faultError, EMFILE }, { "ENOMEM", faultError, ENOMEM },
    };
    for (size_t index = 0; index < sizeof table / sizeof table[0]; index++)
        if (strcmp(word, table[index].word) == 0) {
            plan.fault = table[index].fault;
            plan.number = table[index].number;
            return;
        }
    misunderstood(text);
}

/* Takes a plan over; the directory is the one the process is in. */
static void setPlan(const char *text)
{
    char first[32] = "", second[32] = "", third[4096] = "";
    memset(&plan, 0, sizeof plan);
    if (strcmp(text, "none") == 0) return;
    if (sscanf(text, "%31[^:]:%31[^:]:%4095s", first, second, third) != 3) misunderstood(text);
    plan.isCounting = strcmp(first, "count") == 0;
    setFault(text, plan.isCounting ? second : first);
    if (plan.isCounting) {
        plan.log = (int)syscall(
            SYS_openat, AT_FDCWD, third, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (plan.log < 0) misunderstood(text);
    } else {
        plan.at = atol(second);
        plan.isEver = strcmp(third, "ever") == 0;
        plan.part = strcmp(third, "after") == 0 ? partAfter
            : strcmp(third, "half") == 0        ? partHalf
                                                : partBefore;
    }
    if (getcwd(plan.directory, sizeof plan.directory) == NULL) misunderstood(text);
    plan.directoryLength = strlen(plan.directory);
    dl_iterate_phdr(findLMDB, NULL);
    if (plan.fault == faultReserve && lmdbEnd == lmdbStart) misunderstood(text);
}

static void redirect(const char *path, int descriptor)
{
    int opened = (int)syscall(
        SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (opened < 0 || dup2(opened, descriptor) < 0) _exit(98);
    close(opened);
}

/* Serves until its requests end; returns in each child. */
static void serve(void)
{
    FILE *lines = fdopen(requests, "r");
    char line[16384], text[4096], directory[4096], out[2048], err[2048];
    while (lines != NULL && fgets(line, sizeof line, lines) != NULL) {
        if (sscanf(line, "%4095s %4095s %2047s %2047s", text, directory, out, err) != 4) _exit(97);
        pid_t child = fork();
        if (child < 0) _exit(96);
        if (child == 0) {
            close(requests);
            close(replies);
            redirect(out, 1);
            redirect(err, 2);
            if (chdir(directory) != 0) _exit(95);
            setPlan(text);
            return;
        }
        int status = child;
        if (syscall(SYS_write, replies, &status, sizeof status) != sizeof status) _exit(94);
        while (waitpid(child, &status, 0) < 0)
            if (errno != EINTR) _exit(93);
        if (syscall(SYS_write, replies, &status, sizeof status) != sizeof status) _exit(94);
    }
    _exit(0);
}

__attribute__((constructor)) static void begin(void)
{
    const char *text = getenv("TALLY_FAULT");
    if (text == NULL) return;
    if (strcmp(text, "server") == 0) serve();
    else setPlan(text);
}
