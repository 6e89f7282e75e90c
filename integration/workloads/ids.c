/* Prints its user ids, for tests of setuid programs.
 * Kernel path: bprm_creds_from_file(): a setuid bit is ignored with no_new_privs, nosuid, or a tracer without
 * CAP_SYS_PTRACE.
 * Pitfall: the workload runs without its privileges, and so takes other paths.
 * Build: -static
 */
#include "workload.h"
#include <sys/auxv.h>

int main(void)
{
    uid_t real, effective, saved;
    CHECK(getresuid(&real, &effective, &saved) == 0);
    say("uid %d %d %d secure %lu no_new_privs %d\n", real, effective, saved, getauxval(AT_SECURE),
        prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    return 0;
}
