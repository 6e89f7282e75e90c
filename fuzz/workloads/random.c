/* A random program: every task of it executes operations that a seed chooses, and counts each call in shared memory before
 * it makes it (begun) and after it returned (returned). It has no libc, so that every call is counted.
 * Kernel path: fork, vfork, clone, clone3, exec, exit, signals, seccomp, strict mode, user dispatch, ptrace, namespaces.
 * Pitfall: those that run.py finds.
 * Build: -static -nostdlib -ffreestanding -fno-stack-protector -fno-pie -no-pie -mno-red-zone -fno-builtin -mgeneral-regs-only
 */
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/io_uring.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

typedef uint64_t u64;
typedef uint32_t u32;

/* The shared memory that run.py reads. */
enum { X86_64, X86, X32, ABIS };
enum { NRS = 512, ODDS = 8, KEYS = NRS + ODDS, TASKS = 160, LINE = 240, CHILDREN = 12, FILTERS = 6, RULES = 4 };
/* Numbers outside the table: the last ODDS keys. */
static const u32 odd_numbers[ODDS] = {9999, 100000, 0xfffffff9, 0xffffffff, 0x3fffffff, 600, 4095, 4096};

/* The bits of the mask: the operations that a run may have. */
enum {
    CALLS, FORKS, THREADS, EXECS, SIGNALS, SLEEPS, FILTER, TSYNC, STRICT, DISPATCH, TRACING, NAMESPACES, FLIPS, REWRITES,
    STOPS, KILLS, STORMS, VSYSCALLS, UNTRACED, IA32, DEATHS, ORPHANS, MISC, VFORK_TSYNC, HIDE_PROC, FORGE, SHARE_VM, KINDS
};

struct rule { u32 abi, nr, action; };
struct filter { u32 rules; struct rule rule[RULES]; };

struct task {
    u32 used, tid, parent, thread;
    u32 process;                      /* The slot of its process's first task. */
    u32 handled_by_process;           /* In that slot: signals that any thread of the process handled. */
    u32 blocks;                       /* It blocks signals. */
    u32 mask_changes;                 /* In the process's slot: how often that changed in any of its threads. */
    u32 begun_key, begun_abi;         /* The call that it is in, if it may not return. */
    u32 pending;
    int status;                       /* Its future exit status; -1: unknown. */
    u64 random;
    int ops, depth;
    u32 handled, finished, credited, level, trapped;
    u32 has_handlers, unpredictable, dispatching, own_trace;
    u32 filters;
    struct filter filter[FILTERS];
    u32 children;
    int child[CHILDREN], child_slot[CHILDREN];
    u32 threads, thread_slot[CHILDREN];
    volatile u32 tid_word;
    volatile char selector;
    u64 executing;                    /* abi and key of an execve under way */
    u32 in_namespace, init, ran, stormy, had_ring;
};

struct shared {
    u64 go, mask, seed, used, failures, handlers, untold, tasks;
    unsigned char said[256]; /* by exit status: whether a task has ended with it */
    char line[LINE];
    u64 begun[ABIS][KEYS], returned[ABIS][KEYS];
    struct task task[TASKS];
};

#define SHARED ((struct shared *)0x10000000ul)
#define STACKS 0x20000000ul
#define STACK 0x10000ul
/* The address that a 32-bit pointer with junk in its upper half has in 64 bits. */
#define DECOY 0x100000000ul
#define SHARED_FD 100
#define SELF_FD 101

/* ---- instructions ---- */

long enter64(u64 nr, const u64 *arguments);
long enter32(u64 nr, const u64 *arguments);
long spawn64(u64 nr, const u64 *arguments, u64 slot, u64 stack);
long spawn32(u64 nr, const u64 *arguments, u64 slot, u64 stack);
long vsyscall(u64 address, u64 a, u64 b, u64 c);
long run_code(void *code, const u64 *arguments);
void restorer(void);
void child_main(u32 slot) __attribute__((noreturn, used));
void start(u64 *stack) __attribute__((noreturn, used));
void stack_main(u32 slot) __attribute__((noreturn, used));
void switch_stack(u64 slot, u64 stack) __attribute__((noreturn));

#define LOAD64 "mov 0(%r11), %rdi; mov 8(%r11), %rsi; mov 16(%r11), %rdx; mov 24(%r11), %r10; mov 32(%r11), %r8; mov 40(%r11), %r9\n"
#define LOAD32 "mov 0(%r11), %rbx; mov 8(%r11), %rcx; mov 16(%r11), %rdx; mov 24(%r11), %rsi; mov 32(%r11), %rdi; mov 40(%r11), %rbp\n"

__asm__(
    ".globl _start\n_start: mov %rsp, %rdi; and $-16, %rsp; call start\n"
    "enter64: mov %rdi, %rax; mov %rsi, %r11\n" LOAD64 "syscall; ret\n"
    "enter32: push %rbx; push %rbp; mov %rdi, %rax; mov %rsi, %r11\n" LOAD32 "int $0x80; pop %rbp; pop %rbx; ret\n"
    /* A child never touches its parent's stack. */
    "spawn64: push %rbx; push %rbp; push %r12; mov %rdi, %rax; mov %rsi, %r11; mov %rdx, %rbx; mov %rcx, %rbp\n" LOAD64
    "syscall; test %rax, %rax; jz 1f; pop %r12; pop %rbp; pop %rbx; ret\n"
    "1: mov %rbx, %rdi; mov %rbp, %rsp; xor %ebp, %ebp; call child_main\n"
    "spawn32: push %rbx; push %rbp; push %r12; push %r13; mov %rdi, %rax; mov %rsi, %r11; mov %rdx, %r12; mov %rcx, %r13\n" LOAD32
    "int $0x80; test %rax, %rax; jz 1f; pop %r13; pop %r12; pop %rbp; pop %rbx; ret\n"
    "1: mov %r12, %rdi; mov %r13, %rsp; xor %ebp, %ebp; call child_main\n"
    "vsyscall: mov %rdi, %rax; mov %rsi, %rdi; mov %rdx, %rsi; mov %rcx, %rdx; call *%rax; ret\n"
    "run_code: mov %rdi, %rax; mov %rsi, %r11\n" LOAD64 "call *%rax; ret\n"
    "restorer: mov $15, %eax; syscall; jmp restorer\n"
    "switch_stack: mov %rsi, %rsp; xor %ebp, %ebp; call stack_main\n");

void *memset(void *to, int byte, size_t count)
{
    volatile char *at = to;
    while (count--)
        *at++ = byte;
    return to;
}

void *memcpy(void *to, const void *from, size_t count)
{
    volatile char *at = to;
    const char *source = from;
    while (count--)
        *at++ = *source++;
    return to;
}

static void add(u64 *counter) { __atomic_add_fetch(counter, 1, __ATOMIC_SEQ_CST); }

/* ---- tasks ---- */

static u64 stack_of(u32 slot) { return STACKS + (slot + 1) * STACK - 64; }

/* Every task and its handlers have their own stack from the first C function on. */
static struct task *me(void)
{
    u64 stack;
    __asm__ volatile("mov %%rsp, %0" : "=r"(stack));
    return &SHARED->task[(stack - STACKS) / STACK];
}

static u32 slot_of(const struct task *t) { return t - SHARED->task; }

static u32 rnd(struct task *t, u32 below)
{
    u64 x = t->random;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    t->random = x;
    return below ? (u32)((x * 0x2545f4914f6cdd1dul) >> 33) % below : 0;
}

static int chance(struct task *t, u32 of) { return rnd(t, of) == 0; }

static int may(u32 kind) { return SHARED->mask >> kind & 1; }

/* Whether processes of this run have threads. */
static int has_threads(void) { return may(THREADS) || may(FLIPS) || may(REWRITES) || may(VFORK_TSYNC); }

/* ---- messages: numbers and strings, in one line ---- */

static char *put_string(char *at, char *end, const char *text)
{
    while (*text && at < end)
        *at++ = *text++;
    return at;
}

static char *put_number(char *at, char *end, long number)
{
    char digits[24];
    int count = 0;
    u64 rest = number < 0 ? -(u64)number : (u64)number;
    do
        digits[count++] = '0' + rest % 10;
    while (rest /= 10);
    if (number < 0)
        digits[count++] = '-';
    while (count && at < end)
        *at++ = digits[--count];
    return at;
}

/* Reports a difference from a run without a tracer. %s and %d only. */
static void fail(const char *format, ...)
{
    if (__atomic_fetch_add(&SHARED->failures, 1, __ATOMIC_SEQ_CST))
        return;
    va_list arguments;
    va_start(arguments, format);
    char *at = SHARED->line, *end = SHARED->line + LINE - 1;
    at = put_string(at, end, "task ");
    at = put_number(at, end, slot_of(me()));
    at = put_string(at, end, ": ");
    for (; *format; format++) {
        if (*format != '%') {
            if (at < end)
                *at++ = *format;
        } else if (*++format == 's') {
            at = put_string(at, end, va_arg(arguments, const char *));
        } else {
            at = put_number(at, end, va_arg(arguments, long));
        }
    }
    *at = 0;
    va_end(arguments);
}

/* ---- calls ---- */

static u32 key_of(u32 nr)
{
    if (nr < NRS)
        return nr;
    for (u32 i = 0; i < ODDS; i++)
        if (odd_numbers[i] == nr)
            return NRS + i;
    return NRS + ODDS - 1;
}

static void begin(struct task *t, u32 abi, u32 nr)
{
    add(&SHARED->begun[abi][key_of(nr)]);
    if (t->level == 0) {
        t->begun_abi = abi;
        t->begun_key = key_of(nr);
        t->pending = 1;
    }
}

static void returned(u32 abi, u32 key) { add(&SHARED->returned[abi][key]); }

static void end(struct task *t, u32 abi, u32 nr)
{
    returned(abi, key_of(nr));
    if (t->level == 0) {
        t->pending = 0;
        /* All earlier handlers have returned. */
        for (; t->credited < t->finished; t->credited++)
            returned(X86_64, 15);
    }
}

static u64 junk(struct task *t) { return may(IA32) && t->level == 0 ? (u64)rnd(t, 4) << 62 | (u64)rnd(t, 2) << 32 : 0; }

static long enter(struct task *t, u32 abi, u32 nr, const u64 *arguments)
{
    if (abi == X86) {
        u64 wide[6];
        for (int i = 0; i < 6; i++)
            wide[i] = (arguments[i] & 0xffffffff) | junk(t);
        return (int)enter32(nr | junk(t), wide);
    }
    /* The kernel cuts the number to an int too. */
    return enter64((abi == X32 ? nr | 0x40000000 : nr) | (t->level == 0 && chance(t, 8) ? 0xdead00000000ul : 0), arguments);
}

static long call(struct task *t, u32 abi, u32 nr, u64 a, u64 b, u64 c, u64 d, u64 e, u64 f)
{
    u64 arguments[6] = {a, b, c, d, e, f};
    begin(t, abi, nr);
    long result = enter(t, abi, nr, arguments);
    end(t, abi, nr);
    return result;
}

#define CALL0(nr) call(t, X86_64, nr, 0, 0, 0, 0, 0, 0)
#define CALL1(nr, a) call(t, X86_64, nr, (u64)(a), 0, 0, 0, 0, 0)
#define CALL2(nr, a, b) call(t, X86_64, nr, (u64)(a), (u64)(b), 0, 0, 0, 0)
#define CALL3(nr, a, b, c) call(t, X86_64, nr, (u64)(a), (u64)(b), (u64)(c), 0, 0, 0)
#define CALL4(nr, a, b, c, d) call(t, X86_64, nr, (u64)(a), (u64)(b), (u64)(c), (u64)(d), 0, 0)
#define CALL5(nr, a, b, c, d, e) call(t, X86_64, nr, (u64)(a), (u64)(b), (u64)(c), (u64)(d), (u64)(e), 0)
#define CALL6(nr, a, b, c, d, e, f) call(t, X86_64, nr, (u64)(a), (u64)(b), (u64)(c), (u64)(d), (u64)(e), (u64)(f))

enum {
    N_READ = 0, N_WRITE = 1, N_CLOSE = 3, N_POLL = 7, N_MMAP = 9, N_MPROTECT = 10, N_SIGACTION = 13, N_SIGPROCMASK = 14,
    N_SIGRETURN = 15, N_PIPE = 22, N_SELECT = 23, N_NANOSLEEP = 35, N_PAUSE = 34, N_SETITIMER = 38, N_GETPID = 39,
    N_SOCKETPAIR = 53, N_SETSOCKOPT = 54, N_CLONE = 56, N_FORK = 57, N_VFORK = 58, N_EXECVE = 59, N_EXIT = 60, N_WAIT4 = 61,
    N_KILL = 62, N_SETPGID = 109, N_GETPPID = 110, N_SIGTIMEDWAIT = 128, N_SIGSUSPEND = 130, N_PRCTL = 157, N_MOUNT = 165,
    N_GETTID = 186, N_TKILL = 200, N_FUTEX = 202, N_IO_SETUP = 206, N_IO_DESTROY = 207, N_IO_GETEVENTS = 208,
    N_CLOCK_GETTIME = 228, N_CLOCK_NANOSLEEP = 230, N_EXIT_GROUP = 231, N_EPOLL_WAIT = 232, N_TGKILL = 234,
    N_RECVFROM = 45, N_PSELECT = 270, N_PPOLL = 271, N_UNSHARE = 272, N_EPOLL_PWAIT = 281, N_EPOLL_CREATE = 291,
    N_ACCEPT4 = 288, N_SIGQUEUEINFO = 129, N_TGSIGQUEUEINFO = 297, N_EXECVEAT = 322, N_SECCOMP = 317, N_IO_URING_SETUP = 425,
    N_IO_URING_ENTER = 426, N_CLONE3 = 435, N_EPOLL_PWAIT2 = 441, N_PTRACE = 101, N_SCHED_YIELD = 24,
};
/* i386 */
enum {
    M_EXIT = 1, M_FORK = 2, M_READ = 3, M_EXECVE = 11, M_PRCTL = 172, M_VFORK = 190, M_CLONE = 120, M_EXIT_GROUP = 252,
    M_SECCOMP = 354, M_CLONE3 = 435, M_EXECVEAT = 358,
};

/* Errors. */
enum { EINTR = 4, EAGAIN = 11, ENOMEM = 12, ECHILD = 10, ENOSYS = 38, ETIME = 62, EPERM = 1, EFAULT = 14, EINVAL = 22 };
/* Signals. */
enum {
    SIGILL = 4, SIGTRAP = 5, SIGABRT = 6, SIGKILL = 9, SIGUSR1 = 10, SIGSEGV = 11, SIGUSR2 = 12, SIGALRM = 14, SIGTERM = 15,
    SIGCHLD = 17, SIGCONT = 18, SIGSTOP = 19, SIGURG = 23, SIGWINCH = 28, SIGSYS = 31, SIGRT = 40,
};

/* ---- the workload's own filters, as far as they determine the results of its calls ---- */

static u32 rank(u32 action)
{
    switch (action & SECCOMP_RET_ACTION_FULL) {
    case SECCOMP_RET_KILL_PROCESS: return 0;
    case SECCOMP_RET_KILL_THREAD: return 1;
    case SECCOMP_RET_TRAP: return 2;
    case SECCOMP_RET_ERRNO: return 3;
    case SECCOMP_RET_USER_NOTIF: return 5;
    case SECCOMP_RET_TRACE: return 6;
    case SECCOMP_RET_LOG: return 7;
    case SECCOMP_RET_ALLOW: return 8;
    /* Its number is between those of ERRNO and USER_NOTIF. */
    default: return 4;
    }
}

static u32 answer(const struct task *t, u32 abi, u32 nr)
{
    u32 strongest = SECCOMP_RET_ALLOW;
    for (u32 i = t->filters; i-- > 0;) {
        const struct filter *filter = &t->filter[i];
        u32 action = SECCOMP_RET_ALLOW;
        for (u32 j = 0; j < filter->rules; j++)
            if (filter->rule[j].abi == abi && filter->rule[j].nr == nr) {
                action = filter->rule[j].action;
                break;
            }
        if (rank(action) < rank(strongest))
            strongest = action;
    }
    return strongest;
}

/* Harmless calls, and their results: ANY, or a value. */
enum { ANY = -4096 };
static const struct plain { u32 nr64, nr32; u64 a; int value; } plains[] = {
    {N_GETPID, 20, 0, ANY}, {N_GETTID, 224, 0, ANY}, {N_GETPPID, 64, 0, ANY}, {102, 199, 0, ANY}, {104, 200, 0, ANY},
    {107, 201, 0, ANY}, {108, 202, 0, ANY}, {111, 65, 0, ANY}, {N_SCHED_YIELD, 158, 0, 0}, {146, 159, 1, 99},
    {147, 160, 1, 1}, {95, 60, 022, ANY}, {135, 136, 0xffffffff, ANY}, {145, 157, 0, 0}, {121, 132, 0, ANY},
    {124, 147, 0, ANY}, {201, 13, 0, ANY}, {309, 318, 0, 0}, {83, 39, 1, -EFAULT}, {32, 41, 0xffff, -9}, {100, 43, 0, ANY},
    {84, 40, 1, -EFAULT}, {161, 61, 1, -EFAULT}, {140, 96, 0, ANY},
};
enum { PLAINS = sizeof plains / sizeof *plains };

static void plain_call(struct task *t)
{
    u32 which = rnd(t, PLAINS + 2), abi = X86_64, nr, action;
    long expected = ANY;
    u64 a = 0;
    if (which >= PLAINS) {
        nr = odd_numbers[rnd(t, ODDS)];
        expected = -ENOSYS;
    } else {
        const struct plain *plain = &plains[which];
        nr = plain->nr64;
        a = plain->a;
        expected = plain->value;
        u32 kind = rnd(t, 8);
        if (kind < 3 && may(IA32)) {
            abi = X86;
            nr = plain->nr32;
        } else if (kind == 3) {
            abi = X32;
            expected = ANY;
        }
    }
    action = answer(t, abi, nr);
    u32 trapped = t->trapped;
    u32 is_odd = which >= PLAINS;
    if (!t->unpredictable)
        switch (action & SECCOMP_RET_ACTION_FULL) {
        case SECCOMP_RET_TRAP:
            if (!t->has_handlers)
                return;
            break;
        case SECCOMP_RET_ERRNO:
        case SECCOMP_RET_USER_NOTIF:
        case SECCOMP_RET_TRACE:
        case SECCOMP_RET_LOG:
        case SECCOMP_RET_ALLOW:
            break;
        default:
            t->status = -1;
            break;
        }
    long result = call(t, abi, nr, a, 0, 0, 0, 0, 0);
    if (t->unpredictable)
        return;
    switch (action & SECCOMP_RET_ACTION_FULL) {
    case SECCOMP_RET_ERRNO: expected = -(long)(action & 0xfff); break;
    case SECCOMP_RET_TRACE:
    case SECCOMP_RET_USER_NOTIF: expected = -ENOSYS; break;
    case SECCOMP_RET_TRAP:
        if (t->trapped != trapped + 1)
            fail("call %d of ABI %d was trapped %d times", (long)nr, (long)abi, (long)(t->trapped - trapped));
        return;
    case SECCOMP_RET_KILL_PROCESS:
    case SECCOMP_RET_KILL_THREAD:
        fail("call %d of ABI %d did not kill", (long)nr, (long)abi);
        return;
    case SECCOMP_RET_LOG:
    case SECCOMP_RET_ALLOW:
        if (is_odd && nr == 0xffffffff)
            expected = -ENOSYS;
        break;
    default:
        fail("the unknown action %d did not kill", (long)action);
        return;
    }
    if (expected != ANY && result != expected)
        fail("call %d of ABI %d returned %d, not %d", (long)nr, (long)abi, result, expected);
    if (expected == ANY && abi != X32 && result < 0)
        fail("call %d of ABI %d returned %d", (long)nr, (long)abi, result);
}

static u32 random_action(struct task *t, u32 nr)
{
    switch (rnd(t, may(DEATHS) ? 12 : 9)) {
    case 0:
    case 1:
    case 2: return SECCOMP_RET_ERRNO | (1 + rnd(t, 100));
    case 3: return SECCOMP_RET_TRAP | rnd(t, 100);
    case 4:
        if (!may(FORGE))
            return SECCOMP_RET_TRACE | rnd(t, 4);
        /* Like a recorder's own messages. */
        switch (rnd(t, 5)) {
        case 0: return SECCOMP_RET_TRACE | 0x1000 | N_GETPID;
        case 1: return SECCOMP_RET_TRACE | 0x1000 | (nr & 0xfff);
        case 2: return SECCOMP_RET_TRACE | 0x2000 | (nr & 0xfff);
        case 3: return SECCOMP_RET_TRACE | 0xffff;
        default: return SECCOMP_RET_TRACE | rnd(t, 0x10000);
        }
    case 5: return SECCOMP_RET_LOG;
    case 6: return SECCOMP_RET_USER_NOTIF;
    case 7:
    case 8: return SECCOMP_RET_ALLOW;
    case 9: return SECCOMP_RET_KILL_PROCESS;
    case 10: return SECCOMP_RET_KILL_THREAD;
    default: return 0x12340000 | rnd(t, 10); /* an unknown action kills the process */
    }
}

static struct sock_filter *emit(struct sock_filter *at, u32 code, u32 k, u32 jt, u32 jf)
{
    *at = (struct sock_filter){code, jt, jf, k};
    return at + 1;
}

/* Writes the program of a filter. All of it is below 4 GiB: it is on the task's stack. */
static u32 assemble(struct sock_filter *code, const struct filter *filter)
{
    struct sock_filter *at = code;
    for (u32 i = 0; i < filter->rules; i++) {
        const struct rule *rule = &filter->rule[i];
        at = emit(at, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch), 0, 0);
        at = emit(at, BPF_JMP | BPF_JEQ | BPF_K, rule->abi == X86 ? AUDIT_ARCH_I386 : AUDIT_ARCH_X86_64, 0, 3);
        at = emit(at, BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr), 0, 0);
        at = emit(at, BPF_JMP | BPF_JEQ | BPF_K, rule->abi == X32 ? rule->nr | 0x40000000 : rule->nr, 0, 1);
        at = emit(at, BPF_RET | BPF_K, rule->action, 0, 0);
    }
    at = emit(at, BPF_RET | BPF_K, SECCOMP_RET_ALLOW, 0, 0);
    return at - code;
}

/* Before a filter is loaded for all threads: the filters that they know of are no longer all. */
static void forget_filters(void)
{
    for (u32 i = 0; i < TASKS; i++)
        SHARED->task[i].unpredictable |= SHARED->task[i].used;
}

static void load_filter(struct task *t)
{
    if (t->filters >= FILTERS)
        return;
    struct filter *filter = &t->filter[t->filters];
    filter->rules = 1 + rnd(t, RULES);
    for (u32 i = 0; i < filter->rules; i++) {
        struct rule *rule = &filter->rule[i];
        const struct plain *plain = &plains[rnd(t, PLAINS)];
        u32 kind = rnd(t, 6);
        rule->abi = kind < 4 || !may(IA32) ? X86_64 : kind == 4 ? X86 : X32;
        rule->nr = rule->abi == X86 ? plain->nr32 : plain->nr64;
        if (chance(t, 10) && rule->abi == X86_64)
            rule->nr = odd_numbers[rnd(t, ODDS)];
        rule->action = random_action(t, rule->nr);
        /* Not every kernel runs filters for -1. */
        if (rule->nr == 0xffffffff)
            rule->action = SECCOMP_RET_ALLOW;
    }
    struct sock_filter code[RULES * 5 + 1];
    u32 length = assemble(code, filter);
    struct { u64 length; u64 code; } program64 = {length, (u64)code};
    struct { u32 length; u32 code; } program32 = {length, (u32)(u64)code};
    CALL5(N_PRCTL, 38 /* PR_SET_NO_NEW_PRIVS */, 1, 0, 0, 0);
    u64 flags = chance(t, 3) ? SECCOMP_FILTER_FLAG_SPEC_ALLOW : chance(t, 4) ? SECCOMP_FILTER_FLAG_LOG : 0;
    int for_all = may(TSYNC) && chance(t, 3);
    long result;
    if (for_all) {
        flags |= SECCOMP_FILTER_FLAG_TSYNC;
        forget_filters();
    }
    switch (rnd(t, may(IA32) ? 4 : 2)) {
    case 0:
        if (!for_all) {
            result = CALL3(N_PRCTL, 22, 2, &program64);
            break;
        }
        /* fall through */
    case 1: result = CALL3(N_SECCOMP, SECCOMP_SET_MODE_FILTER, flags, &program64); break;
    case 2:
        if (!for_all) {
            result = call(t, X86, M_PRCTL, 22, 2, (u64)&program32, 0, 0, 0);
            break;
        }
        /* fall through */
    default:
        result = call(t, X86, M_SECCOMP, SECCOMP_SET_MODE_FILTER, flags, (u64)&program32, 0, 0, 0);
        break;
    }
    if (result == 0)
        t->filters++;
    else if (!for_all)
        fail("loading a filter returned %d", result);
}

/* ---- signals ---- */

struct kernel_sigaction { u64 handler, flags, restorer, mask; };
struct siginfo { int signo, errno_, code, pad; u64 data[14]; };

void handler(int signal, struct siginfo *info, void *context) __attribute__((used));
void handler(int signal, struct siginfo *info, void *context)
{
    struct task *t = me();
    (void)context;
    t->level++;
    t->handled++;
    __atomic_add_fetch(&SHARED->task[t->process].handled_by_process, 1, __ATOMIC_SEQ_CST);
    add(&SHARED->handlers);
    if (signal == SIGSYS) {
        t->selector = 0;
        if (info->code == 1)
            t->trapped++;
        else
            t->dispatching = 2;
    }
    t->level--;
    begin(t, X86_64, N_SIGRETURN);
    if (t->level == 0)
        t->pending = 0;
    t->finished++;
}

static void on_signal(struct task *t, int signal, u64 flags)
{
    struct kernel_sigaction action = {(u64)handler, flags | 0x04000004 /* SA_RESTORER | SA_SIGINFO */, (u64)restorer, ~0ul};
    CALL4(N_SIGACTION, signal, &action, 0, 8);
}

static void install_handlers(struct task *t)
{
    on_signal(t, SIGUSR1, 0x10000000 /* SA_RESTART */);
    on_signal(t, SIGUSR2, 0);
    on_signal(t, SIGALRM, 0);
    on_signal(t, SIGRT, 0x10000000);
    on_signal(t, SIGSYS, 0);
    t->has_handlers = 1;
}

static u64 now(struct task *t)
{
    u64 time[2] = {0, 0};
    CALL2(N_CLOCK_GETTIME, 1, time);
    return time[0] * 1000000 + time[1] / 1000;
}

static void set_timer(struct task *t, u64 after, u64 every)
{
    u64 timer[4] = {0, every, 0, after};
    CALL3(N_SETITIMER, 0, timer, 0);
}

static void sleep_us(struct task *t, u64 us)
{
    u64 time[2] = {0, us * 1000};
    CALL2(N_NANOSLEEP, time, 0);
}

/* Whether a thread of the process blocks signals. */
static int is_blocking(u32 process)
{
    for (u32 i = 0; i < TASKS; i++)
        if (SHARED->task[i].used && SHARED->task[i].process == process && SHARED->task[i].blocks)
            return 1;
    return 0;
}

/* A call with a time limit, which only a handler may end earlier. */
static void sleeps(struct task *t)
{
    u64 ms = chance(t, 8) ? 15 : 1 + rnd(t, 4), time[2] = {0, ms * 1000000}, zero_mask = 0;
    u64 event[2], mask_and_size[2] = {0, 8};
    u32 kind = rnd(t, 16), handled = t->handled;
    volatile u32 *by_process = &SHARED->task[t->process].handled_by_process;
    u32 handled_by_process = *by_process;
    volatile u32 *mask_changes = &SHARED->task[t->process].mask_changes;
    u32 blocked_before = is_blocking(t->process), mask_changes_before = *mask_changes, had_ring = t->had_ring;
    u64 before = now(t);
    long result = 0, expected = 0;
    int fd = -1;
    u32 futex = 0;
    const char *what = "";
    switch (kind) {
    case 0: what = "nanosleep"; result = CALL2(N_NANOSLEEP, time, 0); break;
    case 1: what = "clock_nanosleep"; result = CALL4(N_CLOCK_NANOSLEEP, 1, 0, time, 0); break;
    case 2: what = "poll"; result = CALL3(N_POLL, 0, 0, ms); break;
    case 3: what = "ppoll"; result = CALL5(N_PPOLL, 0, 0, time, chance(t, 2) ? &zero_mask : 0, 8); break;
    case 4: time[1] = ms * 1000; what = "select"; result = CALL5(N_SELECT, 0, 0, 0, 0, time); break;
    case 5: what = "pselect6"; result = CALL6(N_PSELECT, 0, 0, 0, 0, time, mask_and_size); break;
    case 6:
    case 7:
    case 8:
        fd = CALL1(N_EPOLL_CREATE, 0);
        what = kind == 6 ? "epoll_wait" : kind == 7 ? "epoll_pwait" : "epoll_pwait2";
        if (kind == 6)
            result = CALL4(N_EPOLL_WAIT, fd, event, 1, ms);
        else if (kind == 7)
            result = CALL6(N_EPOLL_PWAIT, fd, event, 1, ms, chance(t, 2) ? &zero_mask : 0, 8);
        else
            result = CALL6(N_EPOLL_PWAIT2, fd, event, 1, time, chance(t, 2) ? &zero_mask : 0, 8);
        break;
    case 9: what = "futex"; result = CALL4(N_FUTEX, &futex, 128, 0, time); expected = -110; break;
    case 10: {
        u64 set = 1ul << (45 - 1);
        what = "rt_sigtimedwait";
        result = CALL4(N_SIGTIMEDWAIT, &set, 0, time, 8);
        expected = -EAGAIN;
        break;
    }
    case 11:
    case 12: {
        int ends[2] = {-1, -1};
        u64 limit[2] = {0, ms * 1000};
        CALL4(N_SOCKETPAIR, 1, 1, 0, ends);
        CALL5(N_SETSOCKOPT, ends[0], 1, 20 /* SO_RCVTIMEO */, limit, 16);
        what = kind == 11 ? "read" : "recvfrom";
        if (kind == 11)
            result = CALL3(N_READ, ends[0], event, 1);
        else
            result = CALL6(N_RECVFROM, ends[0], event, 1, 0, 0, 0);
        expected = -EAGAIN;
        CALL1(N_CLOSE, ends[1]);
        fd = ends[0];
        break;
    }
    case 13: {
        u64 context = 0;
        if (CALL2(N_IO_SETUP, 1, &context) != 0)
            return;
        u64 events[4];
        what = "io_getevents";
        result = CALL5(N_IO_GETEVENTS, context, 1, 1, events, time);
        CALL1(N_IO_DESTROY, context);
        break;
    }
    case 14: {
        if (!t->has_handlers || may(NAMESPACES) || may(THREADS) || may(SHARE_VM))
            return;
        what = "pause";
        /* A handler ends this. The timer repeats, in case it fired too early. */
        set_timer(t, ms * 1000, 2000);
        if (chance(t, 2))
            result = CALL0(N_PAUSE);
        else
            result = CALL2(N_SIGSUSPEND, &zero_mask, 8);
        set_timer(t, 0, 0);
        if (result != -EINTR)
            fail("pause returned %d", result);
        return;
    }
    default: {
        struct io_uring_params parameters;
        memset(&parameters, 0, sizeof parameters);
        fd = CALL2(N_IO_URING_SETUP, 2, &parameters);
        if (fd < 0)
            return;
        t->had_ring = 1;
        u64 wait[3] = {0, 8, (u64)time};
        what = "io_uring_enter";
        result = CALL6(N_IO_URING_ENTER, fd, 0, 1, 1 | 8, wait, 24);
        expected = -ETIME;
        break;
    }
    }
    u64 took = now(t) - before;
    if (fd >= 0)
        CALL1(N_CLOSE, fd);
    /* Stop signals end some of these early (signal(7)). */
    int disturbed = t->handled != handled || may(STOPS);
    /* The kernel closes a ring later, in its task, and interrupts the task's calls. */
    disturbed |= had_ring;
    /* What the parent of an ended child blocks, or the first thread for kill(2), is queued, and another thread is woken to
     * ignore it (sig_ignored of the kernel). */
    disturbed |= has_threads() && (blocked_before || *mask_changes != mask_changes_before);
    /* So does unblocking a signal without a handler. */
    disturbed |= may(MISC) && (kind == 3 || kind == 5 || kind == 7 || kind == 8);
    /* A signal can wake one thread and be handled later by another. */
    if (result == -EINTR && !disturbed && has_threads()) {
        for (int i = 0; i < 10000 && *by_process == handled_by_process; i++)
            sleep_us(t, 1000);
        disturbed = *by_process != handled_by_process;
    }
    if (result != expected && !(disturbed && result == -EINTR))
        fail("%s returned %d", what, result);
    /* Time limits of sockets count in ticks of the kernel. */
    if (!disturbed && kind != 11 && kind != 12 && took + 100 < ms * 1000)
        fail("%s took %d us instead of %d", what, took, ms * 1000);
    if (took > 10000000)
        fail("%s took %d us instead of %d", what, took, ms * 1000);
}

/* The only caller of kill(2): a process id can be a filter's answer, and must not mean a group or every process. */
static void signal_process(struct task *t, long pid, int signal)
{
    if (pid > 0)
        CALL2(N_KILL, pid, signal);
}

static void signal_myself(struct task *t, int signal)
{
    long pid = CALL0(N_GETPID);
    if (answer(t, X86_64, N_GETPID) == SECCOMP_RET_ALLOW && !t->unpredictable)
        signal_process(t, pid, signal);
}

static void random_signal(struct task *t)
{
    static const int harmless[] = {SIGUSR1, SIGUSR2, SIGRT, SIGWINCH, SIGURG, SIGCHLD, SIGCONT};
    int signal = harmless[rnd(t, 7)];
    /* Another thread may be in execve(2), after which there are no handlers. */
    if (!t->has_handlers || (may(EXECS) && has_threads()))
        signal = harmless[3 + rnd(t, 4)];
    /* A child may have no handlers: unless deaths are allowed, it gets only ignored signals. */
    switch (rnd(t, 4)) {
    case 0: signal_myself(t, signal); break;
    case 1: CALL3(N_TGKILL, CALL0(N_GETPID), CALL0(N_GETTID), signal); break;
    case 2: CALL2(N_TKILL, CALL0(N_GETTID), signal); break;
    default:
        if (t->children) {
            u32 which = rnd(t, t->children);
            if (may(STOPS) && chance(t, 2)) {
                signal_process(t, t->child[which], SIGSTOP);
                sleep_us(t, rnd(t, 2000));
                signal_process(t, t->child[which], SIGCONT);
            } else if (may(KILLS) && chance(t, 2)) {
                signal_process(t, t->child[which], chance(t, 2) ? SIGKILL : SIGTERM);
            } else {
                signal_process(t, t->child[which], harmless[3 + rnd(t, 4)]);
            }
        }
        break;
    }
}

/* ---- tasks that create tasks ---- */

static struct task *new_task(struct task *t, int thread)
{
    u64 slot = __atomic_fetch_add(&SHARED->used, 1, __ATOMIC_SEQ_CST);
    if (slot >= TASKS)
        return 0;
    struct task *child = &SHARED->task[slot];
    child->used = 1;
    child->parent = slot_of(t);
    child->thread = thread;
    child->process = thread ? t->process : (u32)slot;
    child->random = t->random * 6364136223846793005ul + slot * 1442695040888963407ul + 1;
    child->ops = t->ops > 1 ? 1 + rnd(t, t->ops) : 1;
    child->depth = t->depth + 1;
    child->has_handlers = t->has_handlers;
    child->unpredictable = t->unpredictable;
    child->filters = t->filters;
    memcpy(child->filter, t->filter, sizeof t->filter);
    child->in_namespace = t->in_namespace;
    child->blocks = t->blocks;
    child->status = -1;
    child->tid_word = 1;
    return child;
}

/* A call that creates a task. Returns the parent's result. */
static long make(struct task *t, struct task *child, u32 abi, u32 nr, const u64 *arguments)
{
    begin(t, abi, nr);
    u64 slot = slot_of(child), stack = stack_of(slot);
    long result;
    if (abi == X86) {
        u64 wide[6];
        for (int i = 0; i < 6; i++)
            wide[i] = (arguments[i] & 0xffffffff) | junk(t);
        result = (int)spawn32(nr | junk(t), wide, slot, stack);
    } else {
        result = spawn64(nr, arguments, slot, stack);
    }
    end(t, abi, nr);
    if (result > 0)
        add(&SHARED->tasks);
    return result;
}

/* The outcome of a reaped child. */
static void reaped(struct task *t, struct task *child, int status)
{
    (void)t;
    /* With threads, it can be another one's call. */
    int by_seccomp = (status & 0x7f) == SIGSYS && !has_threads();
    int as_said = (status & 0x7f) == 0 && child->status == (status >> 8 & 0xff);
    if ((by_seccomp || as_said) && child->pending) {
        child->pending = 0;
        returned(child->begun_abi, child->begun_key);
        for (; child->credited < child->finished; child->credited++)
            returned(X86_64, N_SIGRETURN);
    } else if ((status & 0x7f) == 0 && child->status >= 0 && !as_said && !may(THREADS)) {
        fail("a child ended with status %d, not %d", (long)status, (long)child->status);
    }
}

static void wait_for(struct task *t, u32 which)
{
    int status = 0;
    long result;
    do
        result = CALL4(N_WAIT4, t->child[which], &status, 0x40000000 /* __WALL */, 0);
    while (result == -EINTR);
    if (result == t->child[which])
        reaped(t, &SHARED->task[t->child_slot[which]], status);
    else if (result != -ECHILD)
        fail("wait4 returned %d", result);
    t->children--;
    t->child[which] = t->child[t->children];
    t->child_slot[which] = t->child_slot[t->children];
}

static void forks(struct task *t)
{
    if (t->depth > 5 || t->children >= CHILDREN)
        return;
    struct task *child = new_task(t, 0);
    if (!child)
        return;
    u64 stack = stack_of(slot_of(child));
    u64 flags = 0, exit_signal = SIGCHLD;
    switch (rnd(t, 8)) {
    case 0: exit_signal = 0; break;
    case 1: exit_signal = t->has_handlers && !may(EXECS) ? SIGUSR1 : SIGWINCH; break;
    case 2: exit_signal = SIGWINCH; break;
    default: break;
    }
    if (chance(t, 4))
        flags |= 0x00002000 /* CLONE_PTRACE */;
    if (may(UNTRACED) && chance(t, 3))
        flags |= 0x00800000 /* CLONE_UNTRACED */;
    if (chance(t, 4))
        flags |= 0x00000200 /* CLONE_FS */;
    if (chance(t, 4))
        flags |= 0x00000400 /* CLONE_FILES */;
    int vfork = chance(t, 3);
    int share = may(SHARE_VM) && chance(t, 4);
    if (vfork)
        flags |= 0x00004000 | (chance(t, 2) ? 0x00000100 : 0);
    if (share)
        flags |= 0x00000100;
    int same_handlers = flags & 0x00000100 && chance(t, 3);
    if (same_handlers)
        flags |= 0x00000800 /* CLONE_SIGHAND */;
    u32 abi = may(IA32) && chance(t, 3) ? X86 : X86_64;
    long result;
    u32 kind = rnd(t, 6);
    int namespaces = may(NAMESPACES) && !t->in_namespace && chance(t, 2);
    if (namespaces && !(flags & 0x300)) {
        flags |= 0x20000000 | 0x00020000; /* CLONE_NEWPID, CLONE_NEWNS */
        child->in_namespace = 1;
        child->init = 1;
    }
    if (kind == 0 && !namespaces) {
        result = make(t, child, abi, abi == X86 ? M_FORK : N_FORK, (u64[6]){0});
    } else if (kind == 1 && !namespaces) {
        result = make(t, child, abi, abi == X86 ? M_VFORK : N_VFORK, (u64[6]){0});
    } else if (kind < 4) {
        u64 arguments[6] = {flags | exit_signal, chance(t, 2) || share ? stack : 0, 0, 0, 0, 0};
        result = make(t, child, abi, abi == X86 ? M_CLONE : N_CLONE, arguments);
    } else {
        struct clone_args clone = {.flags = flags, .exit_signal = exit_signal};
        if (chance(t, 2) || share) {
            clone.stack = stack - 4096;
            clone.stack_size = 4096;
        }
        if (chance(t, 5) && !same_handlers) {
            clone.flags |= 0x100000000ul; /* CLONE_CLEAR_SIGHAND */
            child->has_handlers = 0;
        }
        u64 arguments[6] = {(u64)&clone, sizeof clone, 0, 0, 0, 0};
        result = make(t, child, abi, abi == X86 ? M_CLONE3 : N_CLONE3, arguments);
        child = &SHARED->task[slot_of(child)];
    }
    if (result <= 0) {
        /* EAGAIN: another thread is in execve(2). ENOMEM: the init of its pid namespace ends. */
        if ((result != -EAGAIN || !may(EXECS)) && (result != -ENOMEM || !t->in_namespace))
            fail("making a process returned %d (flags %d)", result, (long)flags);
        return;
    }
    t->child[t->children] = result;
    t->child_slot[t->children] = slot_of(child);
    t->children++;
    if (SHARED->go && chance(t, 2))
        wait_for(t, t->children - 1);
}

static void join(struct task *t, u32 slot)
{
    u64 time[2] = {0, 50000000};
    struct task *thread = &SHARED->task[slot];
    while (thread->tid_word)
        CALL4(N_FUTEX, &thread->tid_word, 0, 1, time);
    if (thread->pending && thread->status >= 0) {
        thread->pending = 0;
        returned(thread->begun_abi, thread->begun_key);
    }
}

enum { THREAD_FLAGS = 0x100 | 0x200 | 0x400 | 0x800 | 0x10000 | 0x40000 | 0x200000 };

static long make_thread(struct task *t, struct task *child)
{
    u64 stack = stack_of(slot_of(child));
    u64 flags = THREAD_FLAGS | (may(UNTRACED) && chance(t, 4) ? 0x00800000 : 0) | (chance(t, 4) ? 0x2000 : 0);
    if (chance(t, 2)) {
        struct clone_args clone = {
            .flags = flags, .stack = stack - 4096, .stack_size = 4096, .child_tid = (u64)&child->tid_word,
        };
        u32 abi = may(IA32) && chance(t, 3) ? X86 : X86_64;
        return make(t, child, abi, N_CLONE3, (u64[6]){(u64)&clone, sizeof clone, 0, 0, 0, 0});
    }
    u32 abi = may(IA32) && chance(t, 3) ? X86 : X86_64;
    u64 arguments[6] = {flags, stack, 0, (u64)&child->tid_word, 0, 0};
    if (abi == X86) {
        arguments[3] = 0;
        arguments[4] = (u64)&child->tid_word;
    }
    return make(t, child, abi, abi == X86 ? M_CLONE : N_CLONE, arguments);
}

static void threads(struct task *t)
{
    if (t->depth > 5 || t->threads >= CHILDREN)
        return;
    struct task *child = new_task(t, 1);
    if (!child)
        return;
    long result = make_thread(t, child);
    if (result <= 0) {
        if (result != -EAGAIN || !may(EXECS))
            fail("making a thread returned %d", result);
        return;
    }
    t->thread_slot[t->threads++] = slot_of(child);
    if (SHARED->go && chance(t, 2))
        join(t, t->thread_slot[--t->threads]);
}

static void storms(struct task *t);
static void executes(struct task *t)
{
    if (chance(t, 3)) {
        long result = CALL3(N_EXECVE, "/there/is/nothing", 0, 0);
        if (result != -2)
            fail("execve of nothing returned %d", result);
        return;
    }
    /* Without handlers yet, the new image would be ended by a signal. */
    if (may(STORMS) && may(THREADS))
        return;
    if (t->stormy)
        storms(t);
    char slot[12];
    *put_number(slot, slot + sizeof slot - 1, slot_of(t)) = 0;
    u32 abi = may(IA32) && chance(t, 3) ? X86 : X86_64;
    u32 nr = abi == X86 ? M_EXECVEAT : N_EXECVEAT;
    t->executing = (u64)abi << 32 | nr | 1ul << 63;
    t->has_handlers = 0;
    /* Calls of the new image before it can count. */
    for (int i = 0; i < 3; i++)
        add(&SHARED->begun[X86_64][N_MMAP]);
    begin(t, abi, nr);
    long result;
    if (abi == X86) {
        u32 argv[3] = {(u32)(u64)slot, (u32)(u64)slot, 0};
        result = enter(t, X86, nr, (u64[6]){SELF_FD, (u64) "", (u64)argv, 0, 0x1000, 0});
    } else {
        u64 argv[3] = {(u64)slot, (u64)slot, 0};
        result = enter(t, X86_64, nr, (u64[6]){SELF_FD, (u64) "", (u64)argv, 0, 0x1000, 0});
    }
    end(t, abi, nr);
    t->executing = 0;
    /* EAGAIN: another thread was first. */
    if (result != -EAGAIN && result != -EINTR)
        fail("execveat returned %d", result);
    install_handlers(t);
}

static void leave(struct task *t, int with_group) __attribute__((noreturn));
static void leave(struct task *t, int with_group)
{
    t->status = 1 + slot_of(t);
    SHARED->said[t->status] = 1;
    u32 abi = may(IA32) && chance(t, 3) ? X86 : X86_64;
    u32 nr = with_group ? (abi == X86 ? M_EXIT_GROUP : N_EXIT_GROUP) : (abi == X86 ? M_EXIT : N_EXIT);
    u64 arguments[6] = {t->status, 0, 0, 0, 0, 0};
    for (;;) {
        begin(t, abi, nr);
        enter(t, abi, nr, arguments);
        fail("exit returned");
    }
}

/* ---- the rest of the operations ---- */

/* Strict mode, in its own process, which ends in it. */
static void strict(struct task *t)
{
    struct task *child = new_task(t, 0);
    if (!child)
        return;
    child->ops = -1 - rnd(t, 4);
    long result = make(t, child, X86_64, N_FORK, (u64[6]){0});
    if (result <= 0)
        return;
    int status = 0;
    long waited;
    do
        waited = CALL4(N_WAIT4, result, &status, 0x40000000, 0);
    while (waited == -EINTR);
    /* Where SIGCHLD is ignored, there is no status. */
    if (waited != result)
        return;
    int killed = child->ops <= -3;
    if (t->filters == 0 && !t->unpredictable && (status & 0x7f) != (killed ? SIGKILL : 0))
        fail("strict mode %d ended with status %d", (long)child->ops, (long)status);
    if (child->pending && (!killed || (status & 0x7f) == SIGKILL))
        returned(child->begun_abi, child->begun_key);
}

static void be_strict(struct task *t) __attribute__((noreturn));
static void be_strict(struct task *t)
{
    int kind = t->ops;
    char byte;
    long result = kind & 1 ? CALL3(N_PRCTL, 22, 1, 0) : CALL3(N_SECCOMP, 0, 0, 0);
    /* An earlier filter prevents it. */
    if (t->filters == 0 && !t->unpredictable && result != 0)
        fail("strict mode: %d", result);
    result = CALL3(N_READ, -1, &byte, 1);
    if (result != -9)
        fail("read in strict mode returned %d", result);
    if (kind <= -3) {
        if (chance(t, 2) || !may(IA32))
            CALL0(N_GETPID);
        else
            call(t, X86, 20, 0, 0, 0, 0, 0, 0);
        if (t->filters == 0 && !t->unpredictable)
            fail("strict mode let a call through");
    }
    t->status = 0;
    begin(t, X86_64, N_EXIT);
    enter64(N_EXIT, (u64[6]){0});
    for (;;)
        ;
}

/* Of the calling task. */
static void set_mask(struct task *t, u64 mask, u64 *before)
{
    u32 *changes = &SHARED->task[t->process].mask_changes;
    t->blocks |= mask != 0;
    __atomic_add_fetch(changes, 1, __ATOMIC_SEQ_CST);
    CALL4(N_SIGPROCMASK, 2, &mask, before, 8);
    t->blocks = mask != 0;
    __atomic_add_fetch(changes, 1, __ATOMIC_SEQ_CST);
}

/* Syscall user dispatch: a dispatched call does not count. */
static void dispatch(struct task *t)
{
    if (!t->has_handlers)
        return;
    /* A task that was made while a filter killed its maker inherits that SIGSYS kills (SA_IMMUTABLE). The kernel doesn't tell a
     * tracer of it; and the init of a pid namespace, if it is traced, goes on with calls that are not made. */
    struct kernel_sigaction action;
    if (CALL4(N_SIGACTION, SIGSYS, 0, &action, 8) != 0)
        return;
    /* The rt_sigreturn of another handler would be caught, too. */
    u64 before = 0;
    set_mask(t, ~(1ul << (SIGSYS - 1)), &before);
    t->selector = 0;
    if (CALL5(N_PRCTL, 59, 1, 0, 0, &t->selector) != 0)
        fail("no user dispatch");
    t->dispatching = 1;
    t->selector = 1;
    long result = may(IA32) && chance(t, 3) ? enter32(20, (u64[6]){0}) : enter64(N_GETPID, (u64[6]){0});
    if (t->dispatching != 2)
        fail("user dispatch caught nothing (%d)", result);
    t->selector = 0;
    t->dispatching = 0;
    CALL5(N_PRCTL, 59, 0, 0, 0, 0);
    set_mask(t, before, 0);
}

/* Operations that fail under a recorder: being traced, and tracing. */
static void traces(struct task *t)
{
    struct task *child = new_task(t, 0);
    if (!child)
        return;
    add(&SHARED->untold);
    child->ops = -104 - rnd(t, 2);
    long result = make(t, child, X86_64, N_FORK, (u64[6]){0});
    if (result <= 0)
        return;
    if (child->ops == -105)
        CALL4(N_PTRACE, 0x4206 /* PTRACE_SEIZE */, result, 0, 0);
    int status;
    while (CALL4(N_WAIT4, result, &status, 0x40000000, 0) == -EINTR)
        ;
}

static void be_traced(struct task *t)
{
    if (t->ops == -104)
        CALL4(N_PTRACE, 0 /* PTRACE_TRACEME */, 0, 0, 0);
    else
        sleep_us(t, 2000);
}

/* Flags of clone3 that change while a tracer reads them. */
static void flips(struct task *t)
{
    struct task *child = new_task(t, 0), *flipper = new_task(t, 1);
    if (!child || !flipper)
        return;
    struct clone_args clone = {.exit_signal = SIGCHLD};
    flipper->ops = -100;
    flipper->executing = (u64)&clone;
    long thread = make_thread(t, flipper);
    if (thread <= 0)
        return;
    long result = make(t, child, X86_64, N_CLONE3, (u64[6]){(u64)&clone, sizeof clone, 0, 0, 0, 0});
    __atomic_store_n(&flipper->executing, 0, __ATOMIC_SEQ_CST);
    join(t, slot_of(flipper));
    if (result <= 0) {
        if (result != -EAGAIN || !may(EXECS))
            fail("clone3 with changing flags returned %d", result);
        return;
    }
    t->child[t->children] = result;
    t->child_slot[t->children] = slot_of(child);
    t->children++;
    wait_for(t, t->children - 1);
}

static void be_flipper(struct task *t)
{
    volatile u64 *flags = (volatile u64 *)t->executing;
    while (__atomic_load_n(&t->executing, __ATOMIC_SEQ_CST)) {
        *flags = 0x00800000;
        for (int i = 0; i < 300; i++)
            __asm__ volatile("pause");
        *flags = 0;
        for (int i = 0; i < 300; i++)
            __asm__ volatile("pause");
    }
}

/* A thread sleeps in a call whose instruction is overwritten meanwhile; then it makes another call. */
static void rewrites(struct task *t)
{
    struct task *sleeper = new_task(t, 1);
    if (!sleeper)
        return;
    unsigned char *page = (unsigned char *)call(t, X86_64, N_MMAP, 0, 4096, 7, 0x22, -1, 0);
    static const unsigned char code[] = {
        0xb8, 0xe8, 0x00, 0x00, 0x00, 0x0f, 0x05,             /* mov $232, %eax; syscall */
        0x41, 0x89, 0xc0,                                     /* mov %eax, %r8d */
        0xb8, 0x92, 0x00, 0x00, 0x00, 0xbf, 0x01, 0x00, 0x00, /* mov $146, %eax; mov $1, %edi */
        0x00, 0x0f, 0x05, 0xc3,                               /* syscall; ret */
    };
    memcpy(page, code, sizeof code);
    sleeper->ops = -101;
    sleeper->executing = (u64)page;
    if (make_thread(t, sleeper) <= 0)
        return;
    sleep_us(t, 1000 + rnd(t, 2000));
    page[5] = page[6] = 0x90;
    CALL3(N_TGKILL, CALL0(N_GETPID), sleeper->tid, chance(t, 2) ? SIGWINCH : SIGURG);
    join(t, slot_of(sleeper));
}

static void be_sleeper(struct task *t)
{
    int fd = CALL1(N_EPOLL_CREATE, 0);
    u64 event[2];
    begin(t, X86_64, N_EPOLL_WAIT);
    begin(t, X86_64, 146);
    u32 forbidden = answer(t, X86_64, 146);
    long result = run_code((void *)t->executing, (u64[6]){fd, (u64)event, 1, 10, 0, 0});
    /* epoll_wait may or may not have begun before its instruction was overwritten. */
    end(t, X86_64, 146);
    if (forbidden == SECCOMP_RET_ALLOW && !t->unpredictable && result != 99)
        fail("after a rewritten call: %d", result);
    CALL1(N_CLOSE, fd);
}

/* A child of vfork that waits for a filter which another thread loads for all threads. */
static void vfork_tsync(struct task *t)
{
    struct task *forker = new_task(t, 1);
    if (!forker)
        return;
    forker->ops = -102;
    if (make_thread(t, forker) <= 0)
        return;
    sleep_us(t, 1000);
    struct sock_filter code[1] = {{BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW}};
    struct { u64 length; u64 code; } program = {1, (u64)code};
    CALL5(N_PRCTL, 38, 1, 0, 0, 0);
    forget_filters();
    CALL3(N_SECCOMP, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program);
    __atomic_store_n(&forker->executing, 1, __ATOMIC_SEQ_CST);
    join(t, slot_of(forker));
}

static void be_forker(struct task *t)
{
    struct task *child = new_task(t, 0);
    if (!child)
        return;
    child->ops = -103;
    long result = make(t, child, X86_64, N_VFORK, (u64[6]){0});
    int status = 0;
    if (result > 0)
        CALL4(N_WAIT4, result, &status, 0x40000000, 0);
}

static void be_vforked(struct task *t)
{
    struct task *forker = &SHARED->task[t->parent];
    for (int i = 0; i < 3000; i++) {
        if (__atomic_load_n(&forker->executing, __ATOMIC_SEQ_CST))
            return;
        sleep_us(t, 1000);
    }
    fail("a thread waits for a child that waits for it");
}

static void vsyscalls(struct task *t)
{
    /* The address isn't in the program. */
    volatile u64 base = 0xffffffffff000000ul;
    u64 address = base + 0x600000;
    u64 time[2];
    u32 nr;
    switch (rnd(t, 3)) {
    case 0: nr = 96; break;
    case 1: nr = 201; address += 0x400; break;
    default: nr = 309; address += 0x800; break;
    }
    if (answer(t, X86_64, nr) != SECCOMP_RET_ALLOW || t->unpredictable)
        return;
    begin(t, X86_64, nr);
    vsyscall(address, nr == 96 ? (u64)time : 0, 0, 0);
    end(t, X86_64, nr);
}

static void storms(struct task *t)
{
    if (!t->has_handlers)
        return;
    t->stormy ^= 1;
    set_timer(t, t->stormy ? 700 : 0, t->stormy ? 1500 : 0);
}

static void misc(struct task *t)
{
    switch (rnd(t, 6)) {
    case 0: CALL5(N_PRCTL, 4 /* PR_SET_DUMPABLE */, chance(t, 2), 0, 0, 0); break;
    case 1: CALL2(N_PRCTL, 15 /* PR_SET_NAME */, "a \nb)"); break;
    case 2: CALL2(N_PRCTL, 36 /* PR_SET_CHILD_SUBREAPER */, chance(t, 2)); break;
    case 3: {
        long mode = CALL1(N_PRCTL, 21 /* PR_GET_SECCOMP */);
        if (!t->unpredictable && mode != (t->filters ? 2 : 0))
            fail("PR_GET_SECCOMP is %d with %d filters", mode, (long)t->filters);
        break;
    }
    case 4: {
        u64 mask = chance(t, 2) ? 1ul << (SIGCHLD - 1) | 1ul << (SIGUSR1 - 1) : 0;
        set_mask(t, mask, 0);
        break;
    }
    default: {
        /* Ignored, or the default. */
        struct kernel_sigaction action = {chance(t, 2), 0x04000000, (u64)restorer, 0};
        /* Children without a wait free their ids for unrelated tasks. */
        int waits = may(KILLS) || may(STOPS);
        CALL4(N_SIGACTION, waits || chance(t, 2) ? SIGURG : SIGCHLD, &action, 0, 8);
        break;
    }
    }
}

static void hides_proc(struct task *t)
{
    if (t->in_namespace)
        CALL5(N_MOUNT, "none", "/proc", "tmpfs", 0, 0);
}

static int task_ends(struct task *t)
{
    for (u32 i = 0; i < t->threads; i++)
        if (may(ORPHANS) && chance(t, 3))
            t->thread_slot[i] = TASKS;
    while (t->threads) {
        u32 slot = t->thread_slot[--t->threads];
        if (slot < TASKS)
            join(t, slot);
    }
    while (t->children) {
        if (may(ORPHANS) && chance(t, 3))
            t->children--;
        else
            wait_for(t, t->children - 1);
    }
    return 0;
}

static void operate(struct task *t)
{
    static const struct { u32 kind, weight; void (*run)(struct task *); } operations[] = {
        {CALLS, 12, plain_call}, {FORKS, 6, forks}, {THREADS, 4, threads}, {EXECS, 2, executes}, {SIGNALS, 5, random_signal},
        {SLEEPS, 3, sleeps}, {FILTER, 3, load_filter}, {STRICT, 2, strict}, {DISPATCH, 2, dispatch}, {TRACING, 1, traces},
        {FLIPS, 3, flips}, {REWRITES, 2, rewrites}, {STORMS, 2, storms}, {VSYSCALLS, 3, vsyscalls}, {MISC, 3, misc},
        {VFORK_TSYNC, 1, vfork_tsync}, {HIDE_PROC, 2, hides_proc},
    };
    u32 total = 0, count = sizeof operations / sizeof *operations;
    for (u32 i = 0; i < count; i++)
        total += may(operations[i].kind) ? operations[i].weight : 0;
    u32 pick = rnd(t, total);
    for (u32 i = 0; i < count; i++) {
        u32 weight = may(operations[i].kind) ? operations[i].weight : 0;
        if (pick < weight) {
            operations[i].run(t);
            return;
        }
        pick -= weight;
    }
}

static void work(struct task *t) __attribute__((noreturn));
static void work(struct task *t)
{
    while (t->ops > 0) {
        t->ops--;
        operate(t);
    }
    if (t->stormy)
        set_timer(t, 0, 0);
    task_ends(t);
    if (slot_of(t) != 0 && !t->thread && may(DEATHS) && chance(t, 6))
        signal_myself(t, chance(t, 2) ? SIGTERM : SIGKILL);
    leave(t, t->thread ? may(DEATHS) && chance(t, 8) : !chance(t, 4));
}

void child_main(u32 slot)
{
    struct task *t = &SHARED->task[slot];
    t->ran = 1;
    while (!__atomic_load_n(&SHARED->go, __ATOMIC_SEQ_CST))
        __asm__ volatile("pause");
    t->tid = CALL0(N_GETTID);
    if (t->init && may(HIDE_PROC))
        CALL5(N_MOUNT, "none", "/", 0, 0x44000 /* MS_REC | MS_PRIVATE */, 0);
    switch (t->ops) {
    case -100: be_flipper(t); break;
    case -101: be_sleeper(t); break;
    case -102: be_forker(t); break;
    case -103: be_vforked(t); break;
    case -104:
    case -105: be_traced(t); break;
    default:
        if (t->ops < 0)
            be_strict(t);
        work(t);
    }
    leave(t, 0);
}

/* ---- the beginning ---- */

static u64 number(const char *text)
{
    u64 value = 0;
    while (*text >= '0' && *text <= '9')
        value = value * 10 + (*text++ - '0');
    return value;
}

/* Before the shared memory exists: counted later. */
static void must_map(u64 address, u64 size, u64 protection, u64 flags, int fd)
{
    u64 arguments[6] = {address, size, protection, flags, fd, 0};
    if ((u64)enter64(N_MMAP, arguments) != address) {
        enter64(N_EXIT_GROUP, (u64[6]){97});
        for (;;)
            ;
    }
}

void start(u64 *stack)
{
    u64 count = stack[0];
    char **argv = (char **)(stack + 1);
    u64 size = (sizeof(struct shared) + 4095) & ~4095ul;
    must_map((u64)SHARED, size, 3, 0x11 /* MAP_SHARED | MAP_FIXED */, SHARED_FD);
    must_map(STACKS, TASKS * STACK, 3, 0x4032 /* MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS | MAP_NORESERVE */, -1);
    must_map(STACKS + DECOY, TASKS * STACK, 1, 0x4032, -1);
    u32 slot = count > 2 ? 0 : number(argv[1]);
    struct task *t = &SHARED->task[slot];
    if (count > 2) {
        /* random SEED OPS MASK: the harness has the files open. */
        SHARED->seed = number(argv[1]);
        SHARED->mask = number(argv[3]);
        SHARED->used = 1;
        t->used = 1;
        t->random = SHARED->seed * 0x9e3779b97f4a7c15ul + 1;
        t->ops = number(argv[2]);
        t->status = -1;
        add(&SHARED->begun[X86_64][N_EXECVE]);
        returned(X86_64, N_EXECVE);
        add(&SHARED->tasks);
    } else if (t->executing) {
        returned(t->executing >> 32 & 3, key_of((u32)t->executing));
        t->executing = 0;
        t->pending = 0;
        t->process = slot;
        t->children = 0;
        t->threads = 0;
        t->thread = 0;
        t->stormy = 0;
    }
    for (int i = 0; i < 3; i++) {
        if (count > 2)
            add(&SHARED->begun[X86_64][N_MMAP]);
        returned(X86_64, N_MMAP);
    }
    switch_stack(slot, stack_of(slot));
}

void stack_main(u32 slot)
{
    struct task *t = &SHARED->task[slot];
    install_handlers(t);
    t->tid = CALL0(N_GETTID);
    if (!SHARED->go && slot == 0) {
        /* A process tree to attach to. */
        for (int i = 0; i < 3; i++)
            if (chance(t, 2) && may(THREADS))
                threads(t);
            else if (may(FORKS))
                forks(t);
    }
    while (!__atomic_load_n(&SHARED->go, __ATOMIC_SEQ_CST))
        __asm__ volatile("pause");
    work(t);
}
