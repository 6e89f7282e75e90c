/* Calls getppid as often as its argument says.
 * Kernel path: getppid and nothing in between.
 * Pitfall: if every call is logged, records arrive faster than it can read them.
 * Build: -static
 */
#include "workload.h"

int main(int argc, char **argv)
{
    long calls = argc > 1 ? atol(argv[1]) : 0;
    for (long i = 0; i < calls; i++)
        syscall(SYS_getppid);
    return 7;
}
