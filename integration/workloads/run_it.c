/* Execs its arguments in a child and exits with the child's status, so that the program is not the recorder's first.
 * Kernel path: fork, execve.
 * Pitfall: handling setuid or unreadable files only for the first program.
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
