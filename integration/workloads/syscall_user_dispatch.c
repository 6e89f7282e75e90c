/* Syscall user dispatch (prctl(2), 5.11): calls become SIGSYS in user space and are not executed. Wine uses it.
 * Kernel path: syscall_user_dispatch(), before ptrace and seccomp.
 * Pitfall: recording the dispatched call, which no filter sees; swallowing the SIGSYS.
 * Machine: x86_64
 * Build: -static
 */
#include "workload.h"

#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#endif

static volatile char selector;
static volatile int hits, nr, code;

static void on_sys(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    selector = 0;
    hits++;
    nr = info->si_syscall;
    code = info->si_code;
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_RAX] = 4242;
}

int main(void)
{
    struct sigaction action = {.sa_sigaction = on_sys, .sa_flags = SA_SIGINFO};
    CHECK(sigaction(SIGSYS, &action, NULL) == 0);
    CHECK(prctl(PR_SET_SYSCALL_USER_DISPATCH, 1, 0, 0, &selector) == 0);
    selector = 1;
    long result = distinct_1();
    CHECK(distinct_2() == 1);
    CHECK(prctl(PR_SET_SYSCALL_USER_DISPATCH, 0, 0, 0, 0) == 0);
    say("hits %d nr %d code %d result %ld\n", hits, nr, code, result);
    return 0;
}
