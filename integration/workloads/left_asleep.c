/* A child waits in recv(2), whose limit is far, while its parent does nothing. With an argument, a thread of the child waits. It
 * prints how the call ended.
 * Kernel path: a signal that is ignored wakes a task that is traced; EINTR of recv(2) with SO_RCVTIMEO.
 * Pitfall: a recorder that ends lets go of a task that it has woken, and that it would have sent back to sleep.
 * Build: -static -pthread
 */
#include "workload.h"
#include <pthread.h>
#include <sys/socket.h>

static volatile int is_alone_to_wake;

static void *waits(void *argument)
{
    struct timeval limit = {1000, 0};
    char byte;
    CHECK(setsockopt(0, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
    spin_until(&is_alone_to_wake, 1);
    if (recv(0, &byte, 1, 0) == 1)
        say("received\n");
    else
        say("failed with %d\n", errno);
    return argument;
}

int main(int count, char **arguments)
{
    pthread_t thread;
    sigset_t signals;
    (void)arguments;
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid != 0)
        for (;;)
            pause();
    if (count > 1) {
        CHECK(pthread_create(&thread, NULL, waits, NULL) == 0);
        CHECK(sigemptyset(&signals) == 0 && sigaddset(&signals, SIGWINCH) == 0);
        CHECK(pthread_sigmask(SIG_BLOCK, &signals, NULL) == 0);
        is_alone_to_wake = 1;
        CHECK(pthread_join(thread, NULL) == 0);
    } else {
        is_alone_to_wake = 1;
        waits(NULL);
    }
    return 0;
}
