/* Makes calls that it needs and calls that it doesn't, each in its own way, to test `minimize`. The first argument is a
 * number of milliseconds to sleep first; with a second one it waits for ever instead of failing. A daemon that holds no
 * descriptor outlives it.
 * Kernel path: irrelevant: only the refused calls matter.
 * Pitfall: none: it runs under profiles.
 * Build: -static
 */
#include "workload.h"

#include <sys/utsname.h>

int main(int argc, char **argv)
{
    struct utsname name;
    struct timespec rest = {0, argc > 1 ? atol(argv[1]) * 1000000 : 0};
    char path[64];
    int ready[2] = {-1, -1}, nobody = 0;

    if (rest.tv_nsec)
        syscall(SYS_nanosleep, &rest, NULL);
    /* The result is ignored: tolerated. */
    syscall(SYS_getpgid, 0);
    syscall(SYS_getppid);
    /* Either of two calls suffices: each is tolerated, but not both. */
    if (syscall(SYS_faccessat, AT_FDCWD, "/proc/self/exe", F_OK) < 0 &&
        syscall(SYS_readlinkat, AT_FDCWD, "/proc/self/exe", path, sizeof path) < 0)
        fail("no link can be found\n");
    /* Adds its name to a recording. */
    syscall(SYS_readlinkat, AT_FDCWD, "/proc/self/exe", path, sizeof path);
    /* Needed: without it the program fails, writes other output, hangs or fails, or dies. */
    if (uname(&name) != 0)
        fail("what machine is this?\n");
    say("priority %s\n", syscall(SYS_sched_get_priority_max, SCHED_FIFO) < 0 ? "unknown" : "known");
    if (sched_yield() != 0) {
        while (argc > 2)
            pause();
        return 4;
    }
    if (syscall(SYS_getuid) < 0)
        *(volatile int *)0 = 0;
    /* Its first steps are always recorded, even if the recording ends early. */
    CHECK(pipe(ready) == 0 || errno == EPERM);
    /* Its fork is needed unless the pipe is denied too: denying more can make the outcome right again. */
    long pid = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (pid < 0 && ready[0] >= 0)
        return 5;
    if (pid == 0) {
        setsid();
        if (write(ready[1], "", 1) < 0)
            add_one(&nobody);
        for (int fd = 0; fd < 5; fd++)
            close(fd);
        for (;;)
            pause();
    }
    if (read(ready[0], path, 1) < 0)
        add_one(&nobody);
    return 0;
}
