/* A child gets SIGSTOP, or a signal with a handler, right after fork(2) has returned: 40 times each.
 * Kernel path: the signal is pending before the child runs its first instruction.
 * Pitfall: confusing its attach stop with the workload's SIGSTOP: one of the two is lost, and the parent waits for ever
 * or the child never continues.
 * Build: -static
 */
#include "workload.h"

static volatile int hit;

static void on_usr1(int signal)
{
    (void)signal;
    hit++;
}

int main(void)
{
    int stopped = 0, handled = 0, status;
    struct sigaction action = {.sa_handler = on_usr1, .sa_flags = SA_RESTART};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    for (int i = 0; i < 40; i++) {
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            distinct_1();
            _exit(3);
        }
        /* The child may have ended already: then there is nothing to check. */
        CHECK(kill(pid, SIGSTOP) == 0);
        CHECK(waitpid(pid, &status, WUNTRACED) == pid);
        if (WIFSTOPPED(status)) {
            CHECK(WSTOPSIG(status) == SIGSTOP);
            CHECK(kill(pid, SIGCONT) == 0);
            CHECK(waitpid(pid, &status, 0) == pid);
        }
        CHECK(WIFEXITED(status));
        stopped += WEXITSTATUS(status);
    }
    for (int i = 0; i < 40; i++) {
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            while (!hit)
                ;
            _exit(hit);
        }
        CHECK(kill(pid, SIGUSR1) == 0);
        handled += exit_status(pid);
    }
    say("ended %d handled %d\n", stopped, handled);
    return 0;
}
