/* Strict mode of threads that make clone3(2) by int 0x80: each dies alone, and no task is made.
 * Kernel path: __secure_computing_strict() refuses before copy_clone_args_from_user(). The last call has a flag that
 * clone(2) lacks.
 * Pitfall: changing a call that was just refused, so that it is made after all, or taken for one that may have been made.
 * Machine: x86_64
 * Build: -static
 */
#include <linux/sched.h>

#include "workload.h"

/* Not on a stack: by int 0x80, addresses have 32 bits. */
static struct clone_args clones[2] = {{.exit_signal = SIGCHLD}, {.flags = CLONE_CLEAR_SIGHAND, .exit_signal = SIGCHLD}};

static int thread(void *number)
{
    if (syscall(SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_STRICT, 0, 0, 0))
        syscall(SYS_exit_group, 0);
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(SYS_clone3), "b"(&clones[(long)number]), "c"(sizeof *clones)
                     : "memory", "r8", "r9", "r10", "r11");
    syscall(SYS_write, 1, "made a task\n", 12);
    syscall(SYS_exit, 0);
    return 0;
}

int main(void)
{
    run_raw_threads(thread);
    say("went on, %ld\n", distinct_2());
    return 4;
}
