/* The first thread ends; another calls execve(2) when it is told to, and takes over its id.
 * Kernel path: de_thread() of a thread whose leader is a zombie.
 * Pitfall: an id that was a zombie's is a running task's a moment later.
 * Build: -static -pthread
 */
#include "workload.h"
#include <pthread.h>

static char *self;

static void *execs(void *signals)
{
    int got;
    CHECK(sigwait(signals, &got) == 0);
    execl(self, self, "replaced", NULL);
    _exit(90);
}

int main(int argc, char **argv)
{
    static sigset_t signals;
    pthread_t thread;
    sigemptyset(&signals);
    sigaddset(&signals, SIGUSR1);
    CHECK(sigprocmask(SIG_BLOCK, &signals, NULL) == 0);
    if (argc > 1) {
        int got;
        say("replaced\n");
        CHECK(sigwait(&signals, &got) == 0);
        distinct_1();
        return 7;
    }
    self = argv[0];
    CHECK(pthread_create(&thread, NULL, execs, &signals) == 0);
    syscall(SYS_exit, 55);
    return 91;
}
