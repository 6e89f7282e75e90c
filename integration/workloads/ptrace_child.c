/* Attaches to its child with PTRACE_SEIZE, reads its memory, and detaches.
 * Kernel path: ptrace_attach(): EPERM for a task that has a tracer.
 * Pitfall: as in ptrace_traceme.c.
 * Build: -static
 */
#include "workload.h"
#include <sys/ptrace.h>

static volatile long word = 0x5ca1ab1e;

int main(void)
{
    int status;
    pid_t pid = idle_child();
    int result = 0, error = 0;
    if (ptrace(PTRACE_SEIZE, pid, 0, 0) != 0) {
        result = 3;
        error = errno;
    } else {
        CHECK(ptrace(PTRACE_INTERRUPT, pid, 0, 0) == 0);
        CHECK(waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status));
        CHECK(ptrace(PTRACE_PEEKDATA, pid, &word, 0) == word);
        CHECK(ptrace(PTRACE_DETACH, pid, 0, 0) == 0);
    }
    CHECK(kill(pid, SIGKILL) == 0 && exit_status(pid) == 137);
    say("error %d\n", error);
    return result;
}
