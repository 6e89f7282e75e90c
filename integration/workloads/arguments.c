/* Makes a thread and a socket. With an argument it also tries what a rule for arguments should refuse, and says what came of it.
 * Kernel path: clone3(2) or clone(2), socket(2), mmap(2), unshare(2).
 * Pitfall: clone3's flags are in memory; the type of a socket carries flags; the upper half of an int can hold anything.
 * Build: -pthread
 */
#include "workload.h"
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>

static void *thread(void *argument)
{
    return argument;
}

static void report(const char *what, long result)
{
    say("%s %s\n", what, result >= 0 ? "ok" : strerror(errno));
}

int main(int count, char **arguments UNUSED)
{
    pthread_t other;
    if (pthread_create(&other, NULL, thread, NULL) != 0 || pthread_join(other, NULL) != 0)
        fail("no thread\n");
    report("AF_INET", socket(AF_INET, SOCK_STREAM, 0));
    isatty(1);
    if (count < 2)
        return 0;
    report("FIONBIO", ioctl(2, FIONBIO, &(int){0}));
    report("TIOCSTI", ioctl(2, TIOCSTI, ""));
    report("SOCK_CLOEXEC", socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    report("upper half", syscall(SYS_socket, 0xdead00000000 | AF_INET, SOCK_STREAM, 0));
    report("AF_ALG", socket(AF_ALG, SOCK_SEQPACKET, 0));
    report("SOCK_RAW", socket(AF_INET, SOCK_RAW, 0));
    report("W+X", (long)mmap(NULL, 4096, PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == -1 ? -1 : 0);
    report("CLONE_NEWUSER", syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, NULL));
    return 0;
}
