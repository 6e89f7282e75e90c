/* Prints everything that a program inherits: the relations of its ids, signal mask, dispositions and pending signals,
 * descriptors and their flags, limits, affinity, niceness, umask, environment, directory, timers, foreground group of
 * the terminal, prctl settings.
 * Kernel path: the state that fork and execve keep.
 * Pitfall: each of these can differ from a run without the recorder: SIGPIPE ignored by the Rust runtime, leaked
 * descriptors, a blocked signal, a pinned CPU.
 * Build: -static
 */
#include "workload.h"
#include <dirent.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>

extern char **environ;

static void status_lines(void)
{
    static char text[16384];
    static const char *const keys[] = {"Umask", "State", "Ngid", "Uid", "Gid", "FDSize", "Groups", "Kthread", "Threads",
        "SigPnd", "ShdPnd", "SigBlk", "SigIgn", "SigCgt", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb",
        "NoNewPrivs", "Speculation_Store_Bypass", "SpeculationIndirectBranch", "Cpus_allowed_list", "Mems_allowed_list"};
    int file = open("/proc/self/status", O_RDONLY), length = 0, part;
    CHECK(file >= 0);
    while ((part = read(file, text + length, sizeof text - 1 - length)) > 0)
        length += part;
    close(file);
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
        for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
            if (strncmp(line, keys[i], strlen(keys[i])) == 0 && line[strlen(keys[i])] == ':')
                say("%s\n", line);
}

int main(int argc, char **argv)
{
    status_lines();
    for (int fd = 0; fd < 256; fd++) {
        int flags = fcntl(fd, F_GETFD);
        struct stat status;
        if (flags >= 0 && fstat(fd, &status) == 0)
            say("fd %d type %o flags %x status %x\n", fd, status.st_mode & S_IFMT, flags, fcntl(fd, F_GETFL));
    }
    for (int resource = 0; resource < RLIM_NLIMITS; resource++) {
        struct rlimit limit;
        CHECK(getrlimit(resource, &limit) == 0);
        say("limit %d: %lx %lx\n", resource, (long)limit.rlim_cur, (long)limit.rlim_max);
    }
    cpu_set_t cpus;
    CHECK(sched_getaffinity(0, sizeof cpus, &cpus) == 0);
    say("cpus %d policy %d nice %d\n", CPU_COUNT(&cpus), sched_getscheduler(0), getpriority(PRIO_PROCESS, 0));
    for (int signal = 1; signal < 65; signal++) {
        struct {
            void *handler;
            unsigned long flags;
            void *restorer;
            uint64_t mask;
        } action;
        CHECK(syscall(SYS_rt_sigaction, signal, NULL, &action, 8) == 0);
        if (action.handler)
            say("signal %d %s\n", signal, action.handler == (void *)SIG_IGN ? "ignored" : "handled");
    }
    struct itimerval timer;
    CHECK(getitimer(ITIMER_REAL, &timer) == 0);
    say("timer %ld.%06ld\n", (long)timer.it_value.tv_sec, (long)timer.it_value.tv_usec);
    int signal = -1, reaper = -1;
    CHECK(prctl(PR_GET_PDEATHSIG, &signal) == 0 && prctl(PR_GET_CHILD_SUBREAPER, &reaper) == 0);
    say("pdeathsig %d subreaper %d dumpable %d keepcaps %d slack %d thp %d\n", signal, reaper, prctl(PR_GET_DUMPABLE),
        prctl(PR_GET_KEEPCAPS), prctl(PR_GET_TIMERSLACK), prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0));
    char name[16], directory[4096];
    CHECK(prctl(PR_GET_NAME, name) == 0 && getcwd(directory, sizeof directory));
    say("name %s directory %s umask %o\n", name, directory, umask(0));
    /* It doesn't print whether it leads its group: a recorder is in the group that the shell made for the job, and
     * leads it. */
    pid_t foreground = tcgetpgrp(0);
    say("leads session %d, in the foreground %d\n", getsid(0) == getpid(), foreground == -1 ? -1 : foreground == getpgrp());
    for (int i = 0; i < argc; i++)
        say("argument %s\n", argv[i]);
    for (int i = 0; environ[i]; i++)
        say("%s\n", environ[i]);
    return 0;
}
