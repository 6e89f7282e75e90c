/* Kills its own process group with a signal that it handles, and says how often it came: kill(0, SIGUSR1), SIGTERM and a
 * real-time signal.
 * Kernel path: kill(2) with pid 0: every member of the group, whoever it is.
 * A tracer gets wrong: it is a member of the group itself, and passes on what it got: the workload sees it twice.
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
    const int signals[] = {SIGUSR1, SIGTERM, SIGINT, 40};
    struct sigaction action = {.sa_handler = on_signal};
    for (int i = 0; i < 4; i++) {
        CHECK(sigaction(signals[i], &action, NULL) == 0);
        CHECK(kill(0, signals[i]) == 0);
        /* Time for the second one, if somebody sends it. */
        sleep_ms(50);
    }
    say("counts %d %d %d %d\n", counts[SIGUSR1], counts[SIGTERM], counts[SIGINT], counts[40]);
    return 0;
}
