/* The init of a pid namespace sleeps in a call with a limit, while its child sends it SIGTERM. Its parent exits with the number of
 * interrupted calls.
 * Kernel path: an init ignores signals that it has no handler for (SIGNAL_UNKILLABLE), but a traced one is woken.
 * Pitfall: EINTR, since the default action of SIGTERM isn't to ignore it.
 * Build: -static
 */
#include "workload.h"
#include <sys/socket.h>

enum { TIMES = 20 };

static int init(void)
{
    int sockets[2], interrupted = 0;
    struct timeval limit = {0, 4000};
    char byte;
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) == 0);
    CHECK(setsockopt(sockets[0], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
    pid_t child = fork();
    CHECK(child >= 0);
    while (child == 0) {
        kill(1, SIGTERM);
        usleep(500);
    }
    for (int i = 0; i < TIMES; i++)
        interrupted += recv(sockets[0], &byte, 1, 0) == -1 && errno == EINTR;
    return interrupted;
}

int main(void)
{
    CHECK(unshare(CLONE_NEWPID) == 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0)
        _exit(init());
    return exit_status(child);
}
