/* Strict mode of single threads: one exits, one makes a forbidden call and dies alone; the process goes on.
 * Kernel path: __secure_computing_strict(): do_exit(SIGKILL) of the calling thread only, without a signal for its
 * process.
 * Pitfall: emulating it with a SIGKILL, which ends the whole process.
 * Build: -static
 */
#include "workload.h"

static int thread(void *number)
{
    syscall(SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_STRICT, 0, 0, 0);
    syscall(SYS_write, 1, "strict\n", 7);
    if (number)
        syscall(SYS_sched_get_priority_max, SCHED_FIFO);
    syscall(SYS_exit, 0);
    return 0;
}

int main(void)
{
    run_raw_threads(thread);
    say("went on, %ld\n", distinct_2());
    return 4;
}
