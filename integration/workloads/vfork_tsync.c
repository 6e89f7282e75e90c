/* A thread waits in vfork(2) for a child, which waits for another thread to load a filter for all threads.
 * Kernel path: vfork sleeps until the child execs or exits; SECCOMP_FILTER_FLAG_TSYNC reaches sleeping threads too.
 * Pitfall: holding the loading thread until every sibling has stopped. This sibling stops only when its child is gone.
 * Build: -static -pthread
 */
#include "workload.h"
#include <pthread.h>

static int ends[2];

static void *forks(void *argument)
{
    (void)argument;
    pid_t pid = vfork();
    if (pid == 0) {
        char byte;
        syscall(SYS_read, ends[0], &byte, 1);
        syscall(SYS_exit_group, distinct_2());
    }
    return (void *)(long)exit_status(pid);
}

int main(void)
{
    pthread_t thread;
    void *child;
    CHECK(pipe(ends) == 0);
    CHECK(pthread_create(&thread, NULL, forks, NULL) == 0);
    /* By now it is in vfork. */
    sleep_ms(100);
    CHECK(own_filter(SYS_sched_get_priority_max, SECCOMP_RET_ERRNO | EACCES, SECCOMP_FILTER_FLAG_TSYNC) == 0);
    CHECK(write(ends[1], "x", 1) == 1);
    /* pthread_join calls it only if the thread is still there. */
    CHECK(syscall(SYS_futex, &ends, 1 /* FUTEX_WAKE */, 1, NULL, NULL, 0) == 0);
    CHECK(pthread_join(thread, &child) == 0);
    say("child %d, refused %ld\n", (int)(long)child, distinct_1());
    return 0;
}
