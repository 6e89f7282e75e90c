/* Calls that need no_new_privs or CAP_SYS_ADMIN, before and after no_new_privs is set, in this process, a child and a
 * thread.
 * Kernel path: seccomp(2) and landlock_restrict_self(2) check for either; no_new_privs is inherited.
 * Pitfall: the recording filter needs no_new_privs, so these calls succeed from the start.
 * Build: -static -pthread
 */
#include "workload.h"
#include <pthread.h>

static struct sock_filter allow[] = {BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
static struct sock_filter invalid[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 1)};

static volatile int joining;

static int outcome(long result) { return result == -1 ? errno : 0; }

static int filter(struct sock_fprog *program, unsigned flags)
{
    return outcome(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, program));
}

static int landlock(void)
{
    uint64_t attributes = 1;
    int ruleset = syscall(444 /* landlock_create_ruleset */, &attributes, sizeof attributes, 0);
    int result = outcome(syscall(446 /* landlock_restrict_self */, ruleset, 0));
    close(ruleset);
    return result;
}

static void look(const char *who)
{
    struct sock_fprog good = {1, allow}, bad = {1, invalid}, empty = {0, allow}, nowhere = {1, NULL};
    int set = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), mode = prctl(PR_GET_SECCOMP);
    say("%s: no_new_privs %d, mode %d, landlock %d %d\n", who, set, mode, outcome(syscall(446, -1, 0)),
        outcome(syscall(446, -1, 0xff)));
    say("%s: seccomp %d, flags %d, program %d, none %d, address %d %d\n", who, filter(&good, 0), filter(&good, 1 << 20),
        filter(&bad, 0), filter(&empty, 0), filter(&nowhere, 0), filter(NULL, 0));
    say("%s: prctl %d %d, landlock %d\n", who, outcome(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &good, 0, 0)),
        outcome(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &nowhere, 0, 0)), landlock());
    distinct_1();
}

static void *thread(void *who)
{
    look(who);
    outlast(&joining);
    return NULL;
}

static void others(const char *child, const char *other)
{
    pthread_t id;
    fflush(NULL);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        look(child);
        _exit(0);
    }
    CHECK(exit_status(pid) == 0);
    joining = 0;
    CHECK(pthread_create(&id, NULL, thread, (void *)other) == 0);
    joining = 1;
    CHECK(pthread_join(id, NULL) == 0);
}

int main(void)
{
    look("before");
    others("child before", "thread before");
    say("wrong %d\n", outcome(prctl(PR_SET_NO_NEW_PRIVS, 2, 0, 0, 0)));
    look("still before");
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    others("child after", "thread after");
    look("after");
    return 0;
}
