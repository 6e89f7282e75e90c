/* An orphaned daemon: double fork and setsid; the command ends at once, the daemon goes on, makes a call that no other
 * process makes (sched_get_priority_max), and writes a file (the argument) when it is done.
 * Kernel path: reparenting to init or to the next subreaper.
 * Pitfall: stopping when the command has ended; reaping the orphan's status as the command's own.
 * Build: -static
 */
#include "workload.h"

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        CHECK(setsid() > 0);
        pid = fork();
        CHECK(pid >= 0);
        if (pid > 0)
            _exit(0);
        sleep_ms(700);
        distinct_1();
        int file = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC, 0644);
        CHECK(file >= 0 && write(file, "done\n", 5) == 5);
        _exit(77);
    }
    say("left %d\n", exit_status(pid));
    return 4;
}
