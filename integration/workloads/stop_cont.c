/* SIGSTOP and SIGCONT while sleeping in nanosleep, clock_nanosleep with an absolute time, poll and futex: each sleeps
 * its whole time without EINTR.
 * Kernel path: the sleep returns ERESTART_RESTARTBLOCK, the task stops; after SIGCONT it calls restart_syscall(2), or
 * the same call again if the time is absolute.
 * Pitfall: SIGSTOP swallowed or doubled, no group-stop that the parent can see, a sleep that starts over or ends early
 * with EINTR, restart_syscall not recorded.
 * Build: -static
 */
#include "workload.h"
#include <linux/futex.h>
#include <poll.h>

enum { SLEEP_MS = 500 };

static int sleeps(int kind)
{
    struct timespec time = {0, SLEEP_MS * 1000000L};
    static int word;
    switch (kind) {
    case 0:
        return nanosleep(&time, NULL);
    case 1:
        clock_gettime(CLOCK_MONOTONIC, &time);
        time.tv_nsec += SLEEP_MS * 1000000L;
        time.tv_sec += time.tv_nsec / 1000000000;
        time.tv_nsec %= 1000000000;
        return clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL);
    case 2:
        return poll(NULL, 0, SLEEP_MS);
    default:
        return syscall(SYS_futex, &word, FUTEX_WAIT, 0, &time) == -1 && errno == ETIMEDOUT ? 0 : errno;
    }
}

int main(void)
{
    /* It wakes a traced parent from a sleep that began before the signal of the stop was sent. */
    sigset_t stops;
    sigemptyset(&stops);
    sigaddset(&stops, SIGCHLD);
    CHECK(sigprocmask(SIG_BLOCK, &stops, NULL) == 0);
    for (int kind = 0; kind < 4; kind++) {
        int status;
        long start = now_ms();
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            long start = now_ms();
            int result = sleeps(kind);
            _exit(result != 0 ? 60 : now_ms() - start < SLEEP_MS ? 61 : 0);
        }
        sleep_ms(60);
        CHECK(kill(pid, SIGSTOP) == 0);
        CHECK(waitpid(pid, &status, WUNTRACED) == pid);
        CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
        sleep_ms(60);
        CHECK(waitpid(pid, &status, WUNTRACED | WNOHANG) == 0);
        CHECK(kill(pid, SIGCONT) == 0);
        CHECK(waitpid(pid, &status, WCONTINUED) == pid && WIFCONTINUED(status));
        int child = exit_status(pid);
        /* Twice the time means that the sleep started over. */
        say("kind %d: status %d, in time %d\n", kind, child, now_ms() - start < 2 * SLEEP_MS + 60);
    }

    /* The stop lasts longer than the sleep, which ends at once after SIGCONT. */
    int status;
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0)
        _exit(sleeps(0) != 0);
    sleep_ms(60);
    CHECK(kill(pid, SIGSTOP) == 0);
    CHECK(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
    sleep_ms(SLEEP_MS);
    long start = now_ms();
    CHECK(kill(pid, SIGCONT) == 0);
    int child = exit_status(pid);
    say("long stop: status %d, at once %d\n", child, now_ms() - start < SLEEP_MS - 80);
    return 0;
}
