/* A thread repeatedly changes the flags in clone3(2)'s arguments while other threads call it. The arguments are the number
 * of the others, and whether they call by `int $0x80`.
 * Kernel path: the kernel copies the arguments after the entry of the call; CLONE_UNTRACED then makes a child without a
 * tracer.
 * Pitfall: relying on the arguments read at the entry. The child escapes.
 * Build: -static -no-pie -pthread
 */
#include "workload.h"
#include <linux/sched.h>
#include <pthread.h>

enum { CHILDREN = 300 };

static struct clone_args arguments = {.exit_signal = SIGCHLD};
static volatile int done;
static int by_int80;

static void relax(void)
{
#ifdef __aarch64__
    __asm__ volatile("yield");
#else
    __asm__ volatile("pause");
#endif
}

static void *changes(void *argument)
{
    volatile uint64_t *flags = (volatile uint64_t *)&arguments.flags;
    (void)argument;
    while (!done)
        for (int bit = 0; bit < 2; bit++) {
            *flags = bit ? CLONE_UNTRACED : 0;
            for (int i = 0; i < 300; i++)
                relax();
        }
    return NULL;
}

/* Both tasks have the registers that the caller had. */
static long clone3(int *kept)
{
#ifdef __aarch64__
    register long result __asm__("x0") = (long)&arguments;
    register long size __asm__("x1") = sizeof arguments, nr __asm__("x8") = SYS_clone3;
    __asm__ volatile("svc 0" : "+r"(result), "+r"(size) : "r"(nr) : "memory");
    /* The result took the place of the address. */
    *kept = size == sizeof arguments;
#else
    long result = SYS_clone3, address = (long)&arguments, size = sizeof arguments;
    if (by_int80)
        __asm__ volatile("int $0x80" : "+a"(result), "+b"(address), "+c"(size) : : "r8", "r9", "r10", "r11", "memory");
    else
        __asm__ volatile("syscall" : "+a"(result), "+D"(address), "+S"(size) : : "rcx", "r11", "memory");
    *kept = address == (long)&arguments && size == sizeof arguments;
#endif
    return result;
}

static void *calls(void *count)
{
    int kept, status;
    for (int i = 0; i < *(int *)count; i++) {
        pid_t pid = clone3(&kept);
        if (pid == 0) {
            distinct_1();
            syscall(SYS_exit_group, kept ? 5 : 6);
        }
        CHECK(pid > 0 && kept);
        CHECK(waitpid(pid, &status, __WALL) == pid);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 5);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    int callers = argc > 1 ? atoi(argv[1]) : 1, count = CHILDREN / callers;
    pthread_t thread, caller[CHILDREN];
    by_int80 = argc > 2;
    CHECK(pthread_create(&thread, NULL, changes, NULL) == 0);
    for (int i = 0; i < callers; i++)
        CHECK(pthread_create(&caller[i], NULL, calls, &count) == 0);
    for (int i = 0; i < callers; i++)
        CHECK(pthread_join(caller[i], NULL) == 0);
    done = 1;
    CHECK(pthread_join(thread, NULL) == 0);
    return 0;
}
