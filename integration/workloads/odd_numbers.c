/* Numbers of no call: with the x32 bit, negative, far out of range, -1. All fail with ENOSYS, except that the first
 * one, getpid of x32, works with CONFIG_X86_X32_ABI.
 * Kernel path: do_syscall_64() with a number in no table; ptrace uses -1 for "skip this call".
 * Pitfall: dropping numbers without a name; returning 0 for a skipped -1; taking -5 for x32.
 * Build: -static
 */
#include "workload.h"

int main(void)
{
    const long numbers[] = {0x40000000 | 39, 0x40000000 | 100000, -5, 100000, -1, 0x7fffffff};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        errno = 0;
        long result = syscall(numbers[i]);
        if (result == syscall(SYS_getpid))
            result = 1;
        say("%ld: %ld errno %d\n", numbers[i], result, errno);
    }
    return 0;
}
