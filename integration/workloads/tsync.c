/* A thread installs a filter for all threads at once, which refuses calls of the others from then on. The argument is
 * the filter's action: errno or trace (without a tracer: ENOSYS).
 * Kernel path: SECCOMP_FILTER_FLAG_TSYNC: seccomp_sync_threads(), which needs every thread's filter to be an ancestor.
 * Pitfall: watching only the task that made the call; giving threads different filters.
 * Build: -static -pthread
 */
#include "workload.h"
#include <pthread.h>

static volatile int installed, joining;
static uint32_t action;

static void *installs(void *argument)
{
    CHECK(own_filter(SYS_sched_get_priority_max, action, SECCOMP_FILTER_FLAG_TSYNC) == 0);
    installed = 1;
    return argument;
}

static void *calls(void *argument)
{
    (void)argument;
    spin_until(&installed, 1);
    int error = distinct_1() == -1 ? errno : 0;
    outlast(&joining);
    return (void *)(long)error;
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    action = strcmp(argv[1], "trace") == 0 ? SECCOMP_RET_TRACE | 7 : SECCOMP_RET_ERRNO | EACCES;
    pthread_t installer, caller;
    void *result;
    CHECK(pthread_create(&caller, NULL, calls, NULL) == 0);
    CHECK(pthread_create(&installer, NULL, installs, NULL) == 0);
    spin_until(&installed, 1);
    int here = distinct_1() == -1 ? errno : 0;
    joining = 1;
    CHECK(pthread_join(caller, &result) == 0);
    CHECK(pthread_join(installer, NULL) == 0);
    say("mode %d\n", prctl(PR_GET_SECCOMP));
    say("here %d there %d\n", here, (int)(long)result);
    return 0;
}
