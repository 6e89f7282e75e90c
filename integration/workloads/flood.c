/* Calls getppid as often as it is told.
 * Kernel path: getppid and nothing in between.
 * A recorder gets wrong: where every call is logged, the records come faster than they can be read.
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
