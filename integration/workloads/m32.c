/* A 32-bit program: fork, signals, and on x86 a call of the 64-bit table made through a far call into 64-bit mode. Its
 * argument is a 64-bit program to exec at the end.
 * Kernel path: do_int80 or sysenter of the i386 ABI, 32-bit signal frames; code segments 0x23 and 0x33. On arm, Thumb code.
 * Pitfall: one ABI per process; numbers of the wrong table; the switch at execve, which starts in one ABI and returns
 * in another.
 * Build: -m32 -static
 */
#include "workload.h"

static volatile int hit;

static void on_usr1(int signal)
{
    (void)signal;
    hit++;
}

#ifdef __arm__
/* A processor in this mode can't make calls of aarch64. */
static long far_call(void) { return distinct_2(); }
#else
/* sched_get_priority_min (147) of x86_64, from 32-bit code. */
static long far_call(void)
{
    long result;
    __asm__ volatile("lcall $0x33, $1f\n\t"
                     "jmp 2f\n\t"
                     ".code64\n\t"
                     "1:\n\t"
                     "mov $147, %%eax\n\t"
                     "mov $1, %%edi\n\t"
                     "syscall\n\t"
                     "lretl\n\t"
                     ".code32\n\t"
                     "2:"
                     : "=a"(result)
                     :
                     : "ecx", "edx", "esi", "edi", "memory", "cc");
    return result;
}
#endif

int main(int argc, char **argv)
{
    CHECK(sizeof(void *) == 4);
    signal(SIGUSR1, on_usr1);
    raise(SIGUSR1);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        distinct_1();
        _exit(9);
    }
    int child = exit_status(pid);
    say("hit %d child %d far call %ld\n", hit, child, far_call());
    if (argc > 1) {
        execv(argv[1], argv + 1);
        fail("execv %s: errno %d\n", argv[1], errno);
    }
    return 5;
}
