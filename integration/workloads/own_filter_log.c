/* The workload's own filters stack: ALLOW over LOG over ERRNO, with queries of the kernel's features.
 * Kernel path: precedence of actions among several filters; SECCOMP_GET_ACTION_AVAIL, SECCOMP_GET_NOTIF_SIZES; invalid
 * filters (bad program, bad flag).
 * Pitfall: taking a seccomp(2) that fails or only queries for one that installs a filter.
 * Build: -static
 */
#include "workload.h"

int main(void)
{
    uint32_t action = SECCOMP_RET_TRACE;
    struct seccomp_notif_sizes sizes;
    struct sock_filter broken[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 4096), BPF_STMT(BPF_RET | BPF_K, 0)};
    struct sock_fprog program = {2, broken};
    CHECK(syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0);
    CHECK(syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes) == 0);
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == -1 && errno == EINVAL);
    CHECK(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 1 << 20, &program) == -1 && errno == EINVAL);
    CHECK(syscall(SYS_seccomp, 77, 0, NULL) == -1 && errno == EINVAL);
    CHECK(own_filter(SYS_sched_get_priority_min, SECCOMP_RET_ALLOW, SECCOMP_FILTER_FLAG_SPEC_ALLOW) == 0);
    CHECK(own_filter(SYS_sched_get_priority_max, SECCOMP_RET_LOG, 0) == 0);
    CHECK(distinct_1() == 99);
    CHECK(own_filter(SYS_sched_get_priority_max, SECCOMP_RET_ERRNO | 40, 0) == 0);
    long result = distinct_1();
    int error = errno;
    say("result %ld errno %d other %ld\n", result, error, distinct_2());
    return 0;
}
