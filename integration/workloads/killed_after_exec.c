/* A timer (setitimer, 200 ms) is kept across execve(2): SIGALRM kills the new program, and so the command.
 * Kernel path: a timer signal with its default action; the exit status is a signal.
 * Pitfall: reporting status 128+14 instead of the signal; a SIGALRM lost in an exec stop.
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
