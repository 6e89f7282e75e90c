/* User and pid namespaces, by unshare(2) and by clone(2): children that are pid 1 and 2 there.
 * Kernel path: create_pid_namespace(); a task has one id per namespace; the end of pid 1 kills the rest.
 * Pitfall: confusing the ids that the workload sees with those that wait4 and ptrace use.
 * Build: -static
 */
#include "workload.h"

static int init_of_namespace(void)
{
    CHECK(getpid() == 1 && getppid() == 0);
    pid_t pid = fork();
    CHECK(pid == 0 || pid == 2);
    if (pid == 0) {
        CHECK(getpid() == 2 && getppid() == 1);
        distinct_1();
        /* Init gets no signal from inside for which it has no handler. */
        CHECK(kill(1, SIGTERM) == 0 && kill(1, SIGKILL) == 0);
        _exit(5);
    }
    int status = exit_status(2);
    /* It stays behind, and is killed with this init. */
    CHECK(idle_child() == 3);
    return status + 1;
}

int main(void)
{
    int fd;
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        CHECK(unshare(CLONE_NEWUSER | CLONE_NEWPID) == 0);
        pid = fork();
        CHECK(pid >= 0);
        if (pid == 0)
            _exit(init_of_namespace());
        int status = exit_status(pid);
        /* The namespace is dead: fork fails. */
        CHECK(fork() == -1 && errno == ENOMEM);
        _exit(status + 1);
    }
    int unshared = exit_status(pid);

    pid = syscall(SYS_clone, CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWUTS | SIGCHLD, 0, 0, 0, 0);
    CHECK(pid >= 0);
    if (pid == 0) {
        /* Raw: libc has cached the parent's ids. */
        CHECK(syscall(SYS_getpid) == 1);
        CHECK((fd = open("/proc/self/setgroups", O_WRONLY)) >= 0 && close(fd) == 0);
        CHECK(sethostname("inside", 6) == 0);
        _exit(init_of_namespace() + 10);
    }
    say("unshared %d cloned %d\n", unshared, exit_status(pid));
    return 0;
}
