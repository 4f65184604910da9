// Loaded before the C library (LD_PRELOAD): while the file named by FAIL_FSYNC_WHEN exists, nothing becomes durable.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static int failing(void) {
    const char *file = getenv("FAIL_FSYNC_WHEN");
    return file && access(file, F_OK) == 0;
}

static int pass_on(const char *name, int fd) {
    if (failing()) {
        errno = EIO;
        return -1;
    }
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    return real(fd);
}

int fsync(int fd) { return pass_on("fsync", fd); }
int fdatasync(int fd) { return pass_on("fdatasync", fd); }
