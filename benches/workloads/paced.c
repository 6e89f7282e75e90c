// paced PROCESSES PER_SECOND PROGRAM: starts the program this often, at this rate, and waits for all of them. It takes longer where
// they can't be started in time.
#include <errno.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    long processes = atol(argv[1]), interval = 1000000000 / atol(argv[2]);
    char *command[] = {argv[3], NULL}, *environment[] = {NULL};
    struct timespec due;
    clock_gettime(CLOCK_MONOTONIC, &due);
    for (long n = 0; n < processes; n++) {
        if (posix_spawn(NULL, argv[3], NULL, NULL, command, environment))
            return 1;
        due.tv_nsec += interval;
        due.tv_sec += due.tv_nsec / 1000000000;
        due.tv_nsec %= 1000000000;
        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL) == EINTR)
            ;
        while (waitpid(-1, NULL, WNOHANG) > 0)
            ;
    }
    while (waitpid(-1, NULL, 0) > 0)
        ;
    return errno != ECHILD;
}
