/* Strict mode, by prctl(2) or seccomp(2) as the argument says: read, write and exit work, any other call kills.
 * Kernel path: SECCOMP_MODE_STRICT fails with EINVAL for a task that already has a filter.
 * Pitfall: its own filter makes strict mode fail.
 * Build: -static
 */
#include "workload.h"

static int by_seccomp;

static pid_t strict_child(int kind)
{
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid > 0)
        return pid;
    if (by_seccomp)
        CHECK(syscall(SYS_seccomp, SECCOMP_SET_MODE_STRICT, 0, NULL) == 0);
    else
        CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) == 0);
    char byte;
    if (kind == 0) {
        syscall(SYS_read, -1, &byte, 1);
        syscall(SYS_write, 1, "strict\n", 7);
        syscall(SYS_exit, 3);
    }
    distinct_1();
    for (;;)
        ;
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    by_seccomp = strcmp(argv[1], "seccomp") == 0;
    int good = exit_status(strict_child(0));
    int bad = exit_status(strict_child(1));
    say("good %d bad killed by %d\n", good, bad - 128);
    return 0;
}
