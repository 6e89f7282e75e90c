/* Code of the workload at addresses and in memory where known calls aren't expected: at the addresses from which the recording
 * filter allows calls, in pages that are written to, and behind a jump to a call itself; and code that is written there past the
 * protection of memory.
 * Kernel path: any.
 * Pitfall: a call that isn't recorded since the filter takes it for a known one; another call than that whose number is in eax.
 * Machine: x86_64
 * Build: -pthread
 */
#include "workload.h"

#include <dlfcn.h>
#include <linux/io_uring.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sys/ioctl.h>
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
static char *window(char **argv)
{
    unsigned long start, end, wanted = ((unsigned long)dlsym(RTLD_DEFAULT, "getppid") & ~0x7ffffffful) + 0x70000000;
    for (char *line = strtok(text_of("/proc/self/maps"), "\n"); line != NULL; line = strtok(NULL, "\n")) {
        char mode[5];
        unsigned long inode;
        CHECK(sscanf(line, "%lx-%lx %4s %*x %*s %lu", &start, &end, mode, &inode) == 4);
        if (start < wanted + WINDOW && wanted < end && !(start == wanted && end == wanted + WINDOW && inode == 0 && strcmp(mode, "r-xp") == 0)) {
            /* The kernel put a library or the stack there: with other addresses, it doesn't. */
            execv(argv[0], argv);
            fail("execv: %d\n", errno);
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
static void at_window(char **argv)
{
    static const long numbers[] = {SYS_sched_get_priority_max, SYS_sched_get_priority_min, SYS_sched_getscheduler, SYS_alarm};
    static const long results[] = {99, 1, 0, 0};
    char *place = window(argv);
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

static volatile int done;

static void *calls_on(void *unused)
{
    while (!done)
        getppid();
    return unused;
}

/* The kernel maps code where a window would be, while another thread makes known calls. */
static void beside_a_thread(void)
{
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, calls_on, NULL) == 0);
    call_often();
    long number = SYS_sched_get_priority_max;
    int fd = code_for(number);
    char *wanted = (char *)0x1070000000, *code = mmap(wanted, WINDOW, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
    CHECK(code == wanted && close(fd) == 0 && call_at(code + number * 32 + 17, number, SCHED_FIFO) == 99);
    done = 1;
    CHECK(pthread_join(thread, NULL) == 0 && distinct_2() == 1);
    say("beside\n");
}

static const char CODE[] = {0x0f, 0x05, (char)0xc3};

/* Writes a call to the memory of a process, where the filter may allow one of this number; if nothing is there, it is made elsewhere. */
static void write_and_call(int memory, char *place, long number, long argument, long result)
{
    char *code = place + number * 32 + 17;
    if (pwrite(memory, CODE, sizeof CODE, (off_t)code) == sizeof CODE)
        CHECK(call_at(code, number, argument) == result);
    else
        CHECK(syscall(number, argument) == result);
}

static void *map_ring(int ring, size_t length, off_t offset)
{
    void *place = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring, offset);
    CHECK(place != MAP_FAILED);
    return place;
}

/* Opens a file to write to it, without a call that opens. */
static int open_by_ring(const char *path)
{
    struct io_uring_params params = {0};
    int ring = syscall(SYS_io_uring_setup, 1, &params);
    CHECK(ring >= 0);
    struct io_uring_sqe *entry = map_ring(ring, sizeof *entry, IORING_OFF_SQES);
    char *submitted = map_ring(ring, params.sq_off.array + sizeof(unsigned), IORING_OFF_SQ_RING);
    char *completed = map_ring(ring, params.cq_off.cqes + sizeof(struct io_uring_cqe), IORING_OFF_CQ_RING);
    *entry = (struct io_uring_sqe){
        .opcode = IORING_OP_OPENAT, .fd = AT_FDCWD, .addr = (uintptr_t)path, .open_flags = O_RDWR | O_CLOEXEC};
    *(unsigned *)(submitted + params.sq_off.array) = 0;
    __atomic_store_n((unsigned *)(submitted + params.sq_off.tail), 1, __ATOMIC_RELEASE);
    CHECK(syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) == 1);
    return ((struct io_uring_cqe *)(completed + params.cq_off.cqes))->res;
}

/* Which private memory is written to, whatever its protection is: its own through a file, after that was opened in each way, also
 * by io_uring; a child's; and pages that nobody used, by userfaultfd(2). */
static void through_files(char **argv)
{
    static const char *const names[] = {"/proc/self/mem", "/proc/thread-self/mem"};
    char *place = window(argv);
    for (int way = 0; way < 7; way++) {
        pid_t child = fork();
        if (child != 0) {
            CHECK(exit_status(child) == 20 + way);
            continue;
        }
        int memory = -1;
        if (way == 5)
            CHECK((memory = open(names[0], O_RDWR)) >= 0);
        call_often();
        struct { uint64_t flags, mode, resolve; } how = {O_WRONLY, 0, 0};
        if (way == 0)
            memory = open(names[0], O_RDWR);
        else if (way == 1)
            memory = syscall(SYS_open, names[1], O_WRONLY);
        else if (way == 2)
            memory = syscall(SYS_creat, names[0], 0);
        else if (way == 3)
            memory = syscall(SYS_openat2, AT_FDCWD, names[0], &how, sizeof how);
        else if (way == 4) {
            int path = open(names[0], O_PATH);
            char again[64];
            snprintf(again, sizeof again, "/proc/self/fd/%d", path);
            memory = open(again, O_RDWR);
        } else if (way == 6)
            memory = open_by_ring(names[0]);
        CHECK(memory >= 0);
        write_and_call(memory, place, way % 2 ? SYS_sched_get_priority_max : SYS_sched_get_priority_min, SCHED_FIFO, way % 2 ? 99 : 1);
        call_often();
        _exit(20 + way);
    }
    int ready[2], written[2];
    CHECK(pipe(ready) == 0 && pipe(written) == 0);
    pid_t child = fork();
    char byte;
    if (child == 0) {
        call_often();
        CHECK(write(ready[1], "", 1) == 1 && read(written[0], &byte, 1) == 1);
        char *code = place + SYS_sched_getscheduler * 32 + 17;
        CHECK((byte ? call_at(code, SYS_sched_getscheduler, 0) : syscall(SYS_sched_getscheduler, 0)) == 0);
        _exit(3);
    }
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/mem", child);
    CHECK(read(ready[0], &byte, 1) == 1);
    int memory = open(path, O_RDWR);
    CHECK(memory >= 0);
    char is_there = pwrite(memory, CODE, sizeof CODE, (off_t)(place + SYS_sched_getscheduler * 32 + 17)) == sizeof CODE;
    CHECK(write(written[1], &is_there, 1) == 1 && exit_status(child) == 3);
    say("written through files\n");
}

static struct uffdio_copy filled;
static int faults;

static void *fills(void *unused)
{
    struct uffd_msg message;
    CHECK(read(faults, &message, sizeof message) == sizeof message && message.event == UFFD_EVENT_PAGEFAULT);
    CHECK(ioctl(faults, UFFDIO_COPY, &filled) == 0);
    /* Nobody has to wait for its end. */
    while (unused == NULL)
        ;
    return unused;
}

static void by_faults(char **argv, int of_device)
{
    static char page[PAGE] __attribute__((aligned(PAGE)));
    char *place = window(argv);
    call_often();
    /* One of the last places for it, so that nothing is there. */
    long number = SYS_sched_get_priority_max;
    char *code = place + WINDOW - (1 << 14) + number * 32 + 17;
    memcpy(page + ((uintptr_t)code & (PAGE - 1)), CODE, sizeof CODE);
    int flags = O_CLOEXEC | UFFD_USER_MODE_ONLY;
    faults = of_device ? ioctl(open("/dev/userfaultfd", O_RDWR), USERFAULTFD_IOC_NEW, flags) : syscall(SYS_userfaultfd, flags);
    CHECK(faults >= 0);
    struct uffdio_api api = {.api = UFFD_API};
    CHECK(ioctl(faults, UFFDIO_API, &api) == 0);
    struct uffdio_register area = {{(uintptr_t)place, WINDOW}, UFFDIO_REGISTER_MODE_MISSING, 0};
    if (ioctl(faults, UFFDIO_REGISTER, &area) != 0) {
        char *own = mmap(NULL, WINDOW, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        code += own - place;
        area.range.start = (uintptr_t)own;
        CHECK(own != MAP_FAILED && ioctl(faults, UFFDIO_REGISTER, &area) == 0);
    }
    filled = (struct uffdio_copy){(uintptr_t)code & -PAGE, (uintptr_t)page, PAGE, 0, 0};
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, fills, NULL) == 0);
    CHECK(call_at(code, number, SCHED_FIFO) == 99);
    say("by faults\n");
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    if (strcmp(argv[1], "window") == 0)
        at_window(argv);
    else if (strcmp(argv[1], "written") == 0)
        written();
    else if (strcmp(argv[1], "jumped-to") == 0)
        jumped_to();
    else if (strcmp(argv[1], "denied") == 0)
        denied();
    else if (strcmp(argv[1], "beside") == 0)
        beside_a_thread();
    else if (strcmp(argv[1], "files") == 0)
        through_files(argv);
    else if (strcmp(argv[1], "faults") == 0)
        by_faults(argv, 0);
    else if (strcmp(argv[1], "device") == 0)
        by_faults(argv, 1);
    else
        return 1;
    return 0;
}
