/*
 * Calls that can be made, each in another way, and calls that can't. The tests of `reach` build it with -DUNKNOWN too: that adds a
 * call whose number is on the program's stack; and with -DOVERWRITTEN: a call whose number is stored over another one.
 *
 * Machine: x86_64
 * Build: -nostdlib -static -ffreestanding -fno-stack-protector
 */

typedef long (*function)(void);

/* The number in a register that the caller sets, as in libc's syscall(2). */
long wrapper(long number, long a);
__asm__(".globl wrapper\n.type wrapper, @function\nwrapper:\n.cfi_startproc\nmov %rdi, %rax\nmov %rsi, %rdi\nsyscall\nret\n.cfi_endproc\n"
        ".size wrapper, .-wrapper");

#ifdef OVERWRITTEN
/* A slot below rbp has the number of getpid, and then the second argument, stored through rsp after the first was subtracted. */
long overwritten(long size, long number);
__asm__(".globl overwritten\n.type overwritten, @function\noverwritten:\n.cfi_startproc\npush %rbp\nmov %rsp, %rbp\nsub $16, %rsp\n"
        "movl $39, -16(%rbp)\nsub %rdi, %rsp\nmovd %esi, %xmm0\nmovd %xmm0, (%rsp)\nmov -16(%rbp), %eax\nsyscall\nleave\nret\n"
        ".cfi_endproc\n.size overwritten, .-overwritten");
#endif

/* The number on the stack, as in Go's older code. */
long on_stack(void);
__asm__(".globl on_stack\n.type on_stack, @function\non_stack:\n.cfi_startproc\nmov 8(%rsp), %rax\nsyscall\nret\n.cfi_endproc\n"
        ".size on_stack, .-on_stack");

static __attribute__((noinline)) long passes_on(long number) { return wrapper(number, 0) + 1; }

static long direct(long number)
{
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number) : "rcx", "r11", "memory");
    return result;
}

static __attribute__((noinline)) long by_pointer(void) { return direct(102) /* getuid */; }
static __attribute__((noinline)) long by_address(void) { return direct(104) /* getgid */; }
static __attribute__((noinline)) long by_table(int choice)
{
    switch (choice) {
    case 0: return direct(107) /* geteuid */ * 3;
    case 1: return direct(108) /* getegid */ + 1;
    case 2: return direct(110) /* getppid */ - 7;
    case 3: return direct(111) /* getpgrp */ ^ 5;
    case 4: return direct(24) /* sched_yield */ | 9;
    case 5: return direct(34) /* pause */ & 3;
    default: return 0;
    }
}
static __attribute__((noinline)) long one_of_two(int choice) { return direct(choice ? 95 /* umask */ : 80 /* chdir */); }

/* Nothing calls these. */
__attribute__((noinline, used)) static long never(void) { return direct(169) /* reboot */; }
__attribute__((noinline, used)) static long never_wrapped(void) { return wrapper(175 /* init_module */, 0); }

function const table[] = {by_pointer};
function volatile chosen;
int volatile choice;

__attribute__((noreturn, used)) void begin(long *stack)
{
    wrapper(39 /* getpid */, 0);
    passes_on(186 /* gettid */);
    __asm__ volatile("push $112\ncall on_stack\npop %%rcx" /* setsid */ ::: "rax", "rcx", "r11", "memory");
    __asm__ volatile("mov $20, %%eax\nint $0x80" /* x86: getpid */ ::: "rax", "memory");
#ifdef OVERWRITTEN
    overwritten(0, 110 /* getppid */);
#endif
    table[choice]();
    chosen = by_address;
    chosen();
    by_table(choice);
    one_of_two(choice);
#ifdef UNKNOWN
    wrapper(*stack, 0);
#else
    (void)stack;
#endif
    direct(231) /* exit_group */;
    __builtin_unreachable();
}

__asm__(".globl _start\n.type _start, @function\n_start:\nmov %rsp, %rdi\nand $-16, %rsp\ncall begin\nhlt\n.size _start, .-_start");
