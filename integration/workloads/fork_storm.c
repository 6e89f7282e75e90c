/* 200 processes: 40 children with 4 children each, then a chain in which each process is the child of the one before.
 * Kernel path: fork(2) as clone(CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | SIGCHLD), wait4; no reparenting.
 * Pitfall: a child's first stop before its parent's fork event; reused ids.
 * Build: -static
 */
#include "workload.h"

static int chain(int left)
{
    if (left == 0)
        return 1;
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0)
        _exit(chain(left - 1));
    return exit_status(pid) + 1;
}

/* The sum of the statuses of this many children. Waiting for any child takes one call per child. Waiting for a certain
 * one can take more when traced: an ignored SIGCHLD of another child interrupts the wait4 of a traced parent. */
static int statuses(int children)
{
    int sum = 0, status;
    for (int i = 0; i < children; i++) {
        CHECK(waitpid(-1, &status, 0) > 0 && WIFEXITED(status));
        sum += WEXITSTATUS(status);
    }
    return sum;
}

int main(void)
{
    for (int i = 0; i < 40; i++) {
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            for (int j = 0; j < 4; j++) {
                pid_t grandchild = fork();
                CHECK(grandchild >= 0);
                if (grandchild == 0) {
                    syscall(SYS_getppid);
                    _exit(j);
                }
            }
            _exit(statuses(4));
        }
    }
    int storm = statuses(40);
    say("storm %d chain %d\n", storm, chain(30));
    return 3;
}
