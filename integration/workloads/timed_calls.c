/* Calls with a timeout that a signal ends with EINTR, while a child exits: the SIGCHLD is ignored by default.
 * Kernel path: sig_ignored() doesn't drop a tracee's signal, so the tracee is woken; signal(7) lists what isn't
 * restarted.
 * Pitfall: EINTR instead of the timeout, or a timeout that starts over at every signal.
 * Build: -static
 */
#include "workload.h"
#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/time.h>

enum { LIMIT = 60, SOON = 15 };

static struct timespec limit = {0, LIMIT * 1000000};
static const struct timeval limit_of_socket = {0, LIMIT * 1000};

static void child(int stops)
{
    pid_t parent = getpid(), pid = fork();
    CHECK(pid >= 0);
    if (pid > 0)
        return;
    sleep_ms(SOON);
    if (stops) {
        CHECK(kill(parent, SIGSTOP) == 0);
        sleep_ms(SOON);
        CHECK(kill(parent, SIGCONT) == 0);
    }
    _exit(0);
}

/* Makes a call while a child exits. */
#define TRY(name, stops, call)                                                                        \
    do {                                                                                              \
        child(stops);                                                                                 \
        long before = now_ms();                                                                       \
        errno = 0;                                                                                    \
        long result = (call);                                                                         \
        int error = errno;                                                                            \
        long took = now_ms() - before;                                                                \
        while (wait(NULL) > 0 || errno == EINTR)                                                      \
            ;                                                                                         \
        /* The kernel counts timeouts of sockets in ticks. */                                                 \
        say("%s: %ld %s%s\n", name, result, result < 0 ? strerror(error) : "",                        \
            !stops && took < LIMIT - 10 ? ", too early" : "");                                        \
    } while (0)

int main(void)
{
    int pair[2], yes = 1;
    char byte, block[4096] = "";
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    CHECK(setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &limit_of_socket, sizeof limit_of_socket) == 0);
    CHECK(setsockopt(pair[1], SOL_SOCKET, SO_SNDTIMEO, &limit_of_socket, sizeof limit_of_socket) == 0);
    TRY("recv", 0, recv(pair[0], &byte, 1, 0));
    TRY("read", 0, read(pair[0], &byte, 1));
    while (send(pair[1], block, sizeof block, MSG_DONTWAIT) > 0)
        ;
    TRY("send", 0, send(pair[1], block, sizeof block, 0));
    TRY("write", 0, write(pair[1], block, sizeof block));

    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int udp = socket(AF_INET, SOCK_DGRAM, 0), tcp = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(setsockopt(udp, SOL_SOCKET, SO_RCVTIMEO, &limit_of_socket, sizeof limit_of_socket) == 0);
    CHECK(setsockopt(tcp, SOL_SOCKET, SO_RCVTIMEO, &limit_of_socket, sizeof limit_of_socket) == 0);
    CHECK(setsockopt(tcp, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) == 0);
    CHECK(bind(udp, (struct sockaddr *)&address, sizeof address) == 0);
    CHECK(bind(tcp, (struct sockaddr *)&address, sizeof address) == 0 && listen(tcp, 1) == 0);
    struct iovec part = {&byte, 1};
    struct mmsghdr message = {.msg_hdr = {.msg_iov = &part, .msg_iovlen = 1}};
    TRY("recvmmsg", 0, recvmmsg(udp, &message, 1, 0, NULL));
    TRY("accept", 0, accept(tcp, NULL, NULL));

    int epoll = epoll_create1(0);
    struct epoll_event event;
    sigset_t none, usr1;
    sigemptyset(&none);
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    TRY("epoll_wait", 0, epoll_wait(epoll, &event, 1, LIMIT));
    TRY("epoll_pwait", 0, epoll_pwait(epoll, &event, 1, LIMIT, &none));
    TRY("epoll_pwait2", 0, epoll_pwait2(epoll, &event, 1, &limit, &none));
    /* A stop does end it with EINTR. */
    TRY("epoll_wait, stopped", 1, epoll_wait(epoll, &event, 1, 20 * LIMIT));
    CHECK(sigprocmask(SIG_BLOCK, &usr1, NULL) == 0);
    TRY("rt_sigtimedwait", 0, sigtimedwait(&usr1, NULL, &limit));

    int sem = semget(IPC_PRIVATE, 1, 0600);
    struct sembuf down = {0, -1, 0};
    TRY("semtimedop", 0, semtimedop(sem, &down, 1, &limit));
    CHECK(semctl(sem, 0, IPC_RMID) == 0);

    aio_context_t context = 0;
    struct io_event events;
    CHECK(syscall(SYS_io_setup, 1, &context) == 0);
    struct timespec left = limit;
    TRY("io_getevents", 0, syscall(SYS_io_getevents, context, 1, 1, &events, &left));

    struct io_uring_params parameters = {0};
    int ring = syscall(SYS_io_uring_setup, 4, &parameters);
    struct __kernel_timespec ring_limit = {0, LIMIT * 1000000};
    struct io_uring_getevents_arg argument = {.ts = (uintptr_t)&ring_limit};
    TRY("io_uring_enter", 0,
        ring < 0 ? ring
                 : syscall(SYS_io_uring_enter, ring, 0, 1, IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG, &argument,
                           sizeof argument));
    return 0;
}
