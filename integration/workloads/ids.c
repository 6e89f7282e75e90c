/* Says who it runs as: the target of setuid tests.
 * Kernel path: bprm_creds_from_file(): a setuid bit counts unless no_new_privs, nosuid, or a tracer without CAP_SYS_PTRACE.
 * A tracer gets wrong: the workload runs without its privileges and takes other paths than in real life.
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
