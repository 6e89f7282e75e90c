/* Four threads sleep in calls with a limit, while children of the process end all the time. Each call lasts until its limit.
 * Kernel path: SIGCHLD, which is ignored, wakes a task that is traced; EINTR of recv(2) with SO_RCVTIMEO.
 * Pitfall: a recorder that ends lets go of a task that it has woken, and that it would have sent back to sleep.
 * Build: -static -pthread
 */
#include "workload.h"
#include <pthread.h>
#include <sys/socket.h>

static volatile int ends;

static void *sleeps(void *argument)
{
    int sockets[2];
    struct timeval limit = {0, 3000};
    char byte;
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) == 0);
    CHECK(setsockopt(sockets[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
    while (!ends)
        CHECK(recv(sockets[0], &byte, 1, 0) == -1 && errno == EAGAIN);
    return argument;
}

int main(void)
{
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        CHECK(pthread_create(&threads[i], NULL, sleeps, NULL) == 0);
    long start = now_ms();
    while (now_ms() - start < 150) {
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0)
            _exit(0);
        CHECK(exit_status(pid) == 0);
    }
    ends = 1;
    for (int i = 0; i < 4; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    return 0;
}
