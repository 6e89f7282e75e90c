/* Process groups and sessions: setpgid on a child, setsid, getsid; signals for a whole group. A group that becomes
 * orphaned while a member is stopped gets SIGHUP and SIGCONT; in another group, a stopped child stays stopped when its
 * parent dies.
 * Kernel path: kill_orphaned_pgrp() in exit_notify().
 * Pitfall: a child in ptrace-stop instead of group-stop isn't "stopped", so the kernel sends no SIGHUP; reparented
 * children are lost.
 * Build: -static
 */
#include "workload.h"

static volatile int hups, conts, order;

static void on_hup(int signal)
{
    (void)signal;
    hups++;
    order = order * 10 + 1;
}

static void on_cont(int signal)
{
    (void)signal;
    conts++;
    order = order * 10 + 2;
}

int main(void)
{
    int status;
    CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0);

    /* A group of three, killed by one kill(2). */
    pid_t group = 0, members[3];
    for (int i = 0; i < 3; i++) {
        members[i] = idle_child();
        CHECK(setpgid(members[i], group) == 0);
        if (i == 0)
            group = members[0];
        CHECK(getpgid(members[i]) == group);
    }
    CHECK(kill(-group, SIGTERM) == 0);
    int ended = 0;
    for (int i = 0; i < 3; i++)
        ended += exit_status(members[i]) == 128 + SIGTERM;

    /* A new session, whose leader can't create another. */
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        pid_t self = getpid();
        CHECK(setsid() == self && getsid(0) == self && getpgrp() == self);
        CHECK(setsid() == -1 && errno == EPERM);
        pid_t member = fork();
        CHECK(member >= 0);
        if (member == 0) {
            /* It stops itself in its own group, which the session leader's death orphans. */
            sigset_t none, both;
            signal(SIGHUP, on_hup);
            signal(SIGCONT, on_cont);
            CHECK(setpgid(0, 0) == 0);
            sigemptyset(&none);
            sigemptyset(&both);
            sigaddset(&both, SIGHUP);
            sigaddset(&both, SIGCONT);
            CHECK(sigprocmask(SIG_BLOCK, &both, NULL) == 0);
            raise(SIGSTOP);
            while (hups == 0 || conts == 0)
                sigsuspend(&none);
            _exit(order);
        }
        CHECK(waitpid(member, &status, WUNTRACED) == member && WIFSTOPPED(status));
        _exit(1);
    }
    CHECK(exit_status(pid) == 1);
    int orphan = waitpid(-1, &status, 0) > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : -1;

    /* In this group, which that doesn't orphan: the child stays stopped until it is continued. */
    int ends[2];
    pid_t stopped;
    CHECK(pipe(ends) == 0);
    pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        stopped = fork();
        CHECK(stopped >= 0);
        if (stopped == 0) {
            raise(SIGSTOP);
            _exit(14);
        }
        CHECK(waitpid(stopped, &status, WUNTRACED) == stopped && WIFSTOPPED(status));
        CHECK(write(ends[1], &stopped, sizeof stopped) == sizeof stopped);
        _exit(2);
    }
    CHECK(read(ends[0], &stopped, sizeof stopped) == sizeof stopped);
    CHECK(exit_status(pid) == 2);
    sleep_ms(60);
    CHECK(waitpid(stopped, &status, WNOHANG) == 0);
    CHECK(kill(stopped, SIGCONT) == 0);
    say("ended %d orphan %d stopped %d\n", ended, orphan, exit_status(stopped));
    return 0;
}
