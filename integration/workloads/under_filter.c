/* Loads a filter that returns EACCES for sched_get_priority_max, and execs its arguments under it, as a container
 * engine does with a recorder in a container.
 * Kernel path: filters are inherited; the strictest action wins.
 * Pitfall: its recording filter is loaded later: it doesn't get the calls that this filter refuses.
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
