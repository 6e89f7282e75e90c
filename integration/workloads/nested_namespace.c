/* Leaves a zombie in a pid namespace that it made, and ends.
 * Kernel path: unshare(2) with CLONE_NEWPID; the init of a namespace ends when all its processes are gone, zombies included.
 * Pitfall: the zombie's new parent is pid 1 of the outer namespace. If that is the recorder and reaps only what it traces, the
 * inner init never ends, and the recorder waits for it.
 * Build: -static
 */
#include "workload.h"

int main(void)
{
    int lives[2];
    CHECK(pipe(lives) == 0 && unshare(CLONE_NEWPID) == 0);
    if (fork() == 0) {
        /* The init ends with the first process. */
        char byte;
        close(lives[1]);
        _exit(read(lives[0], &byte, 1) != 0);
    }
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    siginfo_t info;
    CHECK(waitid(P_PID, child, &info, WEXITED | WNOWAIT) == 0);
    return 3;
}
