/* SIGSTOP for a process of five busy threads; signals while it is stopped; SIGCONT; then SIGSTOP again and SIGKILL
 * while it is stopped.
 * Kernel path: group-stop: every thread stops, the parent is notified once; SIGCONT wakes all; SIGKILL works on stopped
 * tasks.
 * Pitfall: resuming a thread that must stay stopped (PTRACE_LISTEN); notifying the parent per thread.
 * Build: -static -pthread
 */
#include "workload.h"
#include <pthread.h>
#include <sys/mman.h>

static volatile int *work;
static volatile int hit;

static void on_usr1(int signal)
{
    (void)signal;
    hit = 1;
}

static void *works(void *number)
{
    /* The main thread takes SIGUSR1. */
    for (;;) {
        add_one(&work[(long)number]);
        sched_yield();
    }
    return NULL;
}

/* The number of threads that make progress. */
static int moving(const int *before)
{
    int count = 0;
    for (int i = 0; i < 4; i++)
        count += work[i] != before[i];
    return count;
}

/* Waits, without a call, until all make progress; or, if they should not, for some time. */
static int progress(int expected)
{
    int before[4];
    for (int i = 0; i < 4; i++)
        before[i] = work[i];
    if (expected == 0)
        sleep_ms(60);
    for (long start = now_ms(); moving(before) < expected && now_ms() - start < 20000;)
        ;
    return moving(before);
}

int main(void)
{
    int status, ends[2];
    char byte;
    work = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(work != MAP_FAILED && pipe(ends) == 0);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        sigset_t usr1;
        struct sigaction action = {.sa_handler = on_usr1};
        pthread_t thread;
        sigemptyset(&usr1);
        sigaddset(&usr1, SIGUSR1);
        CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
        CHECK(sigprocmask(SIG_BLOCK, &usr1, NULL) == 0);
        for (long i = 0; i < 4; i++)
            CHECK(pthread_create(&thread, NULL, works, (void *)i) == 0);
        CHECK(sigprocmask(SIG_UNBLOCK, &usr1, NULL) == 0);
        CHECK(write(ends[1], "r", 1) == 1);
        while (!hit)
            ;
        CHECK(write(ends[1], "h", 1) == 1);
        for (;;)
            ;
    }
    CHECK(read(ends[0], &byte, 1) == 1 && byte == 'r');
    sleep_ms(20);
    int running = progress(4);
    CHECK(kill(pid, SIGSTOP) == 0);
    CHECK(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
    int stopped = progress(0);
    CHECK(waitpid(pid, &status, WUNTRACED | WNOHANG) == 0);

    /* A signal for a stopped process is pending until it continues. */
    CHECK(kill(pid, SIGUSR1) == 0);
    int still_stopped = progress(0);
    CHECK(kill(pid, SIGCONT) == 0);
    CHECK(waitpid(pid, &status, WCONTINUED) == pid && WIFCONTINUED(status));
    CHECK(read(ends[0], &byte, 1) == 1 && byte == 'h');
    int again = progress(4);

    CHECK(kill(pid, SIGSTOP) == 0);
    CHECK(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
    CHECK(kill(pid, SIGKILL) == 0);
    say("running %d stopped %d %d again %d killed by %d\n", running, stopped, still_stopped, again,
        exit_status(pid) - 128);
    return 0;
}
