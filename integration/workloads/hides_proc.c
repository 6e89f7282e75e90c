/* Mounts an empty file system over /proc, then loads a filter for all threads. Needs its own mount namespace.
 * Kernel path: the filter also applies to the sibling, which is not in a stop then.
 * Pitfall: looking for siblings in /proc by path. It misses the sibling's refused call.
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
