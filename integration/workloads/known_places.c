/* Code of the workload at addresses and in memory where known calls aren't expected: at the addresses from which the recording
 * filter allows calls, in pages that are written to, and behind a jump to a call itself.
 * Kernel path: any.
 * Pitfall: a call that isn't recorded since the filter takes it for a known one; another call than that whose number is in eax.
 * Machine: x86_64
 * Build: -pthread
 */
#include "workload.h"

#include <dlfcn.h>
#include <sys/mman.h>

enum { OFTEN = 100, PAGE = 4096, WINDOW = 1 << 18 };

typedef long call(long, long);

static void call_often(void)
{
    for (int i = 0; i < OFTEN; i++) {
        CHECK(getppid() >= 0 && getuid() == geteuid());
        syscall(SYS_getgid);
        char *data = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(data != MAP_FAILED && munmap(data, PAGE) == 0);
    }
}

/* A call with a number in eax: 0f 05, and ret. */
static long call_at(void *place, long number, long argument)
{
    long result;
    __asm__ volatile("sub $128, %%rsp\n\tcall *%[place]\n\tadd $128, %%rsp"
                     : "=a"(result), "+D"(argument)
                     : "a"(number), [place] "r"(place)
                     : "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "memory");
    return result;
}

/* Where the C library's calls would go, if that is free but for what the recorder put there. */
static char *window(char *myself)
{
    unsigned long start, end, wanted = ((unsigned long)dlsym(RTLD_DEFAULT, "getppid") & ~0x7ffffffful) + 0x70000000;
    for (char *line = strtok(text_of("/proc/self/maps"), "\n"); line != NULL; line = strtok(NULL, "\n")) {
        char mode[5];
        unsigned long inode;
        CHECK(sscanf(line, "%lx-%lx %4s %*x %*s %lu", &start, &end, mode, &inode) == 4);
        if (start < wanted + WINDOW && wanted < end && !(start == wanted && end == wanted + WINDOW && inode == 0 && strcmp(mode, "r-xp") == 0)) {
            /* The kernel put a library or the stack there: with other addresses, it doesn't. */
            execl(myself, myself, "window", NULL);
            fail("execl: %d\n", errno);
        }
    }
    return (char *)wanted;
}

/* A file with a call where the filter allows one of this number. */
static int code_for(long number)
{
    static const char code[] = {0x0f, 0x05, (char)0xc3};
    int fd = memfd_create("code", 0);
    CHECK(fd >= 0 && ftruncate(fd, WINDOW) == 0);
    CHECK(pwrite(fd, code, sizeof code, number * 32 + 17) == sizeof code);
    return fd;
}

/* Data and code at the addresses from which known calls are made. */
static void at_window(char *myself)
{
    static const long numbers[] = {SYS_sched_get_priority_max, SYS_sched_get_priority_min, SYS_sched_getscheduler, SYS_alarm};
    static const long results[] = {99, 1, 0, 0};
    char *place = window(myself);
    for (int way = 0; way < 5; way++) {
        pid_t child = fork();
        if (child != 0) {
            CHECK(exit_status(child) == 20 + way);
            continue;
        }
        call_often();
        long number = numbers[way % 4], argument = way < 2 || way == 4 ? SCHED_FIFO : 0;
        int fd = code_for(number);
        char *code = place;
        if (way == 0) {
            code = mmap(place, WINDOW, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, fd, 0);
        } else if (way == 1) {
            code = mmap(place, WINDOW, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, fd, 0);
            code[0] = 1;
            CHECK(mprotect(code, WINDOW, PROT_READ | PROT_EXEC) == 0);
        } else if (way == 2) {
            char *elsewhere = mmap(NULL, WINDOW, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
            code = mremap(elsewhere, WINDOW, WINDOW, MREMAP_MAYMOVE | MREMAP_FIXED, place);
        } else if (way == 3) {
            /* The addresses repeat. */
            code = mmap(place - (2ul << 31), WINDOW, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED_NOREPLACE, fd, 0);
            if (code == MAP_FAILED)
                code = mmap(place - (3ul << 31), WINDOW, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED_NOREPLACE, fd, 0);
        } else {
            /* Data, and the call is made elsewhere. */
            char *data = mmap(place, WINDOW, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS, -1, 0);
            CHECK(data == place);
            memset(data, 0xc3, WINDOW);
            code = mmap(NULL, WINDOW, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
        }
        CHECK(code != MAP_FAILED && close(fd) == 0);
        CHECK(call_at(code + number * 32 + 17, number, argument) == results[way % 4]);
        call_often();
        _exit(20 + way);
    }
    say("window\n");
}

/* Code that is written, called often, and written again. */
static void written(void)
{
    static const unsigned char code[] = {0xb8, SYS_getppid, 0, 0, 0, 0x0f, 0x05, 0xc3};
    for (int way = 0; way < 3; way++) {
        int fd = memfd_create("code", 0);
        CHECK(fd >= 0 && ftruncate(fd, PAGE) == 0);
        int flags = way == 0 ? MAP_PRIVATE : MAP_SHARED;
        int execute = way == 2 ? PROT_READ | PROT_EXEC : PROT_READ | PROT_WRITE | PROT_EXEC;
        unsigned char *run = mmap(NULL, PAGE, execute, flags, fd, 0);
        unsigned char *write = way == 2 ? mmap(NULL, PAGE, PROT_READ | PROT_WRITE, flags, fd, 0) : run;
        CHECK(run != MAP_FAILED && write != MAP_FAILED && close(fd) == 0);
        memcpy(write, code, sizeof code);
        for (int i = 0; i < OFTEN; i++)
            CHECK(((call *)run)(0, 0) == getppid());
        CHECK(memcmp(run, code, sizeof code) == 0);
        write[1] = way == 0 ? SYS_sched_get_priority_max : way == 1 ? SYS_sched_get_priority_min : SYS_sched_getscheduler;
        CHECK(((call *)run)(way == 2 ? 0 : SCHED_FIFO, 0) == (way == 0 ? 99 : way == 1 ? 1 : 0));
    }
    say("written\n");
}

/* Calls with no padding near them. */
__asm__(".pushsection .text\n"
        ".type before_calls,@function\n"
        "before_calls: .cfi_startproc\n .skip 300, 0x90\n .p2align 6, 0x90\n ret\n .cfi_endproc\n .size before_calls, . - before_calls\n"
        ".type its_group,@function\n"
        "its_group: .cfi_startproc\n mov $104, %eax\n"
        "its_groups_call: syscall\n ret\n .cfi_endproc\n .size its_group, . - its_group\n"
        ".type its_parent,@function\n"
        "its_parent: .cfi_startproc\n mov $110, %eax\n"
        "its_parents_call: syscall\n ret\n .cfi_endproc\n .size its_parent, . - its_parent\n"
        ".type its_user,@function\n"
        "its_user: .cfi_startproc\n test %edi, %edi\n jne 1f\n mov $102, %eax\n 0: syscall\n ret\n"
        "1: mov $147, %eax\n jmp 0b\n .cfi_endproc\n .size its_user, . - its_user\n"
        ".type after_calls,@function\n"
        "after_calls: .cfi_startproc\n .skip 300, 0x90\n mov $145, %eax\n jmp its_parents_call\n .cfi_endproc\n"
        ".size after_calls, . - after_calls\n"
        ".popsection");
extern long its_group(void), its_parent(void), its_user(int), after_calls(int);
extern char its_groups_call[];

/* Jumps to a known call with another number in eax: within its function, from another one, and by a pointer. */
static void jumped_to(void)
{
    for (int i = 0; i < OFTEN; i++)
        CHECK(its_group() == getgid() && its_parent() == getppid() && its_user(0) == getuid());
    CHECK(call_at(its_groups_call, SYS_sched_get_priority_max, SCHED_FIFO) == 99);
    CHECK(its_user(SCHED_FIFO) == 1);
    CHECK(after_calls(0) == 0);
    for (int i = 0; i < OFTEN; i++)
        CHECK(its_group() == getgid() && call_at(its_groups_call, SYS_getuid, 0) == getuid());
    say("jumped\n");
}

/* A filter under which no memory becomes code, loaded before most calls are known, and calls that were known before. */
static void denied(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mmap, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, PROT_EXEC, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EACCES),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    for (int i = 0; i < OFTEN; i++)
        CHECK(getppid() >= 0);
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0);
    call_often();
    pid_t child = fork();
    if (child == 0) {
        call_often();
        CHECK(distinct_1() == 99);
        _exit(3);
    }
    CHECK(exit_status(child) == 3);
    CHECK(mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED && errno == EACCES);
    CHECK(distinct_2() == 1);
    say("denied\n");
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    if (strcmp(argv[1], "window") == 0)
        at_window(argv[0]);
    else if (strcmp(argv[1], "written") == 0)
        written();
    else if (strcmp(argv[1], "jumped-to") == 0)
        jumped_to();
    else if (strcmp(argv[1], "denied") == 0)
        denied();
    else
        return 1;
    return 0;
}
