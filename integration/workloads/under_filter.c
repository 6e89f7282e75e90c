/* Loads a filter that returns EPERM for the call with the number of its first argument, and execs the other arguments
 * under it, as a container engine does with a recorder in a container.
 * Kernel path: filters are inherited; the strictest action wins.
 * Pitfall: a recording filter is loaded later: it doesn't get the calls that this filter refuses. ptrace(2) itself can be
 * one of them.
 * Build: -static
 */
#include "workload.h"

int main(int argc, char **argv)
{
    CHECK(argc > 2);
    CHECK(own_filter(atoi(argv[1]), SECCOMP_RET_ERRNO | EPERM, 0) == 0);
    execvp(argv[2], argv + 2);
    fail("execvp %s: errno %d\n", argv[2], errno);
}
