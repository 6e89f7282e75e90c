/* A thread sleeps in epoll_wait(2); another thread overwrites the instruction of that call, and sends an ignored
 * signal. When the sleep is over, the first thread goes on to another call.
 * Kernel path: none without a tracer, where an ignored signal wakes no task. To repeat a call that a signal has ended,
 * a tracer moves the instruction pointer back, to code that may have changed.
 * Pitfall: repeating the call, and taking whatever call comes next for it.
 * Build: -static -pthread
 */
#include "workload.h"
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/mman.h>

static volatile int sleeper, joining;
static unsigned char *page;

static void *sleeps(void *argument)
{
    int epoll = epoll_create1(0);
    struct epoll_event event;
    long result;
    (void)argument;
    sleeper = syscall(SYS_gettid);
    register long limit __asm__("r10") = 300;
    __asm__ volatile("call *%1"
                     : "=a"(result)
                     : "r"(page), "D"((long)epoll), "S"(&event), "d"(1L), "r"(limit)
                     : "rcx", "r11", "memory");
    outlast(&joining);
    return (void *)result;
}

int main(void)
{
    static const unsigned char code[] = {
        0xb8, SYS_epoll_wait, 0, 0, 0, 0x0f, 0x05,         /* mov $SYS_epoll_wait, %eax; syscall */
        0xb8, SYS_sched_get_priority_min, 0, 0, 0,         /* mov $SYS_sched_get_priority_min, %eax */
        0xbf, SCHED_FIFO, 0, 0, 0, 0x0f, 0x05, 0xc3,       /* mov $SCHED_FIFO, %edi; syscall; ret */
    };
    pthread_t thread;
    void *result;
    page = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(page != MAP_FAILED);
    memcpy(page, code, sizeof code);
    CHECK(pthread_create(&thread, NULL, sleeps, NULL) == 0);
    while (!sleeper)
        ;
    /* By now it is in the call. */
    sleep_ms(100);
    page[5] = page[6] = 0x90; /* nop */
    CHECK(syscall(SYS_tgkill, getpid(), sleeper, SIGWINCH) == 0);
    joining = 1;
    CHECK(pthread_join(thread, &result) == 0);
    say("after the sleep: %ld\n", (long)result);
    return 0;
}
