/* A child of vfork(2) is killed by a signal, from another process and from itself, before it execs; its parent goes on.
 * Kernel path: mm_release() of the child wakes the parent in its uninterruptible sleep.
 * Pitfall: waiting for PTRACE_EVENT_VFORK_DONE, which comes after the child's end; leaving the parent asleep.
 * Build: -static
 */
#include "workload.h"

int main(void)
{
    volatile int sum = 0;
    for (volatile int i = 0; i < 10; i++) {
        pid_t pid = vfork();
        if (pid == 0) {
            kill(getpid(), i % 2 ? SIGKILL : SIGTERM);
            _exit(90);
        }
        CHECK(pid > 0);
        sum += exit_status(pid) - 128;
    }
    /* A stopped vfork child: another process continues it, since the parent can't. */
    static volatile pid_t victim;
    int ends[2];
    CHECK(pipe(ends) == 0);
    volatile pid_t helper = fork();
    CHECK(helper >= 0);
    if (helper == 0) {
        CHECK(read(ends[0], (void *)&victim, sizeof victim) == sizeof victim);
        sleep_ms(60);
        CHECK(kill(victim, SIGCONT) == 0);
        _exit(0);
    }
    pid_t pid = vfork();
    if (pid == 0) {
        victim = getpid();
        if (write(ends[1], (void *)&victim, sizeof victim) == sizeof victim)
            kill(victim, SIGSTOP);
        _exit(8);
    }
    CHECK(pid > 0);
    int stopped = exit_status(pid);
    say("sum %d stopped %d helper %d\n", sum, stopped, exit_status(helper));
    return 0;
}
