/* A process that made itself non-dumpable forks and makes calls. With an argument, it execs that program instead: an
 * executable that can't be read makes a process non-dumpable too.
 * Kernel path: ptrace_may_access(), ptrace_access_vm(): a tracer without CAP_SYS_PTRACE can't read memory and
 * /proc/PID/exe.
 * Pitfall: giving up on EPERM from PEEKDATA or readlink.
 * Build: -static
 */
#include "workload.h"

int main(int argc, char **argv)
{
    if (argc > 1) {
        execv(argv[1], argv + 1);
        fail("execv %s: errno %d\n", argv[1], errno);
    }
    CHECK(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        distinct_1();
        _exit(8);
    }
    int child = exit_status(pid);
    distinct_2();
    say("dumpable %d child %d\n", prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), child);
    return 0;
}
