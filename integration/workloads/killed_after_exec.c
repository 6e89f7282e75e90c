/* A timer (setitimer, 200 ms) is kept across execve(2): the new program is killed by SIGALRM, and so is the command as a whole.
 * Kernel path: a timer signal with its default action; the exit status is a signal.
 * A tracer gets wrong: 128+14 instead of the signal for who waits, a SIGALRM lost in an exec stop.
 * Build: -static
 */
#include "workload.h"
#include <sys/time.h>

int main(int argc, char **argv)
{
    if (argc > 1)
        for (;;)
            pause();
    struct itimerval once = {{0, 0}, {0, 200000}};
    CHECK(setitimer(ITIMER_REAL, &once, NULL) == 0);
    say("armed\n");
    execl(argv[0], argv[0], "child", NULL);
    return 90;
}
