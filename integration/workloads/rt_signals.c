/* Every real-time signal, including 32 and 33, which libc reserves: each is queued three times with values, delivered
 * to a handler, then taken with rt_sigtimedwait.
 * Kernel path: sigqueue(3) as rt_sigqueueinfo, the queue of pending signals, siginfo passed to the handler.
 * Pitfall: dropping or renumbering signals above 31, which have no name; replacing siginfo by the tracer's; changing
 * the order.
 * Build: -static
 */
#include "workload.h"

enum { FIRST = 34, LAST = 64, EACH = 3 };
static struct { int signal, value, code, pid; } seen[(LAST - FIRST + 1) * EACH];
static volatile int count;

static void on_signal(int signal, siginfo_t *info, void *context)
{
    (void)context;
    seen[count].signal = signal;
    seen[count].value = info->si_value.sival_int;
    seen[count].code = info->si_code;
    seen[count].pid = info->si_pid;
    count++;
}

int main(void)
{
    sigset_t all;
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};
    pid_t self = getpid();
    sigfillset(&all);
    action.sa_mask = all;
    for (int signal = FIRST; signal <= LAST; signal++)
        CHECK(sigaction(signal, &action, NULL) == 0);

    /* Blocked while they are queued, highest first. They are delivered lowest first, each in the order of its values. */
    CHECK(sigprocmask(SIG_BLOCK, &all, NULL) == 0);
    for (int signal = LAST; signal >= FIRST; signal--)
        for (int i = 0; i < EACH; i++)
            CHECK(sigqueue(self, signal, (union sigval){.sival_int = signal * 100 + i}) == 0);
    CHECK(sigprocmask(SIG_UNBLOCK, &all, NULL) == 0);
    CHECK(count == (LAST - FIRST + 1) * EACH);
    for (int i = 0; i < count; i++) {
        int signal = FIRST + i / EACH;
        CHECK(seen[i].signal == signal && seen[i].value == signal * 100 + i % EACH);
        CHECK(seen[i].code == SI_QUEUE && seen[i].pid == self);
    }

    /* Unblocked, one by one, from a child. */
    int before = count;
    count = 0;
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        for (int i = 0; i < 10; i++)
            CHECK(sigqueue(self, LAST - i, (union sigval){.sival_int = i}) == 0);
        _exit(0);
    }
    while (count < 10)
        ;
    int child = exit_status(pid), sum = 0;
    for (int i = 0; i < 10; i++)
        sum += seen[i].value + (seen[i].pid == pid);

    /* The signals that libc reserves, by raw calls. */
    uint64_t hidden = 3ULL << 31;
    struct timespec now = {0, 0};
    siginfo_t info, sent = {.si_code = SI_QUEUE};
    CHECK(syscall(SYS_rt_sigprocmask, SIG_BLOCK, &hidden, NULL, 8) == 0);
    sent.si_pid = self;
    for (int signal = 32; signal <= 33; signal++) {
        sent.si_value.sival_int = signal;
        CHECK(syscall(SYS_rt_sigqueueinfo, self, signal, &sent) == 0);
    }
    for (int signal = 32; signal <= 33; signal++) {
        CHECK(syscall(SYS_rt_sigtimedwait, &hidden, &info, &now, 8) == signal);
        CHECK(info.si_value.sival_int == signal);
    }

    /* A child that one of them kills: the status has the signal's number. */
    pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        signal(47, SIG_DFL);
        kill(getpid(), 47);
        _exit(90);
    }
    say("delivered %d unblocked %d child %d killed by %d\n", before, sum, child, exit_status(pid) - 128);
    return 0;
}
