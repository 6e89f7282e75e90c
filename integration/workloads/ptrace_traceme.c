/* A child requests tracing by its parent (PTRACE_TRACEME) and execs; the parent steps it from stop to stop.
 * Kernel path: a task has one tracer; if the recorder uses ptrace, the second tracer gets EPERM.
 * Pitfall: unavoidable. The recorder must say why the workload fails, and which backends don't have the problem.
 * Build: -static
 */
#include "workload.h"
#include <sys/ptrace.h>

int main(int argc, char **argv)
{
    int status;
    if (argc > 1)
        return 5;
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        if (ptrace(PTRACE_TRACEME, 0, 0, 0) != 0)
            _exit(errno);
        execl(argv[0], argv[0], "child", NULL);
        _exit(90);
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    if (WIFEXITED(status)) {
        say("refused %d\n", WEXITSTATUS(status));
        return 3;
    }
    CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP);
    CHECK(ptrace(PTRACE_CONT, pid, 0, 0) == 0);
    say("traced, child %d\n", exit_status(pid));
    return 0;
}
