/* Loaded ahead of the C library: what becomes of files whose path ends in one of the names in RECORDED, with a colon
   behind each, is appended to the file named by RECORD, once it has been done. An entry: one of W (write), T (truncate),
   S (sync); the name's length, an octet; offset or new size, and the length of what was written, 64 bits each; the name;
   what was written. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void put(char what, int fd, uint64_t at, const void *octets, uint64_t size)
{
    static int record = -1;
    int before = errno;
    char link[64], path[4096], colon[4097], *name;
    const char *recorded = getenv("RECORDED");
    ssize_t length;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof path - 1);
    if (recorded && length > 0) {
        path[length] = 0;
        name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
        snprintf(colon, sizeof colon, "%s:", name);
        if (strstr(recorded, colon)) {
            struct __attribute__((packed)) { char what; uint8_t length; uint64_t at, size; } head;
            struct iovec parts[] = {{&head, sizeof head}, {name, strlen(name)}, {(void *)octets, size}};
            head.what = what, head.length = strlen(name), head.at = at, head.size = size;
            pthread_mutex_lock(&lock);
            if (record < 0)
                record = syscall(SYS_openat, AT_FDCWD, getenv("RECORD"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
            if (syscall(SYS_writev, record, parts, 3) < 0)
                abort();
            pthread_mutex_unlock(&lock);
        }
    }
    errno = before;
}

#define PWRITE(name, offset_type)                                          \
    ssize_t name(int fd, const void *octets, size_t size, offset_type at)  \
    {                                                                      \
        ssize_t done = REAL(name)(fd, octets, size, at);                   \
        if (done > 0)                                                      \
            put('W', fd, at, octets, done);                                \
        return done;                                                       \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

#define TRUNCATE(name, offset_type)                                        \
    int name(int fd, offset_type size)                                     \
    {                                                                      \
        int failed = REAL(name)(fd, size);                                 \
        if (!failed)                                                       \
            put('T', fd, size, NULL, 0);                                   \
        return failed;                                                     \
    }
TRUNCATE(ftruncate, off_t)
TRUNCATE(ftruncate64, off64_t)

#define SYNC(name)                                                         \
    int name(int fd)                                                       \
    {                                                                      \
        int failed = REAL(name)(fd);                                       \
        if (!failed)                                                       \
            put('S', fd, 0, NULL, 0);                                      \
        return failed;                                                     \
    }
SYNC(fsync)
SYNC(fdatasync)
