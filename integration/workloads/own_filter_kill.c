/* The workload's own filters kill: a process (KILL_PROCESS), and one thread of several (KILL_THREAD).
 * Kernel path: the task dies with SIGSYS at the entry of the call, without running a handler.
 * Pitfall: the fatal call isn't recorded; a thread vanishes inside its entry stop; after KILL_THREAD the other threads
 * go on; the last call of a process under a filter is counted twice, if a SIGSYS from elsewhere kills it; the fatal call is missed if
 * a filter refused the call before it.
 * Build: -static
 */
#include "workload.h"
#include <sys/resource.h>

static char stack[64 * 1024] __attribute__((aligned(16)));
static volatile int thread_id = 1;

static int thread(void *argument)
{
    (void)argument;
    /* Raw: libc's thread data belong to the main thread. */
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sched_getscheduler, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sched_get_priority_min, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_THREAD),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    syscall(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
    syscall(SYS_sched_getscheduler, 0);
    syscall(SYS_sched_get_priority_min, SCHED_FIFO);
    syscall(SYS_exit_group, 90);
    return 0;
}

int main(void)
{
    int status;
    struct rlimit none = {0, 0};
    CHECK(setrlimit(RLIMIT_CORE, &none) == 0);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        signal(SIGSYS, SIG_IGN);
        CHECK(own_filter(SYS_sched_get_priority_max, SECCOMP_RET_KILL_PROCESS, 0) == 0);
        distinct_1();
        _exit(90);
    }
    CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
    int process = WTERMSIG(status);

    pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        CHECK(own_filter(SYS_sched_get_priority_max, SECCOMP_RET_KILL_PROCESS, 0) == 0);
        syscall(SYS_tkill, getpid(), SIGSYS);
        _exit(90);
    }
    CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);

    int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_CHILD_CLEARTID;
    CHECK(clone(thread, stack + sizeof stack, flags, NULL, NULL, NULL, &thread_id) > 0);
    spin_until(&thread_id, 0);
    distinct_3();
    say("process killed by %d, after the thread's death we go on\n", process);
    return 0;
}
