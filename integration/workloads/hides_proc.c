/* Mounts an empty file system over /proc, then loads a filter for all threads. Needs a mount namespace that it may spoil.
 * Kernel path: the filter is in force for the sibling, too, which is in no stop then.
 * A tracer gets wrong: to look for the siblings in /proc by its path. The sibling's refused call is missed.
 * Build: -static -pthread
 */
#include "workload.h"
#include <pthread.h>
#include <sys/mount.h>

static volatile int loaded;

static void *refused(void *argument)
{
    (void)argument;
    spin_until(&loaded, 1);
    return (void *)(distinct_1() == -1 ? (long)errno : 0);
}

int main(void)
{
    pthread_t thread;
    void *error;
    CHECK(mount("none", "/proc", "tmpfs", 0, NULL) == 0);
    CHECK(pthread_create(&thread, NULL, refused, NULL) == 0);
    CHECK(own_filter(SYS_sched_get_priority_max, SECCOMP_RET_ERRNO | EACCES, SECCOMP_FILTER_FLAG_TSYNC) == 0);
    loaded = 1;
    CHECK(pthread_join(thread, &error) == 0);
    say("refused: %ld\n", (long)error);
    return 0;
}
