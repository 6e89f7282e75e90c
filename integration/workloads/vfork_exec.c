/* vfork(2), then execve(2), or _exit(2) without one.
 * Kernel path: the parent sleeps in the kernel until the child execs or ends; both share memory until then.
 * Pitfall: waiting for the sleeping parent instead of the child; writing to the child's memory, which is the parent's
 * too.
 * Build: -static
 */
#include "workload.h"

int main(int argc, char **argv)
{
    if (argc > 1) {
        distinct_1();
        return 5;
    }
    volatile int sum = 0;
    for (volatile int i = 0; i < 20; i++) {
        pid_t pid = vfork();
        if (pid == 0) {
            if (i % 2)
                _exit(1);
            execl(argv[0], argv[0], "child", NULL);
            _exit(90);
        }
        CHECK(pid > 0);
        sum += exit_status(pid);
    }
    say("sum %d\n", sum);
    return 0;
}
