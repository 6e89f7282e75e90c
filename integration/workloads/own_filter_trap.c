/* The workload's own filter returns TRAP, and a SIGSYS handler emulates the call, as in sandboxes.
 * Kernel path: SECCOMP_RET_TRAP: forced SIGSYS with si_syscall, si_arch, si_call_addr; the call isn't made.
 * Pitfall: the call isn't recorded, siginfo is lost, or registers change.
 * Build: -static
 */
#include "workload.h"

static volatile int hits, nr, arch, code, data;

static void on_sys(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    hits++;
    nr = info->si_syscall;
    arch = info->si_arch;
    code = info->si_code;
    data = info->si_errno;
#ifdef __aarch64__
    ((ucontext_t *)context)->uc_mcontext.regs[0] = 4242;
#else
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_RAX] = 4242;
#endif
}

int main(void)
{
    struct sigaction action = {.sa_sigaction = on_sys, .sa_flags = SA_SIGINFO};
    CHECK(sigaction(SIGSYS, &action, NULL) == 0);
    CHECK(own_filter(SYS_sched_get_priority_max, SECCOMP_RET_TRAP | 123, 0) == 0);
    long result = distinct_1();
    say("hits %d nr %d arch %x code %d data %d result %ld\n", hits, nr, arch, code, data, result);
    return 0;
}
