/* The first thread ends; the process goes on without it, makes calls, forks, and exits with another status.
 * Kernel path: exit(2) of a thread group leader: a zombie that can't be reaped until its last thread is gone.
 * Pitfall: taking the leader's exit for the end of the process; waiting for a leader that can't be reaped.
 * Build: -static -pthread
 */
#include "workload.h"
#include <pthread.h>

static volatile int leader_is_gone;

static void *goes_on(void *argument)
{
    (void)argument;
    /* The kernel clears it when the leader is gone. */
    spin_until(&leader_is_gone, 0);
    distinct_1();
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        distinct_2();
        _exit(4);
    }
    int status = exit_status(pid);
    sleep_ms(50);
    say("after the leader: child %d\n", status);
    syscall(SYS_exit_group, 17);
    return NULL;
}

int main(void)
{
    pthread_t thread;
    leader_is_gone = 1;
    CHECK(pthread_create(&thread, NULL, goes_on, NULL) == 0);
    syscall(SYS_set_tid_address, &leader_is_gone);
    syscall(SYS_exit, 55);
    return 90;
}
