/* Faults from outside: a library that tests preload into the unchanged program.
 *
 *     cc -shared -fPIC -O2 -o shim.so shim.c -ldl
 *     mpirun -n 2 -x LD_PRELOAD=$PWD/shim.so -x SHIM_FAULT=eio -x SHIM_PATH=.partial hyperslab ...
 *
 * SHIM_FAULT        flip        one bit of one write differs from what the program gave (once)
 *                   enospc eio edquot    a write that would go beyond SHIM_AFTER bytes fails, and all that do after it
 *                   fsync-eio   fsync and fdatasync fail
 *                   slow        the same take 100 ms
 *                   eacces      open, openat and creat fail
 *                   hang        the same never return, as on a file system that does not answer
 *                   stop kill   the process gets SIGSTOP or SIGKILL, before a write or at the trigger (once)
 *                   clock       at the trigger CLOCK_MONOTONIC fails for calls from the program itself (not from
 *                               its libraries): Rust's Instant::now() panics on whichever thread asks next
 *                   nomem       at the trigger posix_memalign, by which libtorch gets its memory on a CPU, fails for
 *                               SHIM_MIN bytes and more
 * SHIM_PATH         end of the path of the files it acts on, as the process sees it now (a renamed file has its
 *                   new name); eacces and hang compare the path as given to open. Empty or unset: no file
 * SHIM_RANK         the rank it acts in (default 0), or `any`: OMPI_COMM_WORLD_RANK or, under MPICH's launcher,
 *                   PMI_RANK. A process without one is rank 0.
 *                   In a collective write OpenMPI may let some ranks write for the others (measured: with 3 or
 *                   more on one machine, rank 0 for all; with 2, each its own): faults of writes belong on rank 0
 * SHIM_AFTER        bytes written to such files by this process before it acts (default 0)
 * SHIM_AFTER_CALLS  calls that pass before it acts: writes, syncs or opens, whichever the fault is about (default 0)
 * SHIM_MIN          writes of fewer bytes neither count nor are touched (default 1): leaves out metadata
 * SHIM_TRIGGER      for clock, nomem, stop and kill: a path; they act once something exists there
 *
 * Each fault says on standard error what it did (`shim: rank 1: flip: ...`), so that a test can tell a fault that
 * was survived from one that never happened. Which symbols and why:
 *   pwrite, pwritev     OpenMPI's OMPIO (fbtl/posix); pwrite and write: ROMIO and HDF5's own drivers
 *   write, pwrite64, writev, open64, fsync, fdatasync, clock_gettime     Rust's standard library
 *   the remaining 64-bit and v2 forms are other names of the same calls
 * Not seen, because no such symbol is called: raw system calls (rustix's), aio_write's helper threads (OMPIO's
 * non-blocking writes, which HDF5 does not use), stdio's fopen and fwrite, mmap, posix_fallocate. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum fault { NONE, FLIP, ENOSPC_, EIO_, EDQUOT_, FSYNC_EIO, SLOW, EACCES_, HANG, STOP, KILL, CLOCK, NOMEM };
static const char *const NAMES[] = {"none", "flip", "enospc", "eio", "edquot", "fsync-eio", "slow", "eacces", "hang", "stop", "kill", "clock", "nomem"};

/* Written once, by `read_settings`. */
static enum fault fault;
static const char *rank, *path_end, *trigger;
static long long after_bytes, after_calls, min_bytes;

static atomic_llong bytes_seen, calls_seen;
static atomic_bool done; /* of the faults that act once */

static long long number(const char *name, long long unset) {
    const char *text = getenv(name);
    return text && *text ? atoll(text) : unset;
}

static void read_settings(void) {
    const char *wanted_rank = getenv("SHIM_RANK"), *name = getenv("SHIM_FAULT"), *program = program_invocation_short_name;
    rank = getenv("OMPI_COMM_WORLD_RANK");
    if (!rank) rank = getenv("PMI_RANK");
    if (!rank) rank = "0";
    path_end = getenv("SHIM_PATH");
    trigger = getenv("SHIM_TRIGGER");
    after_bytes = number("SHIM_AFTER", 0);
    after_calls = number("SHIM_AFTER_CALLS", 0);
    min_bytes = number("SHIM_MIN", 1);
    if (!name || !*name) return;
    if (!wanted_rank) wanted_rank = "0";
    if (strcmp(wanted_rank, "any") != 0 && strcmp(wanted_rank, rank) != 0) return;
    /* A launcher and its daemons inherit the environment and have no rank: they would be taken for rank 0. */
    if (strncmp(program, "hyperslab", 9) != 0) return;
    for (int i = FLIP; i <= NOMEM; i++)
        if (!strcmp(name, NAMES[i])) fault = i;
    if (fault == NONE) {
        dprintf(2, "shim: SHIM_FAULT=%s is none of those it knows\n", name);
        abort();
    }
}

/* By the first wrapper called, which may come before this library's constructor. */
static enum fault active(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, read_settings);
    return fault;
}

static void *next(const char *symbol) {
    void *found = dlsym(RTLD_NEXT, symbol);
    if (!found) abort();
    return found;
}

/* `REAL(write)` is libc's own `write`, looked up at its first use. */
#define REAL(name)                                                                                       \
    ({                                                                                                   \
        static _Atomic(void *) found;                                                                    \
        if (!atomic_load(&found)) atomic_store(&found, next(#name));                                     \
        (__typeof__(&name))atomic_load(&found);                                                          \
    })

static bool ends_as_wanted(const char *path) {
    size_t length = path ? strlen(path) : 0, wanted = path_end ? strlen(path_end) : 0;
    return wanted && length >= wanted && !strcmp(path + length - wanted, path_end);
}

static bool is_wanted_fd(int fd) {
    char link[32], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return false;
    path[length] = 0;
    return ends_as_wanted(path);
}

static void tell(const char *what, long long size, long long offset) {
    int saved = errno; /* dprintf reaches write(2) inside libc, not through the wrapper below */
    dprintf(2, "shim: rank %s: %s: %s (size %lld, offset %lld)\n", rank, NAMES[fault], what, size, offset);
    errno = saved;
}

static void signal_once(void) {
    if (atomic_exchange(&done, true)) return;
    tell("signal to itself", 0, -1);
    kill(getpid(), fault == KILL ? SIGKILL : SIGSTOP);
}

/* --- Writes ---------------------------------------------------------------------------------------- */

enum action { PASS, FAIL, ALTER };

static enum action on_write(int fd, long long size, long long offset) {
    enum fault f = active();
    bool about_writes = f == FLIP || f == ENOSPC_ || f == EIO_ || f == EDQUOT_ || ((f == STOP || f == KILL) && !trigger);
    int saved = errno;
    if (!about_writes || size < min_bytes || !is_wanted_fd(fd)) {
        errno = saved;
        return PASS;
    }
    long long calls = atomic_fetch_add(&calls_seen, 1), bytes = atomic_fetch_add(&bytes_seen, size);
    if (calls < after_calls) return PASS;
    if (f == ENOSPC_ || f == EIO_ || f == EDQUOT_) {
        if (bytes + size <= after_bytes) return PASS;
        atomic_fetch_sub(&bytes_seen, size);
        if (!atomic_exchange(&done, true)) tell("first failed write", size, offset);
        errno = f == EIO_ ? EIO : f == EDQUOT_ ? EDQUOT : ENOSPC;
        return FAIL;
    }
    if (bytes < after_bytes) return PASS;
    if (f != FLIP) {
        signal_once();
        return PASS;
    }
    return atomic_exchange(&done, true) ? PASS : ALTER;
}

/* Writes a copy of the data with one bit changed, in the middle. `offset` -1: where the file stands. */
static ssize_t write_altered(int fd, const struct iovec *parts, int count, long long offset) {
    size_t size = 0, filled = 0;
    for (int i = 0; i < count; i++) size += parts[i].iov_len;
    unsigned char *copy = malloc(size);
    if (!copy) abort();
    for (int i = 0; i < count; filled += parts[i++].iov_len) memcpy(copy + filled, parts[i].iov_base, parts[i].iov_len);
    copy[size / 2] ^= 1;
    tell("one bit changed in the middle byte", (long long)size, offset);
    ssize_t written = offset < 0 ? REAL(write)(fd, copy, size) : REAL(pwrite)(fd, copy, size, offset);
    int saved = errno;
    free(copy);
    errno = saved;
    return written;
}

static long long total(const struct iovec *parts, int count) {
    long long size = 0;
    for (int i = 0; i < count; i++) size += (long long)parts[i].iov_len;
    return size;
}

/* One body for all: ask, then fail, alter, or pass on to libc. */
#define WRITE(fd, parts, count, offset, pass)                                                            \
    switch (on_write(fd, total(parts, count), offset)) {                                                 \
    case FAIL: return -1;                                                                                \
    case ALTER: return write_altered(fd, parts, count, offset);                                          \
    default: return pass;                                                                                \
    }
#define ONE (&(struct iovec){(void *)(uintptr_t)data, size})

ssize_t write(int fd, const void *data, size_t size) {
    WRITE(fd, ONE, 1, -1, REAL(write)(fd, data, size))
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    WRITE(fd, ONE, 1, at, REAL(pwrite)(fd, data, size, at))
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    WRITE(fd, ONE, 1, at, REAL(pwrite64)(fd, data, size, at))
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
    WRITE(fd, parts, count, -1, REAL(writev)(fd, parts, count))
}
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) {
    WRITE(fd, parts, count, at, REAL(pwritev)(fd, parts, count, at))
}
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t at) {
    WRITE(fd, parts, count, at, REAL(pwritev64)(fd, parts, count, at))
}
ssize_t pwritev2(int fd, const struct iovec *parts, int count, off_t at, int flags) {
    WRITE(fd, parts, count, at, REAL(pwritev2)(fd, parts, count, at, flags))
}
ssize_t pwritev64v2(int fd, const struct iovec *parts, int count, off64_t at, int flags) {
    WRITE(fd, parts, count, at, REAL(pwritev64v2)(fd, parts, count, at, flags))
}

/* --- Syncs and opens ------------------------------------------------------------------------------- */

static bool call_fails(const char *what, int error) {
    if (atomic_fetch_add(&calls_seen, 1) < after_calls) return false;
    if (!atomic_exchange(&done, true)) tell(what, 0, -1);
    errno = error;
    return true;
}

static bool sync_fails(int fd) {
    if (active() == SLOW && is_wanted_fd(fd)) {
        if (!atomic_exchange(&done, true)) tell("first slow sync", 0, -1);
        usleep(100000);
    }
    return active() == FSYNC_EIO && is_wanted_fd(fd) && call_fails("first failed sync", EIO);
}

int fsync(int fd) { return sync_fails(fd) ? -1 : REAL(fsync)(fd); }
int fdatasync(int fd) { return sync_fails(fd) ? -1 : REAL(fdatasync)(fd); }

static bool open_fails(const char *path) {
    if (active() == HANG && ends_as_wanted(path)) {
        tell("an open that never returns", 0, -1);
        for (;;) pause();
    }
    return active() == EACCES_ && ends_as_wanted(path) && call_fails("first refused open", EACCES);
}

/* The mode is there only where a file may come into being. */
#define MODE(flags, last)                                                                                \
    mode_t mode = 0;                                                                                     \
    if ((flags) & O_CREAT || ((flags) & O_TMPFILE) == O_TMPFILE) {                                       \
        va_list more;                                                                                    \
        va_start(more, last);                                                                            \
        mode = va_arg(more, mode_t);                                                                     \
        va_end(more);                                                                                    \
    }

int open(const char *path, int flags, ...) {
    MODE(flags, flags)
    return open_fails(path) ? -1 : REAL(open)(path, flags, mode);
}
int open64(const char *path, int flags, ...) {
    MODE(flags, flags)
    return open_fails(path) ? -1 : REAL(open64)(path, flags, mode);
}
int openat(int folder, const char *path, int flags, ...) {
    MODE(flags, flags)
    return open_fails(path) ? -1 : REAL(openat)(folder, path, flags, mode);
}
int openat64(int folder, const char *path, int flags, ...) {
    MODE(flags, flags)
    return open_fails(path) ? -1 : REAL(openat64)(folder, path, flags, mode);
}
int creat(const char *path, mode_t mode) { return open_fails(path) ? -1 : REAL(creat)(path, mode); }
int creat64(const char *path, mode_t mode) { return open_fails(path) ? -1 : REAL(creat64)(path, mode); }

/* --- The trigger: clock, memory and signals ---------------------------------------------------------------- */

static atomic_bool triggered;

static void *watch_trigger(void *unused) {
    (void)unused;
    while (access(trigger, F_OK) != 0) usleep(5000);
    atomic_store(&triggered, true);
    if (fault == CLOCK)
        tell("the monotonic clock fails from now on", 0, -1);
    else if (fault == NOMEM)
        tell("there is no more memory for tensors", 0, -1);
    else
        signal_once();
    return NULL;
}

/* A thread watches for the trigger: a rank that waits in poll() or computes is reached too. */
__attribute__((constructor)) static void start_watching(void) {
    enum fault f = active();
    pthread_t thread;
    if ((f == CLOCK || f == NOMEM || f == STOP || f == KILL) && trigger && !pthread_create(&thread, NULL, watch_trigger, NULL))
        pthread_detach(thread);
}

int posix_memalign(void **memory, size_t alignment, size_t size) {
    if (fault == NOMEM && (long long)size >= min_bytes && atomic_load_explicit(&triggered, memory_order_relaxed))
        return ENOMEM;
    return REAL(posix_memalign)(memory, alignment, size);
}

/* Whether `address` lies in the program itself, where Rust's standard library is linked. MPI and libtorch do not
 * look at the result of clock_gettime and would go on with a time that was never written. */
static bool is_in_program(const void *address) {
    Dl_info caller, program;
    return dladdr(address, &caller) && dladdr((void *)getauxval(AT_ENTRY), &program) &&
           caller.dli_fbase == program.dli_fbase;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    if (clock == CLOCK_MONOTONIC && atomic_load_explicit(&triggered, memory_order_relaxed) && fault == CLOCK &&
        is_in_program(__builtin_return_address(0))) {
        errno = EINVAL;
        return -1;
    }
    return REAL(clock_gettime)(clock, now);
}
