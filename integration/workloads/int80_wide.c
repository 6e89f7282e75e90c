/* `int $0x80` with junk in the upper halves of the registers: a filter by prctl(2), and a clone3(2) whose 64-bit
 * pointer refers to other arguments than the 32-bit one that the kernel uses.
 * Kernel path: do_int80_emulation() truncates the arguments to 32 bits for seccomp and clone3.
 * Pitfall: using the full registers. It misses the filter, or reads the wrong clone_args.
 * Machine: x86_64
 * Build: -static -no-pie
 */
#include "workload.h"
#include <linux/sched.h>
#include <sys/mman.h>

static long int80(long nr, long a, long b, long c)
{
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(nr), "b"(a), "c"(b), "d"(c) : "memory", "r8", "r9", "r10", "r11");
    return (int)result;
}

#define JUNK 0x100000000ul

int main(void)
{
    /* The arguments that the kernel reads, and those that a 64-bit reader of the same register reads. */
    struct clone_args *low = mmap((void *)0x20000000, 4096, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    struct clone_args *high = mmap((char *)low + JUNK, 4096, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    CHECK(low != MAP_FAILED && high != MAP_FAILED);
    low->flags = CLONE_UNTRACED;
    low->exit_signal = high->exit_signal = SIGCHLD;
    pid_t pid = int80(435, (long)high, sizeof *low, 0);
    if (pid == 0)
        _exit(distinct_2());
    CHECK(pid > 0 && low->flags == CLONE_UNTRACED);
    int by_clone3 = exit_status(pid);

    struct sock_filter *code = (struct sock_filter *)(low + 1);
    code[0] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    code[1] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sched_get_priority_max, 0, 1);
    code[2] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 77);
    code[3] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    uint32_t program[2] = {4, (uint32_t)(uintptr_t)code};
    memcpy(low, program, sizeof program);
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(int80(172, PR_SET_SECCOMP, SECCOMP_MODE_FILTER | JUNK, (long)low) == 0);
    long result = distinct_1();
    say("child %d, result %ld errno %d\n", by_clone3, result, errno);
    return 0;
}
