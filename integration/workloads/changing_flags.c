/* A thread changes the flags in clone3(2)'s arguments while another one calls it, again and again.
 * Kernel path: the kernel copies the arguments after the call was entered; CLONE_UNTRACED then makes a child without a tracer.
 * A tracer gets wrong: to believe what it read at the entry. The child escapes.
 * Build: -static -pthread
 */
#include "workload.h"
#include <linux/sched.h>
#include <pthread.h>

enum { CHILDREN = 300 };

static struct clone_args arguments = {.exit_signal = SIGCHLD};
static volatile int done;

static void *changes(void *argument)
{
    volatile uint64_t *flags = (volatile uint64_t *)&arguments.flags;
    (void)argument;
    while (!done)
        for (int bit = 0; bit < 2; bit++) {
            *flags = bit ? CLONE_UNTRACED : 0;
            for (int i = 0; i < 300; i++)
                __asm__ volatile("pause");
        }
    return NULL;
}

int main(void)
{
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, changes, NULL) == 0);
    for (int i = 0; i < CHILDREN; i++) {
        pid_t pid = syscall(SYS_clone3, &arguments, sizeof arguments);
        if (pid == 0) {
            distinct_1();
            /* Under a filter without a tracer it fails, until the recorder has the child. */
            for (;;)
                syscall(SYS_exit_group, 0);
        }
        CHECK(pid > 0);
        int status;
        CHECK(waitpid(pid, &status, __WALL) == pid);
    }
    done = 1;
    CHECK(pthread_join(thread, NULL) == 0);
    return 0;
}
