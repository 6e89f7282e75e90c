/* clone3(2) with arguments of every size: at the end of readable memory, beyond it, and in memory without permissions.
 * Kernel path: copy_struct_from_user. A structure may be shorter or longer than the kernel's; the excess must be 0.
 * Pitfall: reading memory in place of the kernel that the caller may not read.
 * Build: -static
 */
#include "workload.h"
#include <linux/sched.h>
#include <sys/mman.h>

enum { PAGE = 4096 };

/* What the call comes to, by the kernel or by the child: that it ran. */
static int outcome(void *arguments, size_t size)
{
    pid_t pid = syscall(SYS_clone3, arguments, size);
    if (pid == 0) {
        distinct_1();
        _exit(0);
    }
    if (pid < 0)
        return errno;
    CHECK(exit_status(pid) == 0);
    return 0;
}

int main(void)
{
    char *memory = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED && mprotect(memory + 2 * PAGE, PAGE, PROT_NONE) == 0);
    struct clone_args plain = {.exit_signal = SIGCHLD};
    static const size_t sizes[] = {0, 8, 63, 64, 65, 80, 87, 88, 89, 96, 128, 129, 200, PAGE - 1, PAGE, PAGE + 1};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t size = sizes[i];
        char *at = memory + 2 * PAGE - size;
        memset(memory, 0, 2 * PAGE);
        memcpy(at, &plain, size < sizeof plain ? size : sizeof plain);
        int fits = outcome(at, size), over = outcome(at + 1, size), last = 0, both = 0;
        if (size > sizeof plain) {
            at[size - 1] = 1;
            last = outcome(at, size);
            both = outcome(at + 1, size);
        }
        say("%zu: %d, beyond what is readable %d, with something at the end %d, with both %d\n", size, fits, over, last, both);
    }
    memcpy(memory, &plain, sizeof plain);
    CHECK(mprotect(memory, PAGE, PROT_NONE) == 0);
    say("unreadable %d\n", outcome(memory, sizeof plain));
    CHECK(mprotect(memory, PAGE, PROT_READ) == 0);
    say("read-only %d\n", outcome(memory, sizeof plain));
    say("nowhere %d %d %d\n", outcome(NULL, sizeof plain), outcome((void *)-1, sizeof plain), outcome((void *)-PAGE, sizeof plain));
    plain.flags = CLONE_UNTRACED;
    say("untraced %d\n", outcome(&plain, sizeof plain));
    CHECK(plain.flags == CLONE_UNTRACED);
    return 0;
}
