/* Timers fire 2,000 times a second during calls that restart (SA_RESTART), calls that don't, and plain code.
 * Kernel path: ERESTARTSYS and ERESTART_RESTARTBLOCK; setitimer and timer_create; frames on the user stack.
 * Pitfall: counting a restarted call wrongly; turning results into EINTR or back; losing or doubling a delivery;
 * starving the workload, because each stop takes longer than the period.
 * Build: -static
 */
#include "workload.h"
#include <poll.h>
#include <sys/time.h>

static volatile int alarms, users;

static void on_alarm(int signal)
{
    (void)signal;
    alarms++;
}

static void on_user(int signal)
{
    (void)signal;
    users++;
}

static void handle(int signal, void (*handler)(int), int flags)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    CHECK(sigaction(signal, &action, NULL) == 0);
}

int main(void)
{
    int ends[2];
    struct itimerval storm = {{0, 500}, {0, 500}}, calm = {{0, 0}, {0, 0}};
    CHECK(pipe(ends) == 0);
    handle(SIGALRM, on_alarm, SA_RESTART);
    handle(SIGUSR1, on_user, 0);

    /* A child that feeds the pipe slowly. Timers aren't inherited. */
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        for (int i = 0; i < 5; i++) {
            sleep_ms(20);
            CHECK(write(ends[1], "x", 1) == 1);
        }
        _exit(0);
    }

    /* read and wait4 restart: never EINTR. */
    char byte;
    CHECK(setitimer(ITIMER_REAL, &storm, NULL) == 0);
    for (int i = 0; i < 5; i++)
        CHECK(read(ends[0], &byte, 1) == 1);
    int child = exit_status(pid);
    int restarted = alarms > 20;

    /* poll never restarts, not even with SA_RESTART. */
    struct pollfd nothing = {ends[0], POLLIN, 0};
    CHECK(poll(&nothing, 1, 10000) == -1 && errno == EINTR);

    /* Plain code, with calls that can't be interrupted. */
    int before = alarms;
    while (alarms < before + 100)
        syscall(SYS_getppid);
    CHECK(setitimer(ITIMER_REAL, &calm, NULL) == 0);

    /* nanosleep returns EINTR each time, with the remaining time; in total it sleeps its whole time. */
    timer_t timer;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    struct itimerspec period = {{0, 500000}, {0, 500000}};
    struct timespec left = {0, 100000000};
    CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
    CHECK(timer_settime(timer, 0, &period, NULL) == 0);
    long start = now_ms();
    int interrupted = 0;
    while (nanosleep(&left, &left) != 0) {
        CHECK(errno == EINTR);
        interrupted++;
    }
    long slept = now_ms() - start;
    CHECK(read(ends[0], &byte, 1) == -1 && errno == EINTR);
    CHECK(timer_delete(timer) == 0);
    say("child %d restarted %d interrupted %d slept %d users %d\n", child, restarted, interrupted > 10, slept >= 100,
        users > 10);
    return 0;
}
