/* chroot(2) into a directory (first argument) and execs a program there (second argument, as seen from inside).
 * Kernel path: the paths of the task are relative to its root. A user namespace makes chroot(2) possible without
 * privileges.
 * Pitfall: resolving these paths from the tracer's root.
 * Build: -static
 */
#include "workload.h"

int main(int argc, char **argv)
{
    CHECK(argc == 3);
    CHECK(unshare(CLONE_NEWUSER) == 0);
    CHECK(chroot(argv[1]) == 0 && chdir("/") == 0);
    execl(argv[2], argv[2], NULL);
    fail("execl %s: errno %d\n", argv[2], errno);
}
