/* The workload's own SIGTRAPs: int3, the trap flag, raise(3), and an exec by a process without a handler.
 * Kernel path: do_int3(), do_debug(), tgkill; siginfo codes TRAP_BRKPT, TRAP_TRACE, SI_TKILL.
 * Pitfall: taking the workload's SIGTRAP for one of its own stops and swallowing it.
 * Build: -static
 */
#include "workload.h"

#ifdef __aarch64__
/* There is no trap flag: a second breakpoint takes the place of the step. */
#define BREAKPOINT() __asm__ volatile("brk 0")
#define STEP() BREAKPOINT()
#else
#define BREAKPOINT() __asm__ volatile("int3")
#define STEP() __asm__ volatile("pushf; orq $0x100, (%%rsp); popf; nop; nop" ::: "memory", "cc")
#endif

static volatile int hits, codes[8];

static void on_trap(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    codes[hits++ % 8] = info->si_code;
#ifdef __aarch64__
    /* The program counter is still at the instruction. */
    if (info->si_code == TRAP_BRKPT)
        ((ucontext_t *)context)->uc_mcontext.pc += 4;
#else
    /* Stop single-stepping: clear the trap flag of the interrupted code. */
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] &= ~0x100L;
#endif
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        /* After exec: a SIGTRAP raised by exec would have killed the process. */
        struct sigaction now;
        CHECK(sigaction(SIGTRAP, NULL, &now) == 0 && now.sa_handler == SIG_DFL);
        return 5;
    }
    struct sigaction action = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO};
    CHECK(sigaction(SIGTRAP, &action, NULL) == 0);
    BREAKPOINT();
    int breakpoint = codes[0];
    STEP();
    int step = codes[1];
    raise(SIGTRAP);
    int raised = codes[2];
    kill(getpid(), SIGTRAP);
    int killed = codes[3];
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        execl(argv[0], argv[0], "child", NULL);
        _exit(90);
    }
    int child = exit_status(pid);
    pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        signal(SIGTRAP, SIG_DFL);
        BREAKPOINT();
        _exit(90);
    }
    say("hits %d codes %d %d %d %d child %d killed by %d\n", hits, breakpoint, step, raised, killed, child,
        exit_status(pid) - 128);
    return 0;
}
