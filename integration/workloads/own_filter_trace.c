/* The workload's own filter returns TRACE without a tracer of the workload: the kernel returns ENOSYS.
 * Kernel path: SECCOMP_RET_TRACE without PTRACE_O_TRACESECCOMP; the newest filter's data wins on a tie.
 * Pitfall: taking the stop for that of its own filter. It then lets the call happen.
 * Build: -static
 */
#include "workload.h"

int main(void)
{
    CHECK(distinct_1() == 99);
    CHECK(own_filter(SYS_sched_get_priority_max, SECCOMP_RET_TRACE | 7, 0) == 0);
    long result = distinct_1();
    int error = errno;
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0)
        _exit(distinct_1() == -1 ? errno : 0);
    say("result %ld errno %d child %d\n", result, error, exit_status(pid));
    return 0;
}
