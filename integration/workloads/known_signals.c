/* Signals that come while a known call sleeps, and signals by which the kernel reports traps.
 * Kernel path: handle_signal(): with SA_RESTART, the frame has the address of the call; without, the one after it.
 * Pitfall: frames with addresses that the workload doesn't know; a call that is entered again with another number; a changed
 * mask or action of SIGSYS.
 * Machine: x86_64
 * Build: -pthread
 */
#include "workload.h"

#include <pthread.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <ucontext.h>

enum { OFTEN = 100, SIGNALS = 3 };

/* Memory that a child shares. */
static struct {
    volatile int handled, elsewhere;
} *shared;

static unsigned long function;

static void on_signal(int signal, siginfo_t *info, void *context)
{
    (void)signal, (void)info;
    unsigned long place = ((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
    if (place < function || place > function + 256)
        add_one(&shared->elsewhere);
    add_one(&shared->handled);
}

static void sends_to(pid_t parent, int count)
{
    for (int i = 1; i <= count; i++) {
        spin_until_asleep(parent);
        CHECK(kill(parent, SIGUSR1) == 0);
        spin_until(&shared->handled, i);
    }
}

/* Handlers interrupt read(2), pause(2) and wait4(2) where these sleep. */
static void asleep(void)
{
    char byte = 'r';
    int ends[2];
    pid_t parent = getpid();
    CHECK(pipe(ends) == 0);
    for (int i = 0; i < OFTEN; i++)
        CHECK(write(ends[1], &byte, 1) == 1 && read(ends[0], &byte, 1) == 1 && wait4(-1, NULL, 0, NULL) == -1);
    for (int restarts = 0; restarts < 2; restarts++) {
        struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | (restarts ? SA_RESTART : 0)};
        CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
        int count = restarts ? SIGNALS : 1;

        shared->handled = 0;
        function = (unsigned long)read;
        pid_t child = fork();
        if (child == 0) {
            sends_to(parent, count);
            spin_until_asleep(parent);
            CHECK(write(ends[1], &byte, 1) == 1);
            _exit(3);
        }
        ssize_t got = read(ends[0], &byte, 1);
        int why = errno;
        CHECK(restarts ? got == 1 : got == -1 && why == EINTR && read(ends[0], &byte, 1) == 1);
        CHECK(exit_status(child) == 3 && shared->handled == count);

        shared->handled = 0;
        function = (unsigned long)wait4;
        child = fork();
        if (child == 0) {
            sends_to(parent, count);
            if (!restarts)
                CHECK(read(ends[0], &byte, 1) == 1);
            _exit(4);
        }
        pid_t ended = wait4(child, NULL, 0, NULL);
        why = errno;
        if (!restarts) {
            CHECK(ended == -1 && why == EINTR && write(ends[1], &byte, 1) == 1);
            ended = wait4(child, NULL, 0, NULL);
        }
        CHECK(ended == child);
    }
    function = (unsigned long)pause;
    for (int i = 0; i < 12; i++) {
        shared->handled = 0;
        pid_t child = fork();
        if (child == 0) {
            sends_to(parent, 1);
            _exit(5);
        }
        CHECK(pause() == -1 && errno == EINTR);
        CHECK(exit_status(child) == 5);
    }
    CHECK(distinct_1() == 99);
    say("asleep, %d handlers saw other addresses\n", shared->elsewhere);
}

/* read(2) of inotify(7) ends by a handler, but not by signals that are ignored: before Linux 3.8, whatever woke it ended it. */
static void undisturbed(void)
{
    char byte = 'r', events[4096];
    int ends[2], notifier = inotify_init();
    pid_t parent = getpid();
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};
    CHECK(notifier >= 0 && pipe(ends) == 0 && sigaction(SIGUSR1, &action, NULL) == 0);
    for (int i = 0; i < OFTEN; i++)
        CHECK(write(ends[1], &byte, 1) == 1 && read(ends[0], &byte, 1) == 1);
    function = (unsigned long)read;
    for (int i = 0; i < 5; i++) {
        shared->handled = 0;
        pid_t child = fork();
        if (child == 0) {
            for (int n = 0; n < SIGNALS; n++) {
                spin_until_asleep(parent);
                CHECK(kill(parent, SIGWINCH) == 0);
            }
            sends_to(parent, 1);
            _exit(6);
        }
        CHECK(read(notifier, events, sizeof events) == -1 && errno == EINTR);
        CHECK(exit_status(child) == 6 && shared->handled == 1);
    }
    CHECK(distinct_1() == 99);
    say("undisturbed, %d handlers saw other addresses\n", shared->elsewhere);
}

static void call_often(void)
{
    for (int i = 0; i < OFTEN; i++) {
        CHECK(getppid() >= 0 && getuid() == geteuid());
        CHECK(close(-1) == -1 && errno == EBADF);
    }
}

static volatile int reported;

static void on_report(int signal)
{
    (void)signal;
    add_one(&reported);
}

/* SIGSYS and SIGTRAP are blocked, ignored and handled while calls become known. */
static void reports(void)
{
    static const int both[] = {SIGSYS, SIGTRAP};
    sigset_t set;
    struct sigaction ignores = {.sa_handler = SIG_IGN};
    sigemptyset(&set);
    for (int i = 0; i < 2; i++)
        sigaddset(&set, both[i]);
    for (int way = 0; way < 3; way++) {
        /* A new image knows no calls. */
        pid_t child = fork();
        if (child == 0) {
            static const char *ways[] = {"blocked", "ignored", "handled"};
            if (way == 0)
                CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
            for (int i = 0; way == 1 && i < 2; i++)
                CHECK(sigaction(both[i], &ignores, NULL) == 0);
            execl("/proc/self/exe", "known_signals", ways[way], NULL);
            fail("execl: %d\n", errno);
        }
        CHECK(exit_status(child) == 7 + way);
    }
    say("reports\n");
}

static void report(int way)
{
    static const int both[] = {SIGSYS, SIGTRAP};
    struct sigaction handles = {.sa_handler = on_report}, now;
    sigset_t blocked, pending;
    for (int i = 0; way == 2 && i < 2; i++)
        CHECK(sigaction(both[i], &handles, NULL) == 0);
    for (int i = 0; i < 2; i++) {
        call_often();
        CHECK(raise(both[i]) == 0);
        call_often();
        CHECK(sigprocmask(SIG_BLOCK, NULL, &blocked) == 0 && sigismember(&blocked, both[i]) == (way == 0));
        CHECK(sigpending(&pending) == 0 && sigismember(&pending, both[i]) == (way == 0));
        CHECK(sigaction(both[i], NULL, &now) == 0);
        CHECK(now.sa_handler == (way == 0 ? SIG_DFL : way == 1 ? SIG_IGN : on_report));
    }
    CHECK(reported == (way == 2 ? 2 : 0));
    _exit(7 + way);
}

/* Children are killed while they make calls for the first time. */
static void killed(void)
{
    enum { ROUNDS = 100 };
    for (int i = 0; i < ROUNDS; i++) {
        int ends[2];
        char byte;
        CHECK(pipe(ends) == 0);
        pid_t child = fork();
        if (child == 0) {
            dup2(ends[1], 1);
            execl("/proc/self/exe", "known_signals", "goes-on", NULL);
            fail("execl: %d\n", errno);
        }
        CHECK(close(ends[1]) == 0 && read(ends[0], &byte, 1) == 1 && close(ends[0]) == 0);
        /* Some calls later. */
        for (volatile int spin = i * 3000; spin > 0; spin--)
            ;
        CHECK(kill(child, SIGKILL) == 0 && exit_status(child) == 128 + SIGKILL);
    }
    call_often();
    CHECK(distinct_1() == 99);
    say("killed\n");
}

static void *makes_calls(void *argument)
{
    for (;;)
        call_often();
    return argument;
}

static void goes_on(void)
{
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, makes_calls, NULL) == 0);
    CHECK(write(1, "g", 1) == 1);
    makes_calls(NULL);
}

/* A timer ends a call, also if that is the one at which a known call is first changed, which takes a while. */
static void timed(void)
{
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};
    struct timespec shortly = {0, 1}, second = {1, 0}, left = {0, 0};
    struct itimerval soon = {.it_value.tv_usec = 50000};
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    for (int i = 0; i < 7; i++)
        CHECK(syscall(SYS_nanosleep, &shortly, NULL) == 0);
    CHECK(setitimer(ITIMER_REAL, &soon, NULL) == 0);
    CHECK(syscall(SYS_nanosleep, &second, &left) == -1 && errno == EINTR);
    CHECK(shared->handled == 1 && left.tv_sec + left.tv_nsec > 0);
    say("timed\n");
}

enum { THREADS = 4, IMAGES = 3, CALLS = 30 };
static volatile int arrived;

/* Threads without signals make their first calls of several numbers at the same time. */
static void *calls_without_signals(void *unused)
{
    for (int step = 0; step < 12; step++) {
        add_one(&arrived);
        while (arrived < THREADS * (step + 1))
            ;
        for (int i = 0; i < CALLS; i++) {
            switch (step) {
            case 0: getppid(); break;
            case 1: getuid(); break;
            case 2: geteuid(); break;
            case 3: getgid(); break;
            case 4: getegid(); break;
            case 5: getpgrp(); break;
            case 6: getsid(0); break;
            case 7: close(-1); break;
            case 8: lseek(-1, 0, SEEK_SET); break;
            case 9: umask(022); break;
            case 10: dup(-1); break;
            case 11: chdir(""); break;
            }
        }
    }
    sigset_t set;
    CHECK(pthread_sigmask(SIG_BLOCK, NULL, &set) == 0 && sigismember(&set, SIGTRAP));
    return unused;
}

static void threads_without_signals(void)
{
    for (int image = 0; image < IMAGES; image++) {
        pid_t child = fork();
        if (child == 0) {
            struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO}, found;
            sigset_t set;
            pthread_t threads[THREADS];
            sigfillset(&set);
            CHECK(sigaction(SIGTRAP, &action, NULL) == 0 && sigprocmask(SIG_BLOCK, &set, NULL) == 0);
            for (int i = 0; i < THREADS; i++)
                CHECK(pthread_create(&threads[i], NULL, calls_without_signals, NULL) == 0);
            for (int i = 0; i < THREADS; i++)
                CHECK(pthread_join(threads[i], NULL) == 0);
            CHECK(sigaction(SIGTRAP, NULL, &found) == 0 && found.sa_sigaction == on_signal);
            _exit(3);
        }
        CHECK(exit_status(child) == 3);
    }
    say("without signals\n");
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(shared != MAP_FAILED);
    if (strcmp(argv[1], "asleep") == 0)
        asleep();
    else if (strcmp(argv[1], "timed") == 0)
        timed();
    else if (strcmp(argv[1], "undisturbed") == 0)
        undisturbed();
    else if (strcmp(argv[1], "reports") == 0)
        reports();
    else if (strcmp(argv[1], "blocked") == 0)
        report(0);
    else if (strcmp(argv[1], "ignored") == 0)
        report(1);
    else if (strcmp(argv[1], "handled") == 0)
        report(2);
    else if (strcmp(argv[1], "killed") == 0)
        killed();
    else if (strcmp(argv[1], "without") == 0)
        threads_without_signals();
    else if (strcmp(argv[1], "goes-on") == 0)
        goes_on();
    else
        return 1;
    return 0;
}
