/* `int $0x80` from a 64-bit program: calls of the i386 table, with its numbers and arguments.
 * Kernel path: do_int80_emulation(); the ABI of the call is i386 although the program is 64-bit. It can change from
 * call to call.
 * Pitfall: deriving the ABI from the code segment or the program: 20 is getpid here and writev there.
 * Machine: x86_64
 * Build: -static -no-pie
 */
#include "workload.h"

static char message[] = "written by int 0x80\n";

static long int80(long nr, long a, long b, long c)
{
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(nr), "b"(a), "c"(b), "d"(c) : "memory", "r8", "r9", "r10", "r11");
    return result;
}

int main(void)
{
    CHECK(int80(20, 0, 0, 0) == syscall(SYS_getpid));
    CHECK(int80(4, 1, (long)message, sizeof message - 1) == sizeof message - 1);
    CHECK(int80(9999, 0, 0, 0) == -ENOSYS);
    CHECK((int)int80(-7, 0, 0, 0) == -ENOSYS);
    pid_t pid = int80(2, 0, 0, 0);
    if (pid == 0) {
        syscall(SYS_sched_get_priority_max, SCHED_FIFO);
        int80(1, 4, 0, 0);
    }
    CHECK(pid > 0);
    say("child %d\n", exit_status(pid));
    int80(252, 6, 0, 0);
    return 90;
}
