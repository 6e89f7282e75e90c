/* Kills its own process group, kill(0, SIGTERM), as shell scripts do in a trap.
 * Kernel path: kill(2) with pid 0: every member of the group, whoever it is.
 * A tracer gets wrong: it is a member itself, dies with the group, and writes nothing.
 * Build: -static
 */
#include "workload.h"

int main(void)
{
    idle_child();
    say("kills the group\n");
    kill(0, SIGTERM);
    return 90;
}
