/* Kills its own process group with signals that it handles, twice with each, and prints how many arrived: kill(0,
 * SIGUSR1), SIGTERM, SIGINT, a real-time signal, and the signals of faults.
 * Kernel path: kill(2) with pid 0: every member of the group gets the signal.
 * Pitfall: the recorder is a member of the group. It passes the signal on, so the workload sees it twice; or it dies of
 * a signal that only its own fault should raise.
 * Build: -static
 */
#include "workload.h"

static volatile int counts[65];

static void on_signal(int signal)
{
    counts[signal]++;
}

int main(void)
{
    const int signals[] = {SIGUSR1, SIGTERM, SIGINT, 40, SIGABRT, SIGILL, SIGTRAP, SIGFPE, SIGSYS, SIGSEGV, SIGBUS};
    struct sigaction action = {.sa_handler = on_signal};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        CHECK(sigaction(signals[i], &action, NULL) == 0);
        for (int times = 1; times <= 2; times++) {
            CHECK(kill(0, signals[i]) == 0);
            /* Time for a second signal, if one is sent. */
            sleep_ms(50);
            say("signal %d arrived %d times\n", signals[i], counts[signals[i]]);
        }
    }
    return 0;
}
