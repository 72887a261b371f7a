/* Loaded ahead of the C library: calls on chosen files fail, or hang, as the file named by FAULTS says at that moment.
   Each of its lines is "CALL PATH ERRNO": a call named so, on a path with PATH in it, fails with that errno; with errno
   0 it hangs until the line is gone. Calls: open (for writing), write, sync, link. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* What is to become of a call: -1 nothing, 0 hang, else an errno. A path of NULL is that of every file in a mailbox. */
static int rule(const char *call, const char *path)
{
    char rules[4096], *line, *rest = rules;
    const char *file = getenv("FAULTS");
    int fd = file ? (int)syscall(SYS_openat, AT_FDCWD, file, O_RDONLY | O_CLOEXEC) : -1;
    ssize_t length;
    if (fd < 0)
        return -1;
    length = syscall(SYS_read, fd, rules, sizeof rules - 1);
    syscall(SYS_close, fd);
    rules[length > 0 ? length : 0] = 0;
    while ((line = strsep(&rest, "\n"))) {
        char name[16], part[1024];
        int code;
        if (sscanf(line, "%15s %1023s %d", name, part, &code) == 3 && !strcmp(name, call)
            && (path ? strstr(path, part) : strstr(part, "/tmp") || strstr(part, "/new")))
            return code;
    }
    return -1;
}

static int hit(const char *call, const char *path)
{
    int code;
    struct timespec pause = {0, 5000000};
    while (!(code = rule(call, path)))
        nanosleep(&pause, NULL);
    if (code > 0)
        errno = code;
    return code > 0;
}

static int hit_fd(const char *call, int fd)
{
    char link[64], path[4096];
    ssize_t length;
    int before = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof path - 1);
    errno = before;
    if (length < 0)
        return 0;
    path[length] = 0;
    return hit(call, path);
}

#define OPEN(name)                                                         \
    int name(const char *path, int flags, ...)                             \
    {                                                                      \
        va_list more;                                                      \
        mode_t mode;                                                       \
        va_start(more, flags);                                             \
        mode = va_arg(more, mode_t);                                       \
        va_end(more);                                                      \
        if ((flags & O_ACCMODE) != O_RDONLY && hit("open", path))          \
            return -1;                                                     \
        return REAL(name)(path, flags, mode);                              \
    }
OPEN(open)
OPEN(open64)

#define SYNC(name)                                                         \
    int name(int fd)                                                       \
    {                                                                      \
        return hit_fd("sync", fd) ? -1 : REAL(name)(fd);                   \
    }
SYNC(fsync)
SYNC(fdatasync)

/* All there is on a file system. */
int syncfs(int fd)
{
    return hit("sync", NULL) ? -1 : REAL(syncfs)(fd);
}

ssize_t write(int fd, const void *octets, size_t size)
{
    return hit_fd("write", fd) ? -1 : REAL(write)(fd, octets, size);
}

#define PWRITE(name, offset_type)                                          \
    ssize_t name(int fd, const void *octets, size_t size, offset_type at)  \
    {                                                                      \
        return hit_fd("write", fd) ? -1 : REAL(name)(fd, octets, size, at); \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

int link(const char *source, const char *target)
{
    return hit("link", target) ? -1 : REAL(link)(source, target);
}

int linkat(int from, const char *source, int to, const char *target, int flags)
{
    return hit("link", target) ? -1 : REAL(linkat)(from, source, to, target, flags);
}
