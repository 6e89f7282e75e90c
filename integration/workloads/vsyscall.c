/* Calls time, gettimeofday and getcpu through the vsyscall page, if the kernel has it; otherwise says so and exits with
 * 2.
 * Kernel path: emulate_vsyscall() from a page fault: it runs seccomp, but makes no syscall-enter-stop.
 * Pitfall: PTRACE_SYSCALL misses them although a seccomp filter sees them: a profile without them breaks the program.
 * Machine: x86_64
 * Build: -static
 */
#include "workload.h"
#include <sys/time.h>

int main(void)
{
    if (!strstr(text_of("/proc/self/maps"), "[vsyscall]")) {
        say("no vsyscall page\n");
        return 2;
    }
    struct timeval tv = {0, 0};
    unsigned cpu = ~0u;
    long (*vgettimeofday)(struct timeval *, void *) = (void *)0xffffffffff600000;
    long (*vtime)(long *) = (void *)0xffffffffff600400;
    long (*vgetcpu)(unsigned *, unsigned *, void *) = (void *)0xffffffffff600800;
    long real = time(NULL);
    long answers[] = {vgettimeofday(&tv, NULL), vtime(NULL), vgetcpu(&cpu, NULL, NULL)};
    CHECK(answers[0] == 0 && labs(tv.tv_sec - real) < 60);
    CHECK(labs(answers[1] - real) < 60);
    CHECK(answers[2] == 0 && cpu != ~0u);
    say("vsyscall page works\n");
    return 0;
}
