/* SIGCHLD for each step of a child: stopped, continued, exited, killed; then SA_NOCLDSTOP, SA_NOCLDWAIT and SIG_IGN.
 * Kernel path: do_notify_parent_cldstop(), do_notify_parent(); siginfo of SIGCHLD.
 * Pitfall: the parent gets no SIGCHLD, two, or one too early; children of SA_NOCLDWAIT parents stay zombies.
 * Build: -static
 */
#include "workload.h"

static struct { int code, status, pid; } seen[16];
static volatile int count;

static void on_child(int signal, siginfo_t *info, void *context)
{
    (void)signal, (void)context;
    seen[count].code = info->si_code;
    seen[count].status = info->si_status;
    seen[count].pid = info->si_pid;
    count++;
}

static void until(int expected)
{
    sigset_t none;
    sigemptyset(&none);
    while (count < expected)
        sigsuspend(&none);
}

static void handle(int flags)
{
    struct sigaction action = {.sa_sigaction = on_child, .sa_flags = SA_SIGINFO | SA_RESTART | flags};
    CHECK(sigaction(SIGCHLD, &action, NULL) == 0);
}

int main(void)
{
    sigset_t child;
    int status;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    CHECK(sigprocmask(SIG_BLOCK, &child, NULL) == 0);
    handle(0);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        raise(SIGSTOP);
        _exit(6);
    }
    until(1);
    CHECK(kill(pid, SIGCONT) == 0);
    /* SIGCHLD doesn't queue, so continued and exited may arrive as one. Waiting for the end makes the count certain. */
    siginfo_t info;
    CHECK(waitid(P_PID, pid, &info, WEXITED | WNOWAIT) == 0);
    until(2);
    CHECK(exit_status(pid) == 6);
    CHECK(seen[0].code == CLD_STOPPED && seen[0].status == SIGSTOP && seen[0].pid == pid);
    CHECK(seen[1].code == CLD_CONTINUED || seen[1].code == CLD_EXITED);

    pid = idle_child();
    count = 0;
    CHECK(kill(pid, SIGUSR2) == 0);
    until(1);
    CHECK(seen[0].code == CLD_KILLED && seen[0].status == SIGUSR2 && exit_status(pid) == 128 + SIGUSR2);

    /* Only the end is reported. */
    count = 0;
    handle(SA_NOCLDSTOP);
    pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        raise(SIGSTOP);
        _exit(6);
    }
    CHECK(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
    CHECK(kill(pid, SIGCONT) == 0);
    until(1);
    CHECK(count == 1 && seen[0].code == CLD_EXITED && exit_status(pid) == 6);

    /* There is no child to reap, but wait4 returns only when all children are gone. */
    for (int kind = 0; kind < 2; kind++) {
        count = 0;
        if (kind == 0)
            handle(SA_NOCLDWAIT);
        else
            signal(SIGCHLD, SIG_IGN);
        pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            sleep_ms(30);
            _exit(6);
        }
        CHECK(waitpid(pid, &status, 0) == -1 && errno == ECHILD);
        CHECK(kill(pid, 0) == -1 && errno == ESRCH);
    }
    say("signals in order\n");
    return 0;
}
