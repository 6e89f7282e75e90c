/* Strict mode of single threads: one exits, one makes a forbidden call and dies alone; the process goes on.
 * Kernel path: __secure_computing_strict(): do_exit(SIGKILL) of the calling thread only, without a signal for its
 * process.
 * Pitfall: emulating it with a SIGKILL, which ends the whole process.
 * Build: -static
 */
#include "workload.h"

static char stacks[2][64 * 1024] __attribute__((aligned(16)));
static volatile int ids[2] = {1, 1};

static int thread(void *number)
{
    /* Raw: libc's thread data belong to the main thread. */
    syscall(SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_STRICT, 0, 0, 0);
    syscall(SYS_write, 1, "strict\n", 7);
    if (number)
        syscall(SYS_sched_get_priority_max, SCHED_FIFO);
    syscall(SYS_exit, 0);
    return 0;
}

int main(void)
{
    int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_CHILD_CLEARTID;
    for (long i = 0; i < 2; i++) {
        CHECK(clone(thread, stacks[i] + sizeof stacks[i], flags, (void *)i, NULL, NULL, &ids[i]) > 0);
        spin_until(&ids[i], 0);
    }
    say("went on, %ld\n", distinct_2());
    return 4;
}
