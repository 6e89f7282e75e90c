/* Calls that a signal ends with EINTR, while the process gets signals that it ignores by default (SIGCHLD, SIGURG,
 * SIGWINCH) or by choice (SIGUSR1). The calls sleep for their whole time; a signal with a handler still ends them.
 * Kernel path: sig_ignored() drops an ignored signal before it wakes a task, unless the task is traced.
 * Pitfall: epoll_wait, semop and others return EINTR although no signal was delivered, sleep too long, or are counted
 * twice.
 * Build: -static
 */
#include "workload.h"
#include <sys/epoll.h>
#include <sys/ipc.h>
#include <sys/sem.h>

enum { LIMIT_MS = 600 };

static void handler(int signal)
{
    (void)signal;
}

static int epoll, semaphores;

/* The result of the call after the signals: 0 if its time is over or it was woken. */
static int sleeps(int kind)
{
    struct epoll_event event;
    struct sembuf down = {0, -1, 0};
    switch (kind) {
    case 0:
        return epoll_wait(epoll, &event, 1, LIMIT_MS) == 0 ? 0 : errno;
    case 1: /* woken by the pipe */
        return epoll_wait(epoll, &event, 1, -1) == 1 ? 0 : errno;
    case 2: /* woken by the semaphore */
        return semop(semaphores, &down, 1) == 0 ? 0 : errno;
    case 3: /* ended by the handler */
        return epoll_wait(epoll, &event, 1, -1) == -1 && errno == EINTR ? 0 : 1;
    default:
        return 1;
    }
}

int main(void)
{
    static const int ignored[] = {SIGCHLD, SIGURG, SIGWINCH, SIGUSR1};
    struct sigaction action = {.sa_handler = handler};
    signal(SIGUSR1, SIG_IGN);
    sigaction(SIGUSR2, &action, NULL);
    semaphores = semget(IPC_PRIVATE, 1, 0600);
    if (semaphores == -1)
        fail("semget: %d\n", errno);
    for (int kind = 0; kind < 4; kind++) {
        int ends[2], status;
        long start = now_ms();
        if (pipe(ends) != 0 || (epoll = epoll_create1(0)) == -1)
            fail("pipe or epoll_create1: %d\n", errno);
        struct epoll_event event = {.events = EPOLLIN};
        epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &event);
        pid_t pid = fork();
        if (pid == 0)
            _exit(sleeps(kind));
        /* A handler that runs before the call doesn't end it. */
        spin_until_asleep(pid);
        for (int i = 0; i < 5; i++) {
            struct timespec pause = {0, 60000000L};
            nanosleep(&pause, NULL);
            for (int j = 0; j < 4; j++)
                kill(pid, ignored[j]);
        }
        if (kind == 1 && write(ends[1], "x", 1) != 1)
            fail("write: %d\n", errno);
        if (kind == 2)
            semctl(semaphores, 0, SETVAL, 1);
        if (kind == 3)
            kill(pid, SIGUSR2);
        if (waitpid(pid, &status, 0) != pid)
            fail("waitpid: %d\n", errno);
        long ms = now_ms() - start;
        int in_time = kind != 0 || (ms >= LIMIT_MS && ms < LIMIT_MS + 250);
        say("%d: status %d in time %d\n", kind, status, in_time);
        if (!in_time)
            fail("%d: slept %ld ms of %d\n", kind, ms, LIMIT_MS);
        close(ends[0]);
        close(ends[1]);
        close(epoll);
    }
    semctl(semaphores, 0, IPC_RMID);
    return 0;
}
