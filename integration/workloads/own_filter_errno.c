/* The workload's own filter returns EACCES for a call, in the task that installs it, its thread, its child, and after
 * exec. The argument selects the call that installs it: prctl or seccomp.
 * Kernel path: SECCOMP_RET_ERRNO outranks SECCOMP_RET_TRACE, and seccomp runs before the sys_enter tracepoints.
 * Pitfall: a refused call makes no RET_TRACE stop, so it isn't recorded.
 * Build: -static -pthread
 */
#include "workload.h"
#include <pthread.h>

static volatile int joining;

static void *in_thread(void *argument)
{
    (void)argument;
    int error = distinct_1() == -1 ? errno : 0;
    outlast(&joining);
    return (void *)(long)error;
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    if (strcmp(argv[1], "after-exec") == 0) {
        CHECK(distinct_1() == -1);
        return errno;
    }
    CHECK(distinct_1() == 99);
    if (strcmp(argv[1], "seccomp") == 0) {
        CHECK(own_filter(SYS_sched_get_priority_max, SECCOMP_RET_ERRNO | EACCES, 0) == 0);
    } else {
        struct sock_filter code[] = {
            BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
            BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sched_get_priority_max, 0, 1),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EACCES),
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        struct sock_fprog program = {4, code};
        CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
        CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
    }
    CHECK(distinct_1() == -1);
    int here = errno;

    pthread_t thread;
    void *result;
    CHECK(pthread_create(&thread, NULL, in_thread, NULL) == 0);
    joining = 1;
    CHECK(pthread_join(thread, &result) == 0);

    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0)
        _exit(distinct_1() == -1 ? errno : 0);
    int child = exit_status(pid);
    pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        execl(argv[0], argv[0], "after-exec", NULL);
        _exit(90);
    }
    say("here %d thread %d child %d after exec %d\n", here, (int)(long)result, child, exit_status(pid));
    return 0;
}
