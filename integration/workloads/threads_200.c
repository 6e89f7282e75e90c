/* 200 concurrent threads, each of which makes ten calls.
 * Kernel path: clone3(CLONE_THREAD | CLONE_VM | ...) from pthread_create, exit(2) of single threads.
 * Pitfall: a thread's first stop before its creator's clone event; taking the end of a thread for an exit status.
 * Build: -static -pthread
 */
#include "workload.h"
#include <pthread.h>

enum { THREADS = 200, CALLS = 10 };
static int gate[2];
static volatile int calls, joining;

static void *thread(void *number)
{
    char byte;
    CHECK(read(gate[0], &byte, 1) == 1);
    for (int i = 0; i < CALLS; i++) {
        syscall(SYS_getppid);
        add_one(&calls);
    }
    if ((long)number == THREADS - 1)
        outlast(&joining);
    return number;
}

int main(void)
{
    static char bytes[THREADS];
    pthread_t threads[THREADS];
    pthread_attr_t attributes;
    long sum = 0;
    CHECK(pipe(gate) == 0);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 64 * 1024);
    for (long i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], &attributes, thread, (void *)i) == 0);
    CHECK(write(gate[1], bytes, THREADS) == THREADS);
    for (int i = 0; i < THREADS; i++) {
        void *result;
        joining = i == THREADS - 1;
        CHECK(pthread_join(threads[i], &result) == 0);
        sum += (long)result;
    }
    say("calls %d sum %ld\n", calls, sum);
    return 0;
}
