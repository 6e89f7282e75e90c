/* A job of an interactive shell: prints when it is ready and when it was continued, and executes the commands that are
 * typed: stop itself as editors and pagers do, catch ^C, end.
 * Kernel path: job control: SIGTSTP, SIGTTIN, SIGCONT of a foreground process group; wait4(WUNTRACED) of the shell.
 * Pitfall: the shell waits for the recorder, not for the job: if the recorder doesn't stop with it, the terminal hangs;
 * if it stops too early, the job never stops.
 * Build: -static
 */
#include "workload.h"

static void on_continue(int signal)
{
    (void)signal;
    say("[continued]\n");
}

static void on_interrupt(int signal)
{
    (void)signal;
    say("[interrupted]\n");
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_handler = on_continue, .sa_flags = SA_RESTART};
    CHECK(sigaction(SIGCONT, &action, NULL) == 0);
    if (argc > 1 && strcmp(argv[1], "catch") == 0) {
        action.sa_handler = on_interrupt;
        CHECK(sigaction(SIGINT, &action, NULL) == 0);
    }
    say("[ready]\n");
    char line[64];
    for (;;) {
        ssize_t length = read(0, line, sizeof line - 1);
        if (length <= 0)
            return 80;
        line[length] = 0;
        if (strcmp(line, "tstp group\n") == 0)
            kill(0, SIGTSTP);
        else if (strcmp(line, "tstp self\n") == 0)
            raise(SIGTSTP);
        else if (strcmp(line, "stop group\n") == 0)
            kill(0, SIGSTOP);
        else if (strncmp(line, "exit ", 5) == 0)
            return atoi(line + 5);
        else
            say("[got %.*s]\n", (int)length - 1, line);
    }
}
