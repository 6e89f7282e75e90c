/* Rare uses of clone(2): CLONE_PARENT, no exit signal, another exit signal, CLONE_VFORK alone, CLONE_PTRACE, and
 * CLONE_PTRACE with CLONE_UNTRACED.
 * Kernel path: the ptrace event depends on the exit signal and on CLONE_VFORK; with CLONE_PTRACE | CLONE_UNTRACED the
 * child of a traced parent is attached without an event.
 * Pitfall: holding a child until its parent's event; a child whose parent isn't the caller.
 * Build: -static
 */
#include "workload.h"

static volatile int usr1;

static void on_usr1(int signal)
{
    (void)signal;
    usr1++;
}

static pid_t raw_clone(unsigned long flags)
{
    return syscall(SYS_clone, flags, 0, 0, 0, 0);
}

int main(void)
{
    int status;
    signal(SIGUSR1, on_usr1);

    /* A sibling, created by the child and waited for here. */
    int ends[2];
    pid_t sibling;
    CHECK(pipe(ends) == 0);
    pid_t pid = raw_clone(SIGCHLD);
    if (pid == 0) {
        pid = raw_clone(CLONE_PARENT | SIGCHLD);
        if (pid == 0)
            syscall(SYS_exit_group, 31);
        syscall(SYS_write, ends[1], &pid, sizeof pid);
        syscall(SYS_exit_group, pid > 0 ? 30 : 90);
    }
    CHECK(pid > 0);
    int maker = exit_status(pid);
    CHECK(read(ends[0], &sibling, sizeof sibling) == sizeof sibling);
    say("parent %d %d\n", maker, exit_status(sibling));

    pid = raw_clone(0);
    if (pid == 0)
        syscall(SYS_exit_group, 32);
    CHECK(pid > 0);
    CHECK(waitpid(pid, &status, 0) == -1 && errno == ECHILD);
    CHECK(waitpid(pid, &status, __WCLONE) == pid);
    say("no exit signal %d\n", WEXITSTATUS(status));

    pid = raw_clone(SIGUSR1);
    if (pid == 0)
        syscall(SYS_exit_group, 33);
    CHECK(pid > 0);
    CHECK(waitpid(pid, &status, __WALL) == pid);
    say("exit signal SIGUSR1 %d, delivered %d\n", WEXITSTATUS(status), usr1);

    static volatile int on_stack;
    pid = raw_clone(CLONE_VFORK | SIGCHLD);
    if (pid == 0) {
        on_stack = 1;
        syscall(SYS_sched_get_priority_max, SCHED_FIFO);
        syscall(SYS_exit_group, 34);
    }
    CHECK(pid > 0 && on_stack == 0);
    say("vfork without vm %d\n", exit_status(pid));

    for (int i = 0; i < 2; i++) {
        pid = raw_clone(CLONE_PTRACE | (i ? CLONE_UNTRACED : 0) | SIGCHLD);
        if (pid == 0) {
            long result = syscall(i ? SYS_sched_get_priority_min : SYS_getpriority, i ? SCHED_FIFO : 0, 0);
            syscall(SYS_exit_group, result > 0 ? 35 : 91);
        }
        CHECK(pid > 0);
        say("ptrace %d\n", exit_status(pid));
    }
    return 0;
}
