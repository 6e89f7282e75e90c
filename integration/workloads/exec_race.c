/* Two threads call execve(2) at the same time, ten times: one of them wins.
 * Kernel path: de_thread() of the winner kills the loser inside its own execve (-EAGAIN or SIGKILL).
 * Pitfall: a task that dies at the entry of its call; two ids that become one.
 * Build: -static -pthread
 */
#include "workload.h"
#include <pthread.h>

static char *self;
static volatile int waiting;

__attribute__((noreturn)) static void *execs(void *number)
{
    add_one(&waiting);
    spin_until(&waiting, 2);
    execl(self, self, number, NULL);
    /* The loser gets here for a moment or never, so it must make no call here. */
    for (;;)
        ;
}

int main(int argc, char **argv)
{
    if (argc > 1)
        return 40 + (argv[1][0] == '1' || argv[1][0] == '2');
    self = argv[0];
    int sum = 0;
    for (int i = 0; i < 10; i++) {
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            pthread_t thread;
            CHECK(pthread_create(&thread, NULL, execs, "1") == 0);
            execs("2");
        }
        sum += exit_status(pid);
    }
    say("sum %d\n", sum);
    return 0;
}
