/* Kills its own process group, kill(0, SIGTERM), as shell scripts do in a trap.
 * Kernel path: kill(2) with pid 0: every member of the group gets the signal.
 * Pitfall: the recorder is a member, dies with the group, and writes no recording.
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
