/* CLONE_UNTRACED in clone(2) and clone3(2), for a process and for a thread.
 * Kernel path: the flag makes the kernel skip PTRACE_O_TRACECLONE and similar options: the child isn't attached.
 * Pitfall: the child escapes and its calls are lost. Under a RET_TRACE filter without a tracer its calls fail with
 * ENOSYS; the child of clone then exits with 91.
 * Build: -static
 */
#include "workload.h"
#include <linux/sched.h>

static char stack[64 * 1024] __attribute__((aligned(16)));
static volatile int thread_result, thread_id;

static int child(void *argument)
{
    return syscall(SYS_sched_get_priority_max, SCHED_FIFO) == 99 ? (int)(long)argument : 91;
}

static int thread(void *argument)
{
    (void)argument;
    thread_result = syscall(SYS_sched_getscheduler, 0) == 0 ? 1 : 91;
    syscall(SYS_exit, 0);
    return 0;
}

int main(void)
{
    pid_t pid = clone(child, stack + sizeof stack, CLONE_UNTRACED | SIGCHLD, (void *)11);
    CHECK(pid > 0);
    int by_clone = exit_status(pid);

    struct clone_args arguments = {.flags = CLONE_UNTRACED, .exit_signal = SIGCHLD};
    pid = syscall(SYS_clone3, &arguments, sizeof arguments);
    if (pid == 0)
        syscall(SYS_exit_group, syscall(SYS_sched_get_priority_min, SCHED_FIFO) == 1 ? 22 : 91);
    CHECK(pid > 0);
    int by_clone3 = exit_status(pid);
    /* The flags are in the workload's memory, which must look unchanged. */
    CHECK(arguments.flags == CLONE_UNTRACED);

    thread_id = 1;
    int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM
        | CLONE_CHILD_CLEARTID | CLONE_UNTRACED;
    CHECK(clone(thread, stack + sizeof stack, flags, NULL, NULL, NULL, &thread_id) > 0);
    spin_until(&thread_id, 0);
    say("clone %d clone3 %d thread %d\n", by_clone, by_clone3, thread_result);
    return 0;
}
