/* A signal arrives at each instruction of known calls: by a breakpoint of the processor, before the instruction is executed.
 * Kernel path: perf_event_open(2), `PERF_TYPE_BREAKPOINT`: kill_fasync() sends the signal of F_SETSIG from the breakpoint's
 * interrupt.
 * Pitfall: handlers that see addresses, or registers, that are no part of the workload; a call that is made twice, not at all or
 * with another number after the signal or after a stop by it.
 * Machine: x86_64
 * Build: -pthread
 */
#include "workload.h"

#include <linux/hw_breakpoint.h>
#include <linux/perf_event.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <ucontext.h>

enum { OFTEN = 20, CHUNK = 32, AROUND = 96, MOST = 128 };

/* A call without the C library, from here. */
static long raw(long number, long a, long b, long c, long d, long e)
{
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8) : "rcx", "r11", "memory");
    return result;
}

static int ends[2];
static pid_t parent;
static struct timespec moment = {0, 1000};

static void gets_parent(void) { CHECK(getppid() == parent); }

static void reads(void)
{
    char byte = 'r', got = 0;
    CHECK(raw(SYS_write, ends[1], (long)&byte, 1, 0, 0) == 1);
    CHECK(read(ends[0], &got, 1) == 1 && got == 'r');
}

static void sleeps(void)
{
    /* A handler ends it early. */
    CHECK(nanosleep(&moment, NULL) == 0 || errno == EINTR);
}

/* One instruction, two numbers that become known and one that never does. */
static void calls(void)
{
    CHECK(syscall(SYS_getppid) == parent && syscall(SYS_umask, 022) == 022);
    CHECK(syscall(SYS_prctl, PR_GET_DUMPABLE, 0, 0, 0, 0) == 1);
}

/* A call with no padding near it, whose number is set before the instruction that makes room for a jump. */
__asm__(".pushsection .text\n .p2align 6, 0x90\n"
        ".type before_it,@function\n"
        "before_it: .cfi_startproc\n .skip 319, 0x90\n ret\n .cfi_endproc\n .size before_it, . - before_it\n"
        ".type sets_mask,@function\n"
        "sets_mask: .cfi_startproc\n mov %edi, %eax\n mov $0x12, %edi\n syscall\n ret\n .cfi_endproc\n .size sets_mask, . - sets_mask\n"
        ".type after_it,@function\n"
        "after_it: .cfi_startproc\n .skip 300, 0x90\n ret\n .cfi_endproc\n .size after_it, . - after_it\n"
        ".popsection");
extern long sets_mask(unsigned number);

static void moves(void)
{
    CHECK(sets_mask(SYS_umask) == 022 && sets_mask(SYS_umask) == 022 && sets_mask(SYS_getppid) == parent);
}

static const struct {
    void (*call)(void);
    void *function;
    /* The function that the C library's one may call. */
    void *inner;
    unsigned numbers[2];
} cases[] = {
    {gets_parent, getppid, getppid, {SYS_getppid, SYS_getppid}},
    {reads, read, read, {SYS_read, SYS_read}},
    {sleeps, nanosleep, clock_nanosleep, {SYS_clock_nanosleep, SYS_nanosleep}},
    {calls, syscall, syscall, {SYS_getppid, SYS_umask}},
    {moves, sets_mask, sets_mask, {SYS_umask, SYS_getppid}},
};

static volatile int handled, strange;
static const unsigned char *function, *inner;

static int is_near(const unsigned char *start, unsigned long place)
{
    return place >= (unsigned long)start && place < (unsigned long)start + AROUND;
}

static void handler(int signal, siginfo_t *info, void *context)
{
    (void)signal, (void)info;
    unsigned long place = ((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
    unsigned long rcx = ((ucontext_t *)context)->uc_mcontext.gregs[REG_RCX];
    if (!is_near(function, place) && !is_near(inner, place))
        add_one(&strange);
    /* The instruction after a call: its address is in rcx, too. */
    unsigned char *before = (unsigned char *)place - 2;
    if (before[0] == 0x0f && before[1] == 0x05 && rcx != place)
        add_one(&strange);
    add_one(&handled);
}

/* Makes the call of a case with a breakpoint at an address that sends a signal to this thread, once: the signal can send the
 * thread back there. */
static void call_with_breakpoint(size_t of, unsigned long address, int signal)
{
    struct perf_event_attr event = {
        .size = sizeof event,
        .type = PERF_TYPE_BREAKPOINT,
        .bp_type = HW_BREAKPOINT_X,
        .bp_addr = address,
        .bp_len = sizeof(long),
        .sample_period = 1,
        .wakeup_events = 1,
        .exclude_kernel = 1,
        .exclude_hv = 1,
        .disabled = 1,
    };
    struct f_owner_ex owner = {F_OWNER_TID, raw(SYS_gettid, 0, 0, 0, 0, 0)};
    int breakpoint = raw(SYS_perf_event_open, (long)&event, 0, -1, -1, 0);
    if (breakpoint < 0) {
        say("no breakpoints\n");
        _exit(0);
    }
    CHECK(raw(SYS_fcntl, breakpoint, F_SETOWN_EX, (long)&owner, 0, 0) == 0);
    CHECK(raw(SYS_fcntl, breakpoint, F_SETSIG, signal, 0, 0) == 0 && raw(SYS_fcntl, breakpoint, F_SETFL, O_ASYNC, 0, 0) == 0);
    CHECK(raw(SYS_ioctl, breakpoint, PERF_EVENT_IOC_REFRESH, 1, 0, 0) == 0);
    cases[of].call();
    CHECK(raw(SYS_close, breakpoint, 0, 0, 0, 0) == 0);
}

/* Where code of a case can be: the function itself, the padding around it, and code in no file where known calls are made. */
static size_t places_of(size_t of, unsigned long *places)
{
    static char text[1 << 15];
    size_t length = 0, count = 0, reached = 0;
    ssize_t got;
    int fd = raw(SYS_openat, AT_FDCWD, (long)"/proc/self/maps", O_RDONLY, 0, 0);
    CHECK(fd >= 0);
    while ((got = raw(SYS_read, fd, (long)(text + length), sizeof text - 1 - length, 0, 0)) > 0)
        length += got;
    text[length] = 0;
    CHECK(raw(SYS_close, fd, 0, 0, 0, 0) == 0);
    static unsigned long all[4096];
    for (int i = 0; i < 2; i++) {
        const unsigned char *start = i == 0 ? function : inner;
        for (long at = i == 0 || inner != function ? -64 : AROUND; at < AROUND; at++)
            all[count++] = (unsigned long)start + at;
    }
    size_t first_chunk = count;
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        unsigned long start, end, inode;
        char mode[5];
        if (sscanf(line, "%lx-%lx %4s %*x %*s %lu", &start, &end, mode, &inode) != 4 || inode != 0)
            continue;
        if ((start & 0x7fffffff) != 0x70000000 || strcmp(mode, "r-xp") != 0)
            continue;
        for (unsigned long at = start; at < end; at += CHUNK) {
            unsigned number = at / CHUNK % 512;
            const unsigned char *code = (const unsigned char *)at;
            if ((number == cases[of].numbers[0] || number == cases[of].numbers[1]) && code[17] == 0x0f && code[18] == 0x05)
                for (int i = 0; i < CHUNK && count < sizeof all / sizeof *all; i++)
                    all[count++] = at + i;
        }
    }
    size_t of_chunks = 0;
    for (size_t i = 0; i < count; i++) {
        handled = 0;
        call_with_breakpoint(of, all[i], SIGUSR1);
        if (handled > 0) {
            CHECK(reached < MOST);
            places[reached++] = all[i];
            of_chunks += i >= first_chunk;
        }
    }
    /* Or nothing is tested. */
    const char *when = getenv("SC_RECORD_TEST_FAST_PATH");
    CHECK(when == NULL || strcmp(when, "at once") != 0 || of_chunks >= 4);
    return reached;
}

/* Continues its parent, whenever that is stopped. */
static pid_t continues(void)
{
    pid_t myself = getpid(), child = fork();
    CHECK(child >= 0);
    if (child != 0)
        return child;
    for (;;) {
        struct timespec pause = {0, 300000};
        nanosleep(&pause, NULL);
        if (kill(myself, SIGCONT) != 0)
            _exit(1);
    }
}

int main(void)
{
    /* Handled, handled by a handler that restarts calls, ignored by default and by choice, and a stop. */
    static const int signals[] = {SIGUSR1, SIGUSR2, SIGWINCH, SIGALRM, SIGSTOP};
    struct sigaction handles = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
    CHECK(sigaction(SIGUSR1, &handles, NULL) == 0);
    handles.sa_flags |= SA_RESTART;
    CHECK(sigaction(SIGUSR2, &handles, NULL) == 0 && signal(SIGALRM, SIG_IGN) != SIG_ERR);
    CHECK(pipe(ends) == 0);
    parent = getppid();
    umask(022);
    /* A stop can make the kernel call it. */
    CHECK(raw(SYS_restart_syscall, 0, 0, 0, 0, 0) == -EINTR);
    int strange_ones = 0;
    for (size_t of = 0; of < sizeof cases / sizeof *cases; of++) {
        unsigned long places[MOST];
        function = cases[of].function, inner = cases[of].inner;
        for (int i = 0; i < OFTEN; i++)
            cases[of].call();
        size_t count = places_of(of, places);
        CHECK(count >= 2);
        pid_t child = continues();
        for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
            int is_handled = signals[i] == SIGUSR1 || signals[i] == SIGUSR2;
            size_t reached = 0;
            for (size_t place = 0; place < count; place++) {
                handled = strange = 0;
                call_with_breakpoint(of, places[place], signals[i]);
                CHECK(is_handled || handled == 0);
                reached += handled > 0;
                strange_ones += strange;
            }
            /* Which way a call takes can differ: a signal may interrupt it. */
            CHECK(!is_handled || reached >= count / 2);
        }
        CHECK(kill(child, SIGKILL) == 0 && exit_status(child) == 128 + SIGKILL);
    }
    CHECK(distinct_1() == 99 && distinct_2() == 1);
    say("steps, %d strange\n", strange_ones);
    return 0;
}
