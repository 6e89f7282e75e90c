/* PR_SET_PDEATHSIG: a child gets its signal when its parent dies, and not before.
 * Kernel path: exit_notify() and reparenting to a PR_SET_CHILD_SUBREAPER.
 * Pitfall: making itself the parent; a tracee in a stop dies later than it would otherwise.
 * Build: -static
 */
#include "workload.h"

static volatile int hit;

static void on_usr1(int signal)
{
    (void)signal;
    hit = 1;
}

int main(void)
{
    int status, ends[2];
    char byte;
    sigset_t usr1;
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0);
    CHECK(pipe(ends) == 0);
    signal(SIGUSR1, on_usr1);
    pid_t reaper = getpid(), pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            sigset_t none;
            sigemptyset(&none);
            CHECK(sigprocmask(SIG_BLOCK, &usr1, NULL) == 0);
            CHECK(prctl(PR_SET_PDEATHSIG, SIGUSR1, 0, 0, 0) == 0);
            CHECK(getppid() != reaper);
            CHECK(write(ends[1], "r", 1) == 1);
            sigsuspend(&none);
            CHECK(hit && getppid() == reaper);
            _exit(13);
        }
        CHECK(read(ends[0], &byte, 1) == 1);
        _exit(12);
    }
    CHECK(waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 12);
    pid = waitpid(-1, &status, 0);
    CHECK(pid > 0 && WIFEXITED(status));
    say("orphan %d\n", WEXITSTATUS(status));
    return 0;
}
