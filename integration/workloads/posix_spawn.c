/* posix_spawn(3) with file actions and attributes; and of a missing file, whose error the parent gets.
 * Kernel path: clone(CLONE_VM | CLONE_VFORK) on a separate stack, with signals blocked, then execve.
 * Pitfall: taking CLONE_VM for a thread; a child whose exec fails, so that it never runs its own program.
 * Build: -static
 */
#include "workload.h"
#include <spawn.h>

extern char **environ;

int main(int argc, char **argv)
{
    if (argc > 1) {
        distinct_1();
        say("child of spawn, SIGUSR1 %s\n", signal(SIGUSR1, SIG_DFL) == SIG_DFL ? "default" : "ignored");
        return 7;
    }
    char *arguments[] = {argv[0], "child", NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t set;
    pid_t pid;
    signal(SIGUSR1, SIG_IGN);
    CHECK(posix_spawn_file_actions_init(&actions) == 0);
    CHECK(posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0) == 0);
    CHECK(posix_spawn_file_actions_adddup2(&actions, 1, 2) == 0);
    CHECK(posix_spawnattr_init(&attributes) == 0);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    CHECK(posix_spawnattr_setsigdefault(&attributes, &set) == 0);
    CHECK(posix_spawnattr_setpgroup(&attributes, 0) == 0);
    CHECK(posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP) == 0);
    int status = 0;
    for (int i = 0; i < 5; i++) {
        CHECK(posix_spawn(&pid, argv[0], &actions, &attributes, arguments, environ) == 0);
        status += exit_status(pid);
    }
    int error = posix_spawn(&pid, "/nonexistent/program", NULL, NULL, arguments, environ);
    say("status %d missing %d\n", status, error);
    return 0;
}
