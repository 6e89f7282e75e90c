/* Loads a filter that answers EACCES to sched_get_priority_max, and execs its arguments under it: as a container engine does
 * before it starts anything, a recorder for instance.
 * Kernel path: filters are inherited; the answer of the strictest counts.
 * A tracer gets wrong: a recording filter of its own comes after: calls that this one refuses don't reach it.
 * Build: -static
 */
#include "workload.h"

int main(int argc, char **argv)
{
    CHECK(argc > 1);
    CHECK(own_filter(SYS_sched_get_priority_max, SECCOMP_RET_ERRNO | EACCES, 0) == 0);
    execvp(argv[1], argv + 1);
    fail("execvp %s: errno %d\n", argv[1], errno);
}
