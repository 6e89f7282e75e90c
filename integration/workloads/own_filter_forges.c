/* The workload's own filters return TRACE with every message that a recording filter could give for the same call, and
 * for another.
 * Kernel path: SECCOMP_RET_TRACE without a tracer gives ENOSYS; with one, PTRACE_GETEVENTMSG returns the filter's 16
 * bits.
 * Pitfall: trusting the message. The call happens, or counts as another.
 * Build: -static
 */
#include "workload.h"

/* The refused calls of a child that gets all messages of a block one after another, and the expected number. */
static int refused(int first, int messages)
{
    struct sock_filter code[256];
    int length = 0;
    code[length++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    code[length++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sched_get_priority_max, 1, 0);
    code[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    code[length++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args));
    for (int i = 0; i < messages; i++) {
        code[length++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, i, 0, 1);
        code[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE | ((first + i) & 0xffff));
    }
    code[length++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = {length, code};
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0);
    int count = 0;
    for (int i = 0; i < messages; i++)
        count += syscall(SYS_sched_get_priority_max, i) == -1 && errno == ENOSYS;
    return count;
}

int main(void)
{
    static const int firsts[] = {0, 0x1000 + SYS_getpid - 4, 0x1000 + SYS_sched_get_priority_max - 4,
                                 0x2000 + SYS_sched_get_priority_max - 4, 0xfff0};
    for (size_t i = 0; i < sizeof firsts / sizeof *firsts; i++) {
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0)
            _exit(refused(firsts[i], 16));
        say("from %#x: %d refused\n", firsts[i], exit_status(pid));
    }
    return 0;
}
