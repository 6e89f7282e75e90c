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
#ifdef __aarch64__
    register long x0 __asm__("x0") = epoll;
    register struct epoll_event *x1 __asm__("x1") = &event;
    register long x2 __asm__("x2") = 1, x3 __asm__("x3") = 300, x4 __asm__("x4") = 0, x5 __asm__("x5") = 8;
    __asm__ volatile("blr %1"
                     : "+r"(x0)
                     : "r"(page), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                     : "x8", "x30", "memory");
    result = x0;
#else
    register long limit __asm__("r10") = 300;
    __asm__ volatile("call *%1"
                     : "=a"(result)
                     : "r"(page), "D"((long)epoll), "S"(&event), "d"(1L), "r"(limit)
                     : "rcx", "r11", "memory");
#endif
    outlast(&joining);
    return (void *)result;
}

int main(void)
{
#ifdef __aarch64__
    static const uint32_t code[] = {
        0xd2800008 | SYS_epoll_pwait << 5, 0xd4000001,            /* mov x8, SYS_epoll_pwait; svc 0 */
        0xd2800008 | SYS_sched_get_priority_min << 5,             /* mov x8, SYS_sched_get_priority_min */
        0xd2800000 | SCHED_FIFO << 5, 0xd4000001, 0xd65f03c0,     /* mov x0, SCHED_FIFO; svc 0; ret */
    };
#else
    static const unsigned char code[] = {
        0xb8, SYS_epoll_wait, 0, 0, 0, 0x0f, 0x05,         /* mov $SYS_epoll_wait, %eax; syscall */
        0xb8, SYS_sched_get_priority_min, 0, 0, 0,         /* mov $SYS_sched_get_priority_min, %eax */
        0xbf, SCHED_FIFO, 0, 0, 0, 0x0f, 0x05, 0xc3,       /* mov $SCHED_FIFO, %edi; syscall; ret */
    };
#endif
    pthread_t thread;
    void *result;
    page = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(page != MAP_FAILED);
    memcpy(page, code, sizeof code);
    __builtin___clear_cache((char *)page, (char *)page + sizeof code);
    CHECK(pthread_create(&thread, NULL, sleeps, NULL) == 0);
    while (!sleeper)
        ;
    /* By now it is in the call. */
    sleep_ms(100);
#ifdef __aarch64__
    ((volatile uint32_t *)page)[1] = 0xd503201f; /* nop */
    __builtin___clear_cache((char *)page, (char *)page + sizeof code);
#else
    page[5] = page[6] = 0x90; /* nop */
#endif
    CHECK(syscall(SYS_tgkill, getpid(), sleeper, SIGWINCH) == 0);
    joining = 1;
    CHECK(pthread_join(thread, &result) == 0);
    say("after the sleep: %ld\n", (long)result);
    return 0;
}
