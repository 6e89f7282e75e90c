/* Makes calls that it can do without, each in its own way, and calls that it can't: what `minimize` is tested with. With an
 * argument it sleeps so many milliseconds first; with another one it waits for ever instead of failing. A daemon outlives it that holds no descriptor.
 * Kernel path: none that matters; which calls are refused does.
 * A tracer gets wrong: nothing that others don't show; it is run under profiles.
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
    /* Nobody looks at the result: tolerated. */
    syscall(SYS_getpgrp);
    syscall(SYS_getppid);
    /* One of two will do: tolerated, but not both. */
    if (syscall(SYS_readlink, "/proc/self/exe", path, sizeof path) < 0 &&
        syscall(SYS_readlinkat, AT_FDCWD, "/proc/self/exe", path, sizeof path) < 0)
        fail("no link can be read\n");
    /* For its name to be in a recording. */
    syscall(SYS_readlinkat, AT_FDCWD, "/proc/self/exe", path, sizeof path);
    /* Needed: it fails, writes something else, hangs or fails, or dies. */
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
    /* Its first steps are seen, whenever the recording of them ends. */
    CHECK(pipe(ready) == 0 || errno == EPERM);
    /* Its fork is needed unless the pipe is refused as well: denying more can make a result right again. */
    long pid = syscall(SYS_fork);
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
