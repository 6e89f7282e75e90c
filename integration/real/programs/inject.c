// Tries calls that no recorded workload makes, and prints the results. With an argument, it also tries calls with arguments that
// none uses, and socket(2) with one that some use. The arguments are harmless, and chosen so that the kernel itself never returns
// EPERM for them, even without privileges: only a profile does.
//
// It needs no libc and no loader, so it runs under every profile that allows execve, write and exit_group.
#include <asm/unistd.h>
#include <linux/sched.h>
#include <sys/socket.h>

static long call(long number, long a, long b, long c, long d, long e)
{
#ifdef __aarch64__
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c, x3 __asm__("x3") = d, x4 __asm__("x4") = e;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4) : "memory");
    return x0;
#else
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8) : "memory", "rcx", "r11");
    return result;
#endif
}

static void say(const char *text)
{
    long length = 0;
    while (text[length])
        length++;
    call(__NR_write, 1, (long)text, length, 0, 0);
}

static const char *answer(long result)
{
    switch (-result) {
    case 1: return "EPERM\n";
    case 9: return "EBADF\n";
    case 14: return "EFAULT\n";
    case 22: return "EINVAL\n";
    case 38: return "ENOSYS\n";
    default: return result < 0 ? "another error\n" : "done\n";
    }
}

static void inject(const char *name, long result)
{
    say(name);
    say(": ");
    say(answer(result));
}

void try_all(long argc)
{
    inject("mount", call(__NR_mount, 0, 0, 0, 0, 0));      // EFAULT: the path
    inject("unshare", call(__NR_unshare, 0, 0, 0, 0, 0));  // done: nothing to unshare
    inject("setns", call(__NR_setns, -1, 0, 0, 0, 0));     // EBADF
    inject("ptrace", call(__NR_ptrace, 0, 0, 0, 0, 0));    // done: PTRACE_TRACEME
    if (argc > 1) {
        // Another error: AF_ALG has no SOCK_STREAM, or the kernel has no AF_ALG.
        inject("AF_ALG", call(__NR_socket, AF_ALG, SOCK_STREAM, 0, 0, 0));
        // EINVAL: a new user namespace can't share CLONE_FS, and unshare has no flag 1.
        inject("clone CLONE_NEWUSER", call(__NR_clone, CLONE_NEWUSER | CLONE_FS, 0, 0, 0, 0));
        inject("unshare CLONE_NEWUSER", call(__NR_unshare, CLONE_NEWUSER | 1, 0, 0, 0, 0));
        inject("AF_INET", call(__NR_socket, AF_INET, SOCK_STREAM, 0, 0, 0));  // done
    }
    call(__NR_exit_group, 0, 0, 0, 0, 0);
}

// The kernel leaves argc on the stack.
#ifdef __aarch64__
__asm__(".globl _start\n_start: ldr x0, [sp]\n bl try_all");
#else
__asm__(".globl _start\n_start: mov (%rsp), %rdi\n call try_all");
#endif
