/* The init of a pid namespace crashes: by SIGSEGV, abort(3), SIGILL, SIGFPE, SIGTRAP, and SIGSYS of a filter and of user
 * dispatch, each in its own namespace. aarch64 has neither SIGFPE nor user dispatch: other faults take their places.
 * Kernel path: force_sig_info_to_task() makes an init killable by its own fault, but not while it is traced.
 * Pitfall: the kernel ignores the signal, and the init faults for ever.
 * Build: -static
 */
#include "workload.h"

#include <linux/prctl.h>
#include <sys/resource.h>

#ifdef __aarch64__
#define INVALID "udf 0"
#define OVERFLOW "hlt 0"
#define BREAKPOINT "brk 0"
#else
#define INVALID "ud2"
#define OVERFLOW "xor %%ecx, %%ecx\n div %%ecx" ::: "eax", "ecx", "edx"
#define BREAKPOINT "int3"
#endif

static void crash(int how)
{
    volatile int zero = 0;
    switch (how) {
    case 0:
        *(volatile int *)(intptr_t)zero = 1;
        break;
    case 1:
        abort();
    case 2:
        __asm__ volatile(INVALID);
        break;
    case 3:
        __asm__ volatile(OVERFLOW);
        break;
    case 4:
        __asm__ volatile(BREAKPOINT);
        break;
    case 5:
        CHECK(own_filter(SYS_sched_get_priority_max, SECCOMP_RET_TRAP, 0) == 0);
        distinct_1();
        break;
    case 6: {
#ifdef __aarch64__
        __asm__ volatile("mov x0, 1\n mov sp, x0\n ldr x0, [sp]" ::: "x0");
#else
        static char blocked = SYSCALL_DISPATCH_FILTER_BLOCK;
        CHECK(prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_ON, 0, 0, &blocked) == 0);
        distinct_2();
#endif
        break;
    }
    }
    _exit(97);
}

int main(void)
{
    const struct rlimit none = {0, 0};
    CHECK(setrlimit(RLIMIT_CORE, &none) == 0);
    for (int how = 0; how < 7; how++) {
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            CHECK(unshare(CLONE_NEWUSER | CLONE_NEWPID) == 0);
            pid_t init = fork();
            CHECK(init >= 0);
            if (init == 0) {
                CHECK(getpid() == 1);
                crash(how);
            }
            int status;
            CHECK(waitpid(init, &status, 0) == init);
            say("init %d died of signal %d\n", how, WIFSIGNALED(status) ? WTERMSIG(status) : -1);
            _exit(0);
        }
        CHECK(waitpid(pid, NULL, 0) == pid);
    }
    return 0;
}
