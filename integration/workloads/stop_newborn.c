/* A child is sent SIGSTOP, or a signal with a handler, right after fork(2) returned: 40 times each.
 * Kernel path: the signal is pending before the child ran its first instruction.
 * A tracer gets wrong: its own attach stop and the workload's SIGSTOP look alike; one of the two is lost, and the parent
 * waits forever, or the child never goes on.
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
    struct sigaction action = {.sa_handler = on_usr1};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    for (int i = 0; i < 40; i++) {
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            distinct_1();
            _exit(3);
        }
        /* The child may have ended already: then there is nothing to stop, and nothing to check. */
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
