/* Code that makes known calls is moved, discarded, replaced, copied by fork(2) or compared with its file.
 * Kernel path: any.
 * Pitfall: a jump that leads elsewhere after its half was moved or discarded; a call of new code that is taken for that of
 * the old one; a breakpoint in the memory of a child that nobody removes.
 * Machine: x86_64
 * Build: -pthread
 */
#include "workload.h"

#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

enum { OFTEN = 100, PAGE = 4096 };

typedef long call(long, long);

/* A call without the C library. */
static long raw(long number, long a, long b, long c, long d, long e)
{
    long result;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8) : "rcx", "r11", "memory");
    return result;
}

/* A function of the C library. */
static char *of_libc(const char *name)
{
    char *function = dlsym(RTLD_DEFAULT, name);
    CHECK(function != NULL);
    return function;
}

/* The pages that a short function is on. */
static char *pages_of(char *function, size_t *length)
{
    char *start = (char *)((uintptr_t)function & ~(uintptr_t)(PAGE - 1));
    *length = (((uintptr_t)function + 64) & ~(uintptr_t)(PAGE - 1)) - (uintptr_t)start + PAGE;
    return start;
}

static void call_often(void)
{
    for (int i = 0; i < OFTEN; i++) {
        CHECK(getppid() > 0 && getuid() == geteuid());
        syscall(SYS_getgid);
        char *data = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(data != MAP_FAILED && munmap(data, PAGE) == 0);
    }
}

/* Known calls are made elsewhere, where nothing of their file is around them. */
static void moved(void)
{
    static const char *names[] = {"getppid", "getuid", "geteuid", "syscall"};
    call_often();
    for (int i = 0; i < 4; i++) {
        size_t length;
        char *function = of_libc(names[i]), *start = pages_of(function, &length);
        char *copy = mmap(NULL, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(copy != MAP_FAILED);
        pid_t child = fork();
        if (child == 0) {
            /* The C library can be gone. */
            int failed = raw(SYS_mremap, (long)start, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, (long)copy) != (long)copy;
            call *elsewhere = (call *)(copy + (function - start));
            for (int n = 0; n < OFTEN; n++)
                failed |= elsewhere(SYS_sched_get_priority_max, SCHED_FIFO) < 0;
            raw(SYS_exit_group, 7 + failed, 0, 0, 0, 0);
        }
        CHECK(exit_status(child) == 7);
    }
    say("moved\n");
}

/* The kernel reads single pages of code from their file again. */
static void discarded(void)
{
    static const char *names[] = {"read", "write", "close", "getppid", "getuid", "lseek", "dup", "umask", "access", "getpgid", "alarm",
                                  "pipe", "chdir", "rmdir", "link", "unlink", "symlink", "mkdir", "kill", "getsid", "sync_file_range"};
    char *first = NULL, *last = NULL;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *function = of_libc(names[i]);
        first = first == NULL || function < first ? function : first;
        last = function > last ? function : last;
    }
    size_t length;
    first = pages_of(first, &length);
    for (char *page = first; page <= last; page += PAGE) {
        for (int i = 0; i < 10; i++) {
            CHECK(read(-1, NULL, 0) == -1 && write(-1, NULL, 0) == -1 && close(-1) == -1 && getppid() > 0 && getuid() == geteuid());
            CHECK(lseek(-1, 0, SEEK_SET) == -1 && dup(-1) == -1 && access("", F_OK) == -1 && getpgid(0) > 0);
            CHECK(chdir("") == -1 && rmdir("") == -1 && link("", "") == -1 && unlink("") == -1 && symlink("", "") == -1);
            CHECK(mkdir("", 0) == -1 && kill(0, 0) == 0 && getsid(0) >= 0);
        }
        CHECK(madvise(page, PAGE, MADV_DONTNEED) == 0);
    }
    CHECK(distinct_1() == 99);
    say("discarded\n");
}

/* Another copy of the C library comes, is called and goes; then other code is where it was. */
static void unloaded(void)
{
    call_often();
    for (int i = 0; i < 5; i++) {
        void *library = dlmopen(LM_ID_NEWLM, "libc.so.6", RTLD_NOW);
        CHECK(library != NULL);
        char *function = dlsym(library, "getppid"), *other = dlsym(library, "getuid");
        Dl_info where;
        CHECK(function != NULL && other != NULL && dladdr(function, &where) != 0);
        for (int n = 0; n < OFTEN; n++)
            CHECK(((call *)function)(0, 0) > 0);
        int file = open(where.dli_fname, O_RDONLY);
        CHECK(file >= 0 && dlclose(library) == 0);
        /* At the place of the function, code of another page of the same file. */
        size_t length;
        char *start = pages_of(function, &length);
        off_t of_other = ((other - (char *)where.dli_fbase) & ~(off_t)(PAGE - 1));
        char *now = mmap(start, 2 * PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, file, of_other);
        CHECK(now == start);
        call *moved_here = (call *)(start + ((uintptr_t)other & (PAGE - 1)));
        for (int n = 0; n < OFTEN; n++)
            CHECK(moved_here(0, 0) == getuid());
        CHECK(munmap(start, 2 * PAGE) == 0 && close(file) == 0);
        CHECK(distinct_2() == 1);
    }
    say("unloaded\n");
}

/* A copy of the C library goes by calls that are known themselves. Then data is where its code was, and stays as it is when the code is
 * restored; and it becomes other code. */
static void replaced(void)
{
    static const unsigned char code[] = {0xb8, 110, 0, 0, 0, 0x0f, 0x05, 0xc3}; /* mov $110,%eax; syscall; ret */
    call_often();
    for (int i = 0; i < 8; i++) {
        void *library = dlmopen(LM_ID_NEWLM, "libc.so.6", RTLD_NOW);
        CHECK(library != NULL);
        char *function = dlsym(library, "getuid");
        CHECK(function != NULL);
        for (int n = 0; n < OFTEN; n++)
            CHECK(((call *)function)(0, 0) == getuid());
        CHECK(dlclose(library) == 0);
        size_t length;
        unsigned char *start = (unsigned char *)pages_of(function, &length);
        CHECK(mmap(start, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == start);
        memset(start, 0x5a, length);
        pid_t child = fork();
        if (child == 0) {
            prctl(65 /* PR_SET_MDWE */, 1, 0, 0, 0);
            for (size_t n = 0; n < length; n++)
                CHECK(start[n] == 0x5a);
            _exit(5);
        }
        CHECK(exit_status(child) == 5);
        for (size_t at = 0; at + sizeof code <= length; at += sizeof code)
            memcpy(start + at, code, sizeof code);
        CHECK(mprotect(start, length, PROT_READ | PROT_EXEC) == 0);
        /* Where the library's call was, too. */
        for (size_t at = 0; at + sizeof code <= length; at += sizeof code)
            CHECK(((call *)(start + at))(0, 0) == getppid());
        child = fork();
        if (child == 0) {
            prctl(65 /* PR_SET_MDWE */, 1, 0, 0, 0);
            for (size_t n = 0; n < length; n++)
                CHECK(start[n] == code[n % sizeof code]);
            _exit(6);
        }
        CHECK(exit_status(child) == 6 && munmap(start, length) == 0);
        CHECK(distinct_3() == 0);
    }
    say("replaced\n");
}

/* How much more memory there is under a limit, for a program that has it from its start. */
static void limited(char *myself)
{
    struct rlimit limit = {1 << 30, 1 << 30}, former;
    CHECK(getrlimit(RLIMIT_AS, &former) == 0);
    if (former.rlim_cur != limit.rlim_cur) {
        CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
        execl(myself, myself, "limited", NULL);
        fail("execl: %d\n", errno);
    }
    call_often();
    char *begin = NULL;
    long size = 0;
    for (long step = 1 << 30; step >= PAGE; step /= 2) {
        char *more = mmap(NULL, step, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (more == MAP_FAILED)
            continue;
        begin = more;
        size += step;
    }
    CHECK(begin != NULL);
    say("%ld bytes under the limit\n", size);
}

static volatile int stop, running;

/* Calls that the image hasn't made yet, again and again. */
static void *makes_calls(void *argument)
{
    static const int numbers[] = {SYS_getppid, SYS_getuid, SYS_getgid, SYS_geteuid, SYS_getegid, SYS_getpgrp, SYS_sched_yield, SYS_umask,
                                  SYS_getsid,  SYS_getpid, SYS_gettid, SYS_dup,     SYS_close,   SYS_access,  SYS_chdir,       SYS_rmdir};
    add_one(&running);
    while (!stop)
        for (size_t i = 0; i < sizeof numbers / sizeof *numbers && !stop; i++) {
            syscall(numbers[i], -1, -1);
            getppid(), getuid(), getgid(), geteuid(), getegid(), getpgrp(), sched_yield(), getsid(0);
            dup(-1), close(-1), access("", F_OK), chdir(""), rmdir("");
        }
    return argument;
}

/* Children have a copy of code that is being changed. */
static void forks(char *myself, int rounds)
{
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        CHECK(pthread_create(&threads[i], NULL, makes_calls, NULL) == 0);
    spin_until(&running, 2);
    for (int i = 0; i < 8; i++) {
        pid_t child = fork();
        if (child == 0) {
            syscall(SYS_getuid, -1, -1);
            getppid(), getuid(), getgid(), geteuid(), getegid(), getpgrp(), sched_yield(), getsid(0);
            dup(-1), close(-1), access("", F_OK), chdir(""), rmdir("");
            _exit(distinct_3() == 0 ? 3 : 4);
        }
        int status = exit_status(child);
        if (status != 3)
            fail("a child ended with %d\n", status);
    }
    stop = 1;
    for (int i = 0; i < 2; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    if (rounds == 0) {
        say("forks\n");
        return;
    }
    /* A new image knows no call. */
    char left[16];
    snprintf(left, sizeof left, "%d", rounds - 1);
    execl(myself, myself, "forks", left, NULL);
    fail("execl: %d\n", errno);
}

/* The code that was mapped without write permission can't get one, and no memory becomes code, but the known calls go on. */
static void mdwe(void)
{
    CHECK(prctl(65 /* PR_SET_MDWE */, 1, 0, 0, 0) == 0);
    call_often();
    pid_t child = fork();
    if (child == 0) {
        call_often();
        execl("/proc/self/exe", "known_code", "often", NULL);
        _exit(1);
    }
    CHECK(exit_status(child) == 0);
    CHECK(mmap(NULL, PAGE, PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED && errno == EACCES);
    CHECK(distinct_1() == 99);
    say("mdwe\n");
}

static int steps;

static void step(int signal, siginfo_t *info, void *context)
{
    (void)signal, (void)info, (void)context;
    steps++;
}

/* Every instruction of a known call ends with SIGTRAP (the trap flag). */
static void stepped(void)
{
    enum { TRAP_FLAG = 0x100 };
    call_often();
    struct sigaction action = {.sa_sigaction = step, .sa_flags = SA_SIGINFO};
    CHECK(sigaction(SIGTRAP, &action, NULL) == 0);
    __asm__ volatile("pushf; orl %0, (%%rsp); popf" : : "i"(TRAP_FLAG) : "memory", "cc");
    pid_t parent = getppid();
    __asm__ volatile("pushf; andl %0, (%%rsp); popf" : : "i"(~TRAP_FLAG) : "memory", "cc");
    CHECK(parent == getppid());
    say("stepped %d\n", steps);
}

int main(int argc, char **argv)
{
    CHECK(argc >= 2);
    if (strcmp(argv[1], "moved") == 0)
        moved();
    else if (strcmp(argv[1], "discarded") == 0)
        discarded();
    else if (strcmp(argv[1], "unloaded") == 0)
        unloaded();
    else if (strcmp(argv[1], "replaced") == 0)
        replaced();
    else if (strcmp(argv[1], "limited") == 0)
        limited(argv[0]);
    else if (strcmp(argv[1], "mdwe") == 0)
        mdwe();
    else if (strcmp(argv[1], "stepped") == 0)
        stepped();
    else if (strcmp(argv[1], "often") == 0)
        call_often();
    else if (strcmp(argv[1], "forks") == 0)
        forks(argv[0], argc > 2 ? atoi(argv[2]) : 20);
    else
        return 1;
    return 0;
}
