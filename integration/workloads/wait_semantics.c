/* A child's stops, continues and end, as its parent sees them by every kind of wait.
 * Kernel path: wait4 and waitid with WNOHANG, WUNTRACED, WCONTINUED, WNOWAIT, WSTOPPED, __WALL; by pid, group and
 * pidfd.
 * Pitfall: the real parent sees stops of a traced child only if the tracer leaves it in group-stop, and its zombie only
 * after the tracer has reaped it.
 * Build: -static
 */
#include "workload.h"
#include <sys/resource.h>

static siginfo_t waited(idtype_t type, id_t id, int options)
{
    siginfo_t info;
    memset(&info, 0, sizeof info);
    CHECK(waitid(type, id, &info, options) == 0);
    return info;
}

int main(void)
{
    int status, ends[2];
    char byte;
    CHECK(pipe(ends) == 0);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        CHECK(setpgid(0, 0) == 0);
        raise(SIGSTOP);
        /* Only after the parent has seen the continue: the next stop would overwrite it. */
        CHECK(read(ends[0], &byte, 1) == 1);
        raise(SIGTSTP);
        kill(getpid(), SIGTTIN);
        _exit(21);
    }
    siginfo_t info = waited(P_PID, pid, WSTOPPED | WNOWAIT);
    CHECK(info.si_pid == pid && info.si_code == CLD_STOPPED && info.si_status == SIGSTOP && info.si_signo == SIGCHLD);
    CHECK(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
    /* Reported once. */
    CHECK(waitpid(pid, &status, WUNTRACED | WNOHANG) == 0);
    CHECK(waited(P_PID, pid, WSTOPPED | WEXITED | WCONTINUED | WNOHANG).si_pid == 0);

    CHECK(kill(pid, SIGCONT) == 0);
    info = waited(P_PID, pid, WCONTINUED);
    CHECK(info.si_code == CLD_CONTINUED && info.si_status == SIGCONT);
    CHECK(write(ends[1], "g", 1) == 1);
    /* SIGTSTP of a child in its own group, which isn't orphaned: so it stops. */
    info = waited(P_PGID, pid, WSTOPPED);
    CHECK(info.si_code == CLD_STOPPED && info.si_status == SIGTSTP);

    CHECK(kill(-pid, SIGCONT) == 0);
    CHECK(waitpid(-pid, &status, WUNTRACED) == pid && WIFSTOPPED(status) && WSTOPSIG(status) == SIGTTIN);
    int pidfd = syscall(SYS_pidfd_open, pid, 0);
    CHECK(pidfd >= 0);
    CHECK(syscall(SYS_pidfd_send_signal, pidfd, SIGCONT, NULL, 0) == 0);
    info = waited(P_PIDFD, pidfd, WEXITED | WNOWAIT);
    CHECK(info.si_code == CLD_EXITED && info.si_status == 21);
    struct rusage usage;
    CHECK(wait4(-1, &status, __WALL, &usage) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 21);
    CHECK(wait4(-1, &status, 0, NULL) == -1 && errno == ECHILD);

    /* A running child can't be waited for. */
    pid = idle_child();
    CHECK(waitpid(pid, &status, WNOHANG) == 0);
    CHECK(waited(P_ALL, 0, WEXITED | WSTOPPED | WCONTINUED | WNOHANG).si_pid == 0);
    CHECK(kill(pid, SIGTERM) == 0);
    info = waited(P_PID, pid, WEXITED);
    CHECK(info.si_code == CLD_KILLED && info.si_status == SIGTERM);

    /* Core dumps are off: the code is CLD_KILLED, not CLD_DUMPED. */
    struct rlimit none = {0, 0};
    CHECK(setrlimit(RLIMIT_CORE, &none) == 0);
    pid = fork();
    CHECK(pid >= 0);
    if (pid == 0)
        abort();
    info = waited(P_PID, pid, WEXITED);
    CHECK(info.si_code == CLD_KILLED && info.si_status == SIGABRT);
    say("all waits as they should be\n");
    return 0;
}
