/* Calls with a limit in one thread, while another one makes calls and a child sends signals that the process ignores; then
 * signals that it handles.
 * Kernel path: a signal for a process wakes one thread, and another one can take it: dequeue_signal(), recalc_sigpending()
 * after a ptrace-stop. Then the woken thread ends its call with EINTR, and no stop shows why.
 * Pitfall: EINTR without a handler; or a call that goes on although a handler ran.
 * Build: -static -pthread
 */
#include "workload.h"
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>

enum { ROUNDS = 100, LIMIT = 4, HANDLED = 10 };

static volatile int *shared; /* What the child is to do, and how often the calls were interrupted. */

static void *calls(void *argument)
{
    while (shared[0] < 2)
        getppid();
    return argument;
}

static void handler(int signal)
{
    (void)signal;
}

static void send_signals(pid_t parent)
{
    while (shared[0] == 0) {
        kill(parent, SIGWINCH);
        usleep(200);
    }
    for (int sent = 0; sent < HANDLED; sent++) {
        while (shared[1] == sent) {
            kill(parent, SIGUSR1);
            for (int i = 0; i < 100 && shared[1] == sent; i++)
                usleep(1000);
        }
        usleep(5000);
    }
    _exit(0);
}

int main(void)
{
    const struct timeval limit_of_socket = {0, LIMIT * 1000};
    const struct timespec limit = {0, LIMIT * 1000000};
    int pair[2], interrupted = 0;
    char byte;
    pthread_t thread;
    struct epoll_event event;
    sigset_t usr2;
    shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(shared != MAP_FAILED);
    CHECK(signal(SIGUSR1, handler) != SIG_ERR);
    sigemptyset(&usr2);
    sigaddset(&usr2, SIGUSR2);
    CHECK(sigprocmask(SIG_BLOCK, &usr2, NULL) == 0);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    CHECK(setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &limit_of_socket, sizeof limit_of_socket) == 0);
    int epoll = epoll_create1(0);
    CHECK(epoll >= 0);
    pid_t parent = getpid(), child = fork();
    CHECK(child >= 0);
    if (child == 0)
        send_signals(parent);
    CHECK(pthread_create(&thread, NULL, calls, NULL) == 0);
    for (int i = 0; i < ROUNDS; i++) {
        long before = now_ms();
        long result = i % 3 == 0   ? epoll_wait(epoll, &event, 1, LIMIT)
                      : i % 3 == 1 ? sigtimedwait(&usr2, NULL, &limit)
                                   : recv(pair[0], &byte, 1, 0);
        interrupted += result < 0 && errno == EINTR;
        CHECK(now_ms() - before < 5000);
    }
    say("interrupted: %d\n", interrupted);
    shared[0] = 1;
    while (shared[1] < HANDLED) {
        CHECK(epoll_wait(epoll, &event, 1, -1) == -1 && errno == EINTR);
        shared[1]++;
    }
    shared[0] = 2;
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(waitpid(child, NULL, 0) == child);
    return 0;
}
