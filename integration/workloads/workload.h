/* Shared code of the workloads.
 *
 * A workload makes the same system calls on every run. So it uses no stdio (its buffers need fstat and memory), no malloc
 * in threads (arenas are unmapped depending on where they are), and spins on memory where a futex would be called or not
 * depending on which task is first.
 */
#ifndef WORKLOAD_H
#define WORKLOAD_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define UNUSED __attribute__((unused))

static void put(int fd, const char *format, va_list arguments)
{
    char line[1024];
    int length = vsnprintf(line, sizeof line, format, arguments);
    if (length > (int)sizeof line - 1)
        length = sizeof line - 1;
    if (write(fd, line, length) != length)
        _exit(98);
}

/* Prints a line on stdout with one write(2). */
static UNUSED void say(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    put(1, format, arguments);
    va_end(arguments);
}

/* Prints a line on stderr and exits with the status that means "the kernel did not behave as it does without a tracer". */
static UNUSED void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    put(2, format, arguments);
    va_end(arguments);
    _exit(99);
}

#define CHECK(condition)                                                                              \
    do {                                                                                              \
        if (!(condition))                                                                             \
            fail("%s:%d: not so: %s (errno %d)\n", __FILE__, __LINE__, #condition, errno);            \
    } while (0)

/* Waits until a variable shared with another task has a value. */
static UNUSED void spin_until(volatile int *variable, int value)
{
    while (__atomic_load_n(variable, __ATOMIC_SEQ_CST) != value)
        ;
}

static UNUSED void add_one(volatile int *variable)
{
    __atomic_add_fetch(variable, 1, __ATOMIC_SEQ_CST);
}

/* Sleeps the whole time, with one call if there are no signals. */
static UNUSED void sleep_ms(long ms)
{
    struct timespec left = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&left, &left) != 0)
        CHECK(errno == EINTR);
}

/* Ends a thread late enough that pthread_join waits for it in futex(2), however slow the main thread is. The main thread
 * sets the variable to 1 just before it calls pthread_join. */
static UNUSED void outlast(volatile int *joining)
{
    spin_until(joining, 1);
    sleep_ms(50);
}

/* Milliseconds of the monotonic clock, from the vDSO without a call. */
static UNUSED long now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* The status of a child that must exit by itself. */
static UNUSED int exit_status(pid_t pid)
{
    int status;
    CHECK(waitpid(pid, &status, 0) == pid);
    if (WIFSIGNALED(status))
        return 128 + WTERMSIG(status);
    CHECK(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* Waits until a process sleeps in a call that signals interrupt. */
static UNUSED void spin_until_asleep(pid_t pid)
{
    char path[32], text[256], *state;
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    do {
        int fd = open(path, O_RDONLY);
        CHECK(fd >= 0);
        ssize_t length = read(fd, text, sizeof text - 1);
        CHECK(length > 0 && close(fd) == 0);
        text[length] = 0;
        state = strrchr(text, ')');
    } while (state[2] != 'S');
}

/* Creates a child that waits to be killed. It makes no more calls once this returns. */
static UNUSED pid_t idle_child(void)
{
    int ends[2];
    char byte;
    CHECK(pipe2(ends, O_CLOEXEC) == 0);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        CHECK(write(ends[1], "r", 1) == 1);
        for (;;)
            ;
    }
    CHECK(read(ends[0], &byte, 1) == 1);
    close(ends[0]);
    close(ends[1]);
    return pid;
}

/* Installs a filter with seccomp(2) that gives one call an action and allows the rest. Returns the result of
 * seccomp(2). */
static UNUSED int own_filter(int nr, uint32_t action, unsigned flags)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, action),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
}

/* The text of a file of at most 64 KiB, until the next call. */
static UNUSED char *text_of(const char *path)
{
    static char text[1 << 16];
    size_t length = 0;
    ssize_t got;
    int fd = open(path, O_RDONLY);
    CHECK(fd >= 0);
    while ((got = read(fd, text + length, sizeof text - 1 - length)) > 0)
        length += got;
    text[length] = 0;
    close(fd);
    return text;
}

/* Calls that no libc makes by itself, so that only the workload can have made them. */
static UNUSED long distinct_1(void) { return syscall(SYS_sched_get_priority_max, SCHED_FIFO); }
static UNUSED long distinct_2(void) { return syscall(SYS_sched_get_priority_min, SCHED_FIFO); }
static UNUSED long distinct_3(void) { return syscall(SYS_sched_getscheduler, 0); }

/* Runs two threads one after the other, with the arguments 0 and 1, until each has ended. They must not use libc, whose thread
 * data belong to the caller. */
static UNUSED void run_raw_threads(int (*thread)(void *))
{
    static char stacks[2][64 * 1024] __attribute__((aligned(16)));
    static volatile int ids[2] = {1, 1};
    int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_CHILD_CLEARTID;
    for (long i = 0; i < 2; i++) {
        CHECK(clone(thread, stacks[i] + sizeof stacks[i], flags, (void *)i, NULL, NULL, &ids[i]) > 0);
        spin_until(&ids[i], 0);
    }
}

#endif
