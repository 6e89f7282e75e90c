/* Raw clone3(2): a process with a pidfd, then a thread on its own stack, then invalid arguments.
 * Kernel path: clone3 with struct clone_args; the flags are behind a pointer.
 * Pitfall: the ptrace event depends on exit_signal: PTRACE_EVENT_FORK for SIGCHLD, PTRACE_EVENT_CLONE otherwise.
 * Build: -static
 */
#include "workload.h"
#include <linux/sched.h>

static char stack[64 * 1024] __attribute__((aligned(16)));
static volatile int thread_id, thread_ran;

/* clone3 for a thread: parent and child return here on different stacks, so the child must not return from this
 * function. */
static long clone3_thread(struct clone_args *arguments)
{
#ifdef __aarch64__
    register long result __asm__("x0") = (long)arguments;
    register long size __asm__("x1") = sizeof *arguments;
    register long nr __asm__("x8") = SYS_clone3;
    __asm__ volatile("svc 0\n\t"
                     "cbnz x0, 1f\n\t"
                     "mov w2, 1\n\t"
                     "str w2, [%[ran]]\n\t"
                     "mov x8, %[exit]\n\t"
                     "svc 0\n\t"
                     "1:"
                     : "+r"(result)
                     : "r"(nr), "r"(size), [ran] "r"(&thread_ran), [exit] "i"(SYS_exit)
                     : "x2", "memory");
#else
    long result;
    register long nr __asm__("rax") = SYS_clone3;
    __asm__ volatile("syscall\n\t"
                     "test %%rax, %%rax\n\t"
                     "jnz 1f\n\t"
                     "movl $1, %[ran]\n\t"
                     "mov %[exit], %%eax\n\t"
                     "xor %%edi, %%edi\n\t"
                     "syscall\n\t"
                     "1:"
                     : "=a"(result), [ran] "=m"(thread_ran)
                     : "r"(nr), "D"(arguments), "S"(sizeof *arguments), [exit] "i"(SYS_exit)
                     : "rcx", "r11", "memory");
#endif
    return result;
}

int main(void)
{
    int pidfd = -1;
    struct clone_args process = {.flags = CLONE_PIDFD, .pidfd = (uintptr_t)&pidfd, .exit_signal = SIGCHLD};
    pid_t pid = syscall(SYS_clone3, &process, sizeof process);
    if (pid == 0) {
        syscall(SYS_sched_get_priority_max, SCHED_FIFO);
        syscall(SYS_exit_group, 12);
    }
    CHECK(pid > 0 && pidfd >= 0);
    siginfo_t info;
    CHECK(waitid(P_PIDFD, pidfd, &info, WEXITED) == 0);
    CHECK(info.si_pid == pid && info.si_code == CLD_EXITED);

    thread_id = 1;
    struct clone_args thread = {
        .flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM
            | CLONE_CHILD_CLEARTID,
        .child_tid = (uintptr_t)&thread_id,
        .stack = (uintptr_t)stack,
        .stack_size = sizeof stack,
    };
    CHECK(clone3_thread(&thread) > 0);
    spin_until(&thread_id, 0);

    CHECK(syscall(SYS_clone3, &process, 8) == -1);
    int too_small = errno;
    CHECK(syscall(SYS_clone3, NULL, sizeof process) == -1);
    say("process %d thread %d refused %d %d\n", info.si_status, thread_ran, too_small, errno);
    return 0;
}
