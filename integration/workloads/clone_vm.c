/* clone(CLONE_VM | SIGCHLD) without CLONE_THREAD: a separate process in its parent's memory.
 * Kernel path: clone(2) with a shared mm, its own signal handlers and files; wait4 by the parent.
 * Pitfall: taking it for a thread because it shares memory: it is a process, with its own tgid and exit status.
 * Build: -static
 */
#include "workload.h"

static char stack[3][64 * 1024] __attribute__((aligned(16)));
static volatile int shared;

static int child(void *argument)
{
    /* Raw calls: libc's thread data belong to the parent. */
    long self = syscall(SYS_getpid), thread = syscall(SYS_gettid);
    if (self != thread)
        return 90;
    syscall(SYS_sched_get_priority_max, SCHED_FIFO);
    shared += (int)(long)argument;
    return (int)(long)argument;
}

int main(void)
{
    int sum = 0;
    for (long i = 0; i < 3; i++) {
        int flags = i == 0 ? CLONE_VM : i == 1 ? CLONE_VM | CLONE_FILES | CLONE_FS : CLONE_VM | CLONE_SIGHAND;
        pid_t pid = clone(child, stack[i] + sizeof stack[i], flags | SIGCHLD, (void *)(i + 1));
        CHECK(pid > 0);
        sum += exit_status(pid);
    }
    say("shared %d sum %d\n", shared, sum);
    return 0;
}
