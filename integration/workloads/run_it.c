/* Execs its arguments in a child and ends with the child's status: puts a program one exec deeper.
 * Kernel path: fork, execve.
 * A tracer gets wrong: what it takes care of for the first program only (setuid, unreadable files).
 * Build: -static
 */
#include "workload.h"

int main(int argc, char **argv)
{
    CHECK(argc > 1);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        execv(argv[1], argv + 1);
        fail("execv %s: errno %d\n", argv[1], errno);
    }
    return exit_status(pid);
}
