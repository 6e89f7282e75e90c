/* A thread that isn't the leader calls execve(2) while the leader and others are blocked in calls.
 * Kernel path: de_thread(): all other threads are killed, the caller takes over the leader's id.
 * Pitfall: the caller's id vanishes without an exit stop; the leader's id goes on as another task; threads that were in
 * a call never return from it.
 * Build: -static -pthread
 */
#include "workload.h"
#include <pthread.h>

static char *self;
static int ready[2];
static long leader;
static volatile int created;

static void *blocked(void *argument)
{
    (void)argument;
    CHECK(write(ready[1], "r", 1) == 1);
    pause();
    return NULL;
}

static void *execs(void *argument)
{
    (void)argument;
    char pid[16];
    CHECK(syscall(SYS_gettid) != leader);
    spin_until(&created, 1);
    snprintf(pid, sizeof pid, "%ld", leader);
    execl(self, self, pid, NULL);
    _exit(90);
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        long pid = atol(argv[1]);
        distinct_1();
        say("same pid %d tid is pid %d\n", pid == syscall(SYS_getpid), pid == syscall(SYS_gettid));
        return 9;
    }
    pthread_t thread;
    char byte;
    self = argv[0];
    leader = syscall(SYS_getpid);
    CHECK(pipe2(ready, O_CLOEXEC) == 0);
    for (int i = 0; i < 4; i++) {
        CHECK(pthread_create(&thread, NULL, blocked, NULL) == 0);
        CHECK(read(ready[0], &byte, 1) == 1);
    }
    /* Wait until all are in pause(2). */
    sleep_ms(100);
    CHECK(pthread_create(&thread, NULL, execs, NULL) == 0);
    created = 1;
    pause();
    return 91;
}
