/* Ends with a core dump, after known calls.
 * Kernel path: do_coredump(): the registers of all threads, and the pages of files that were changed.
 * Pitfall: a dump in which a debugger finds neither the caller nor the code that it knows from the files.
 * Build: -g -pthread
 */
#include "workload.h"

#include <pthread.h>
#include <sys/resource.h>

static int ends[2];

__attribute__((noinline)) static void call_often(void)
{
    char byte = 'b';
    for (int i = 0; i < 100; i++) {
        CHECK(getppid() >= 0 && getuid() == geteuid());
        CHECK(kill(getpid(), 0) == 0);
        CHECK(write(ends[1], &byte, 1) == 1 && read(ends[0], &byte, 1) == 1);
    }
}

/* A child kills its parent where that sleeps. */
__attribute__((noinline)) static void sleep_until_killed(void)
{
    char byte;
    pid_t parent = getpid();
    if (fork() == 0) {
        spin_until_asleep(parent);
        CHECK(kill(parent, SIGQUIT) == 0);
        _exit(0);
    }
    CHECK(read(ends[0], &byte, 1) == 1);
}

__attribute__((noinline)) static void abort_here(void)
{
    abort();
}

__attribute__((noinline)) static void fault_here(void)
{
    *(volatile int *)8 = 1;
}

static volatile int sleepers[2];

static void *sleep_for_ever(void *number)
{
    char byte;
    call_often();
    sleepers[(long)number] = gettid();
    if (number == NULL)
        pause();
    CHECK(read(ends[0], &byte, 1) == 1);
    return number;
}

/* One thread aborts where others sleep. */
__attribute__((noinline)) static void abort_beside_others(void)
{
    pthread_t threads[2];
    for (long i = 0; i < 2; i++) {
        CHECK(pthread_create(&threads[i], NULL, sleep_for_ever, (void *)i) == 0);
        while (sleepers[i] == 0)
            ;
        spin_until_asleep(sleepers[i]);
    }
    abort_here();
}

int main(int argc, char **argv)
{
    struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};
    CHECK(argc == 2 && setrlimit(RLIMIT_CORE, &limit) == 0 && pipe(ends) == 0);
    call_often();
    if (strcmp(argv[1], "asleep") == 0)
        sleep_until_killed();
    else if (strcmp(argv[1], "abort") == 0)
        abort_here();
    else if (strcmp(argv[1], "threads") == 0)
        abort_beside_others();
    else if (strcmp(argv[1], "fault") == 0)
        fault_here();
    return 1;
}
