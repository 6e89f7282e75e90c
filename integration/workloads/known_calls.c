/* Makes calls so often that they are known, and then what a change of its code could get wrong.
 * Kernel path: any.
 * Pitfall: a call that isn't recorded since its number or place is taken for known; addresses, flags, registers or memory
 * that show the change.
 * Machine: x86_64
 * Build: -pthread
 */
#include "workload.h"

#include <dlfcn.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <ucontext.h>

enum { OFTEN = 100 };

/* The mapping with an address; its first line if the address is 0 and the mapping is anonymous code. */
static int find_mapping(unsigned long address, unsigned long *start, unsigned long *end, int *has_file)
{
    for (char *line = strtok(text_of("/proc/self/maps"), "\n"); line != NULL; line = strtok(NULL, "\n")) {
        char mode[5];
        unsigned long inode;
        if (sscanf(line, "%lx-%lx %4s %*x %*s %lu", start, end, mode, &inode) != 4)
            continue;
        *has_file = inode != 0;
        if (address != 0 ? *start <= address && address < *end : inode == 0 && strcmp(mode, "r-xp") == 0 && strchr(line, '[') == NULL)
            return 1;
    }
    return 0;
}

static void call_often(void)
{
    for (int i = 0; i < OFTEN; i++) {
        getppid();
        syscall(SYS_getuid);
        syscall(SYS_getgid);
    }
}

/* The number is in eax, and nothing else of rax counts; flags and the red zone stay; the address after the call
 * is in rcx. */
static void registers(void)
{
    for (int i = 0; i < OFTEN; i++) {
        unsigned long result, flags, red = 0x1234567890abcdef, kept;
        __asm__ volatile("mov %[red], -8(%%rsp)\n\tmov %[red], -120(%%rsp)\n\tstc\n\tsyscall\n\tpushfq\n\tpop %[flags]\n\tsub $8, %%rsp\n\t"
                         "add $8, %%rsp\n\tmov -120(%%rsp), %[kept]"
                         : "=a"(result), [flags] "=r"(flags), [kept] "=r"(kept)
                         : "a"(0x5555555500000000ul | SYS_getppid), [red] "r"(red)
                         : "rcx", "r11", "memory");
        CHECK(result == (unsigned long)getppid() && (flags & 1) == 1 && kept == red);
        unsigned long function = (unsigned long)dlsym(RTLD_DEFAULT, "getppid"), after;
        __asm__ volatile("sub $128, %%rsp\n\tcall *%[function]\n\tadd $128, %%rsp"
                         : "=a"(result), "=c"(after)
                         : [function] "r"(function)
                         : "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "memory");
        CHECK(function < after && after < function + 64);
    }
    /* One instruction, many numbers; some of them name no call. */
    static const long numbers[] = {SYS_getppid, SYS_getuid, -5, 100000, SYS_getgid, 0x40000000 | SYS_getppid, 511, SYS_getegid};
    for (int i = 0; i < OFTEN; i++)
        for (size_t n = 0; n < sizeof numbers / sizeof *numbers; n++) {
            long result = syscall(numbers[n]);
            CHECK(n == 2 || n == 3 || n == 5 || n == 6 ? result == -1 && errno == ENOSYS : result >= 0);
        }
    CHECK(distinct_1() == 99 && distinct_2() == 1);
    say("registers\n");
}

/* Jumps to wherever known calls are made, with another number. */
static void jumps(void)
{
    unsigned long start, end;
    int has_file;
    call_often();
    if (find_mapping(0, &start, &end, &has_file)) {
        unsigned char present[1024];
        for (unsigned long page = start; page < end; page += 4096) {
            for (unsigned long at = page; at < page + 4096; at += 32) {
                memcpy(present, (void *)at, 32);
                unsigned known = at / 32 % 512;
                if (present[17] != 0x0f || present[18] != 0x05)
                    continue;
                /* These return at once. */
                if (known != SYS_getppid && known != SYS_getuid && known != SYS_getgid)
                    continue;
                long result;
                int nr = at % 64 ? SYS_sched_get_priority_max : SYS_sched_get_priority_min;
                __asm__ volatile("sub $128, %%rsp\n\tcall *%[to]\n\tadd $128, %%rsp"
                                 : "=a"(result)
                                 : "a"(nr), "D"(SCHED_FIFO), [to] "r"(at + 17)
                                 : "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "memory");
                CHECK(result == 99 || result == 1);
            }
        }
    }
    CHECK(distinct_1() == 99 && distinct_2() == 1);
    say("jumps\n");
}

/* Takes away, replaces and makes writable what is behind known calls. */
static void maps(void)
{
    unsigned long start, end;
    int has_file;
    call_often();
    pid_t child = fork();
    if (child == 0) {
        CHECK(find_mapping((unsigned long)dlsym(RTLD_DEFAULT, "getppid"), &start, &end, &has_file) && has_file);
        CHECK(mprotect((void *)start, end - start, PROT_READ | PROT_WRITE | PROT_EXEC) == 0);
        call_often();
        CHECK(mprotect((void *)start, end - start, PROT_READ | PROT_EXEC) == 0);
        CHECK(distinct_1() == 99);
        _exit(0);
    }
    CHECK(exit_status(child) == 0);
    while (find_mapping(0, &start, &end, &has_file))
        CHECK(munmap((void *)start, end - start) == 0);
    call_often();
    CHECK(distinct_2() == 1);
    say("maps\n");
}

static volatile int stop, running;
static int pipe_ends[2];

static void *sleeps_in_call(void *argument)
{
    char byte = 0;
    add_one(&running);
    CHECK(read(pipe_ends[0], &byte, 1) == 1 && byte == 's');
    return argument;
}

static void *goes_on_calling(void *argument)
{
    add_one(&running);
    while (!stop)
        CHECK(getppid() >= 0);
    return argument;
}

/* Takes away what is behind known calls while threads make them. */
static void taken(void)
{
    unsigned long start, end;
    int has_file;
    char byte = 's';
    pthread_t threads[2];
    CHECK(pipe(pipe_ends) == 0);
    for (int i = 0; i < OFTEN; i++)
        CHECK(write(pipe_ends[1], &byte, 1) == 1 && read(pipe_ends[0], &byte, 1) == 1 && getppid() >= 0);
    CHECK(pthread_create(&threads[0], NULL, sleeps_in_call, NULL) == 0);
    CHECK(pthread_create(&threads[1], NULL, goes_on_calling, NULL) == 0);
    spin_until(&running, 2);
    sleep_ms(20);
    while (find_mapping(0, &start, &end, &has_file))
        CHECK(munmap((void *)start, end - start) == 0);
    sleep_ms(20);
    CHECK(write(pipe_ends[1], &byte, 1) == 1);
    stop = 1;
    CHECK(pthread_join(threads[0], NULL) == 0 && pthread_join(threads[1], NULL) == 0);
    CHECK(distinct_2() == 1);
    say("taken\n");
}

static volatile int signals, strange;

/* Whether an address is where code for known calls can be, and in no file. */
static int is_strange(unsigned long address)
{
    Dl_info where;
    return dladdr((void *)address, &where) == 0 && (address & 0x7ff00000) == 0x70000000;
}

static void on_signal(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    (void)info;
    add_one(&signals);
    if (is_strange(((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP]))
        add_one(&strange);
}

static volatile int done, joining;

static void *calls_much(void *argument)
{
    for (int i = 0; i < 100; i++) {
        char byte = 0;
        int ends[2];
        struct stat status;
        CHECK(getppid() >= 0);
        CHECK(pipe(ends) == 0 && write(ends[1], &byte, 1) == 1);
        CHECK(read(ends[0], &byte, 1) == 1);
        CHECK(close(ends[0]) == 0 && close(ends[1]) == 0);
        CHECK(syscall(SYS_getuid) == getuid() && geteuid() == getuid());
        CHECK(lseek(-1, 0, SEEK_SET) == -1 && errno == EBADF);
        CHECK(access("/", F_OK) == 0 && umask(022) <= 0777);
        sched_yield();
        CHECK(getgid() == getegid() && getpgid(0) == getpgrp() && getsid(0) >= 0 && kill(getpid(), 0) == 0);
        CHECK(dup(-1) == -1 && fsync(-1) == -1 && fchdir(-1) == -1 && ftruncate(-1, 0) == -1 && fstat(-1, &status) == -1);
        CHECK(fchmod(-1, 0) == -1 && fchown(-1, 0, 0) == -1 && fdatasync(-1) == -1 && errno == EBADF);
        CHECK(chdir("") == -1 && rmdir("") == -1 && unlink("") == -1 && link("", "") == -1 && symlink("", "") == -1);
        CHECK(mkdir("", 0) == -1 && rename("", "") == -1 && readlink("", &byte, 1) == -1 && chmod("", 0) == -1 && errno == ENOENT);
    }
    add_one(&done);
    outlast(&joining);
    return argument;
}

/* Handlers see addresses of files only, whatever they interrupt. */
static void handlers(void)
{
    pthread_t threads[6];
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART};
    struct itimerval often = {{0, 500}, {0, 500}}, never = {{0, 0}, {0, 0}};
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
    for (int i = 0; i < 6; i++)
        CHECK(pthread_create(&threads[i], NULL, calls_much, NULL) == 0);
    spin_until(&done, 6);
    CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
    add_one(&joining);
    for (int i = 0; i < 6; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(signals > 0);
    say("handlers, %d strange addresses\n", strange);
}

static volatile int trapped, elsewhere;

static void on_sys(int signal, siginfo_t *info, void *context)
{
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    (void)signal;
    trapped++;
    if ((greg_t)info->si_call_addr != registers[REG_RIP] || is_strange(registers[REG_RIP]))
        elsewhere++;
    registers[REG_RAX] = 4242;
}

/* A filter of its own traps calls that are known. */
static void filter(void)
{
    struct sigaction action = {.sa_sigaction = on_sys, .sa_flags = SA_SIGINFO};
    call_often();
    CHECK(sigaction(SIGSYS, &action, NULL) == 0);
    CHECK(own_filter(SYS_getuid, SECCOMP_RET_TRAP, 0) == 0);
    for (int i = 0; i < OFTEN; i++)
        CHECK(syscall(SYS_getuid) == 4242 && getppid() >= 0);
    CHECK(distinct_1() == 99);
    say("filter, trapped %d, elsewhere %d\n", trapped, elsewhere);
}

/* Calls from a part of the code only are allowed. */
static void dispatch(void)
{
    unsigned long start, end;
    int has_file;
    struct sigaction action = {.sa_sigaction = on_sys, .sa_flags = SA_SIGINFO};
    call_often();
    CHECK(sigaction(SIGSYS, &action, NULL) == 0);
    CHECK(find_mapping((unsigned long)dlsym(RTLD_DEFAULT, "getppid"), &start, &end, &has_file) && has_file);
    CHECK(prctl(59, 1, start, end - start, 0) == 0);
    call_often();
    CHECK(distinct_1() == 99);
    CHECK(prctl(59, 0, 0, 0, 0) == 0);
    say("dispatch, trapped %d\n", trapped);
}

static int count_up(void *argument)
{
    call_often();
    CHECK(distinct_3() >= 0);
    return *(int *)argument;
}

/* Tasks with the same and with a copied memory know what their maker knew, and no more. */
static void tasks(void)
{
    static char stack[1 << 16];
    int seven = 7;
    call_often();
    for (int i = 0; i < 5; i++) {
        pid_t child = clone(count_up, stack + sizeof stack, CLONE_VM | SIGCHLD, &seven);
        CHECK(child > 0 && exit_status(child) == 7);
        child = fork();
        if (child == 0) {
            call_often();
            CHECK(distinct_1() == 99);
            _exit(8);
        }
        CHECK(exit_status(child) == 8);
        child = vfork();
        if (child == 0) {
            getppid();
            syscall(SYS_sched_get_priority_min, SCHED_FIFO);
            _exit(9);
        }
        CHECK(exit_status(child) == 9);
    }
    say("tasks\n");
}

/* Sleeps last as long as asked for, whatever stops them and wherever they began. */
static void sleeps(void)
{
    struct timespec moment = {0, 1000000}, left = {0, 300000000};
    for (int i = 0; i < OFTEN; i++)
        nanosleep(&moment, NULL);
    pid_t parent = getpid(), child = fork();
    if (child == 0) {
        for (int i = 0; i < 4; i++) {
            sleep_ms(30);
            kill(parent, SIGWINCH);
        }
        _exit(0);
    }
    long before = now_ms();
    CHECK(nanosleep(&left, NULL) == 0);
    long lasted = now_ms() - before;
    CHECK(lasted >= 299 && lasted < 1500);
    CHECK(exit_status(child) == 0);
    say("sleeps\n");
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } all[] = {
        {"registers", registers}, {"jumps", jumps},       {"maps", maps},   {"handlers", handlers},
        {"filter", filter},       {"dispatch", dispatch}, {"tasks", tasks}, {"sleeps", sleeps}, {"taken", taken},
    };
    CHECK(argc == 2);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (strcmp(argv[1], all[i].name) == 0)
            all[i].run();
    return 0;
}
