/* Every number from 0 to 479 in each of the three ABIs of x86_64, under a filter that returns ENOSYS for all of them,
 * so nothing is executed. 335 and 336 of x86_64 (uretprobe and uprobe) are left out: they bypass seccomp and raise
 * SIGILL outside of a probe.
 * Kernel path: a seccomp filter's ERRNO; a system-call-enter stop comes before it.
 * Pitfall: a name that strace knows and our tables don't is dropped, or taken for another number.
 * Machine: x86_64
 * Build: -static
 */
#include "workload.h"

#include <linux/audit.h>

static void refuse_all(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 0, 2),
        /* This program's last call of its own. */
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 3, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        _exit(1);
}

static void native(long nr)
{
    __asm__ volatile("syscall" : "+a"(nr) : "D"(0L), "S"(0L), "d"(0L) : "rcx", "r11", "memory");
}

static void int80(long nr)
{
    __asm__ volatile("int $0x80" : "+a"(nr) : "b"(0L), "c"(0L), "d"(0L) : "r8", "r9", "r10", "r11", "memory");
}

int main(void)
{
    refuse_all();
    for (long nr = 0; nr < 480; nr++) {
        if (nr != 335 && nr != 336)
            native(nr);
        native(0x40000000 | nr);
        int80(nr);
    }
    __asm__ volatile("syscall" : : "a"(SYS_exit_group), "D"(3L) : "rcx", "r11");
    __builtin_unreachable();
}
