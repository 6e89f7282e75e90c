/* A process tree that works until it is killed: two processes with two threads each, and one that keeps creating
 * short-lived children. Each task increments a counter in a file (the argument), so that others can see its progress;
 * one counter is for calls that failed.
 * Kernel path: running, sleeping and newborn tasks when a tracer attaches, detaches, or is killed.
 * Pitfall: tasks left stopped, calls that fail with ENOSYS because their filter's tracer is gone, EINTR.
 * Build: -static -pthread
 */
#include "workload.h"
#include <pthread.h>
#include <sys/mman.h>

enum { TASKS = 6, FAILURES = 7 };
static volatile unsigned long *counts;

static void check(int good)
{
    if (!good)
        __atomic_add_fetch(&counts[FAILURES], 1, __ATOMIC_SEQ_CST);
}

static void *works(void *slot)
{
    struct timespec ms = {0, 1000000};
    pid_t self = getpid();
    for (;;) {
        check(syscall(SYS_getpid) == self);
        /* One of them sleeps; the others are mostly in user space, or entering the kernel. */
        if ((long)slot % 2)
            check(nanosleep(&ms, NULL) == 0);
        counts[(long)slot]++;
    }
    return NULL;
}

static void process(long slot)
{
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, works, (void *)(slot + 1)) == 0);
    works((void *)slot);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    int file = open(argv[1], O_RDWR | O_CREAT | O_TRUNC, 0644);
    CHECK(file >= 0 && ftruncate(file, 4096) == 0);
    counts = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    CHECK(counts != MAP_FAILED);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0)
        process(2);
    pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, works, (void *)5) == 0);
        for (;;) {
            int status = 0;
            pid = fork();
            check(pid >= 0);
            if (pid == 0)
                _exit(syscall(SYS_getppid) > 0 ? 7 : 8);
            check(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 7);
            counts[4]++;
        }
    }
    process(0);
}
