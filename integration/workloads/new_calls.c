/* Makes a call with a new number every 5 ms, for ever. After each, it prints the number and the time.
 * Kernel path: none of these numbers exists (ENOSYS).
 * Pitfall: writing new calls only at the end, which a killed recorder doesn't reach.
 * Build: -static
 */
#include "workload.h"

#include <time.h>

int main(void)
{
    for (long nr = 10000; nr < 50000; nr++) {
        struct timespec now, pause = {0, 5000000};
        char line[64];
        syscall(nr);
        clock_gettime(CLOCK_MONOTONIC, &now);
        int length = snprintf(line, sizeof line, "%ld %lld\n", nr, now.tv_sec * 1000LL + now.tv_nsec / 1000000);
        if (write(1, line, length) != length)
            return 1;
        nanosleep(&pause, NULL);
    }
    return 0;
}
