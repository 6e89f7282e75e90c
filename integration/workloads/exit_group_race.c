/* One thread calls exit_group(2) while others call getppid in a loop or are blocked in read(2), 20 times over.
 * Kernel path: zap_other_threads(): SIGKILL for tasks in any state, at any point of a call.
 * Pitfall: ESRCH from any request; taking the status of the last thread for that of exit_group.
 * Build: -static -pthread
 */
#include "workload.h"
#include <pthread.h>

static int pipe_ends[2];
static volatile int at_work;

__attribute__((noreturn)) static void *loops(void *argument)
{
    (void)argument;
    for (int i = 0;; i++) {
        syscall(SYS_getppid);
        if (i == 20)
            add_one(&at_work);
    }
}

static void *blocks(void *argument)
{
    char byte;
    add_one(&at_work);
    CHECK(read(pipe_ends[0], &byte, 1) == 1);
    return argument;
}

static void *ends(void *argument)
{
    spin_until(&at_work, 7);
    syscall(SYS_exit_group, 7);
    return argument;
}

int main(void)
{
    int sum = 0;
    CHECK(pipe(pipe_ends) == 0);
    for (int i = 0; i < 20; i++) {
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            pthread_t thread;
            for (int j = 0; j < 3; j++)
                CHECK(pthread_create(&thread, NULL, blocks, NULL) == 0);
            for (int j = 0; j < 3; j++)
                CHECK(pthread_create(&thread, NULL, loops, NULL) == 0);
            CHECK(pthread_create(&thread, NULL, ends, NULL) == 0);
            add_one(&at_work);
            pause();
        }
        sum += exit_status(pid);
    }
    say("sum %d\n", sum);
    return 0;
}
