/* pthread_cancel(3): of a thread blocked in read(2), one with asynchronous cancellation, and one that has disabled it.
 * Kernel path: signal 32 sent with tgkill to a single thread; the handler unwinds the stack out of the blocked call,
 * for which libc loads libgcc_s.
 * Pitfall: signal 32 has no name; a call that it interrupts must not be restarted.
 * Build: -pthread
 */
#include "workload.h"
#include <pthread.h>

static int pipe_ends[2];
static volatile int cleaned, running, blocked;

static void cleanup(void *number)
{
    cleaned += (int)(long)number;
}

static void *in_read(void *argument)
{
    char byte;
    pthread_cleanup_push(cleanup, (void *)1);
    blocked = 1;
    CHECK(read(pipe_ends[0], &byte, 1) == 1);
    pthread_cleanup_pop(0);
    return argument;
}

static void *in_loop(void *argument)
{
    (void)argument;
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
    pthread_cleanup_push(cleanup, (void *)10);
    running = 1;
    for (;;)
        ;
    pthread_cleanup_pop(0);
}

static void *holds_off(void *argument)
{
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    running = 2;
    sleep_ms(50);
    cleaned += 100;
    return argument;
}

int main(void)
{
    pthread_t thread;
    void *result;
    int cancelled = 0;
    CHECK(pipe(pipe_ends) == 0);

    CHECK(pthread_create(&thread, NULL, in_read, NULL) == 0);
    spin_until(&blocked, 1);
    /* Wait until it is in read(2). */
    sleep_ms(100);
    CHECK(pthread_cancel(thread) == 0 && pthread_join(thread, &result) == 0);
    cancelled += result == PTHREAD_CANCELED;

    CHECK(pthread_create(&thread, NULL, in_loop, NULL) == 0);
    spin_until(&running, 1);
    CHECK(pthread_cancel(thread) == 0 && pthread_join(thread, &result) == 0);
    cancelled += result == PTHREAD_CANCELED;

    CHECK(pthread_create(&thread, NULL, holds_off, &cancelled) == 0);
    spin_until(&running, 2);
    CHECK(pthread_cancel(thread) == 0 && pthread_join(thread, &result) == 0);
    CHECK(result == &cancelled);
    say("cancelled %d cleaned %d\n", cancelled, cleaned);
    return 0;
}
