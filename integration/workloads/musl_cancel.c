/* pthread_cancel(3) of a thread that is blocked in a call, with musl, after known calls. Its handler looks whether the address of
 * the interrupted code is inside of the function that makes calls, and else takes the call for one that has returned.
 * Kernel path: as pthread_cancel.c.
 * Pitfall: an address outside of the C library: the thread is never cancelled.
 * Machine: x86_64
 * Compiler: musl-gcc
 * Build: -pthread -idirafter /usr/include -idirafter /usr/include/x86_64-linux-gnu
 */
#include "workload.h"
#include <pthread.h>

static int ends[2];
static volatile int blocked;

static void *in_read(void *often)
{
    char byte = 0;
    for (int i = 0; i < (int)(long)often; i++) {
        CHECK(write(ends[1], &byte, 1) == 1);
        CHECK(read(ends[0], &byte, 1) == 1);
    }
    blocked = 1;
    CHECK(read(ends[0], &byte, 1) == 1);
    return NULL;
}

static void *in_sleep(void *often)
{
    struct timespec moment = {0, 1000}, long_time = {1000, 0};
    for (int i = 0; i < (int)(long)often; i++)
        CHECK(nanosleep(&moment, NULL) == 0);
    blocked = 1;
    CHECK(nanosleep(&long_time, NULL) == 0);
    return NULL;
}

int main(void)
{
    static void *(*const all[])(void *) = {in_read, in_sleep};
    CHECK(pipe(ends) == 0);
    for (long often = 0; often <= 20; often += 20)
        for (int i = 0; i < 2; i++) {
            pthread_t thread;
            void *result;
            blocked = 0;
            CHECK(pthread_create(&thread, NULL, all[i], (void *)often) == 0);
            spin_until(&blocked, 1);
            sleep_ms(50);
            CHECK(pthread_cancel(thread) == 0 && pthread_join(thread, &result) == 0);
            CHECK(result == PTHREAD_CANCELED);
        }
    say("cancelled\n");
    return 0;
}
