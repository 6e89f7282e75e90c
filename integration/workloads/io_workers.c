/* Has kernel threads: a worker of io_uring blocked in a read, and one that polls a submission queue
 * (IORING_SETUP_SQPOLL). Exits with 6 after it read a byte from standard input. Prints "no io_uring" and exits with 2
 * if the kernel has none.
 * Kernel path: create_io_thread(): threads of the process in /proc/PID/task that never run its code; PF_USER_WORKER.
 * Pitfall: PTRACE_SEIZE of such a thread fails with EPERM, which must not make the tracer give up on the process.
 * Build: -static
 */
#include "workload.h"
#include <linux/io_uring.h>
#include <sys/mman.h>

static int ring_fd;

static void *map(size_t size, off_t what)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring_fd, what);
    CHECK(memory != MAP_FAILED);
    return memory;
}

/* Sets up a ring whose only entry reads a byte from a descriptor on a worker thread. */
static int ring(unsigned flags, int fd, char *byte)
{
    struct io_uring_params params;
    memset(&params, 0, sizeof params);
    params.flags = flags;
    params.sq_thread_idle = 60000;
    ring_fd = syscall(SYS_io_uring_setup, 4, &params);
    if (ring_fd < 0) {
        say("no io_uring\n");
        _exit(2);
    }
    char *queue = map(params.sq_off.array + params.sq_entries * sizeof(unsigned), IORING_OFF_SQ_RING);
    struct io_uring_sqe *entry = map(params.sq_entries * sizeof *entry, IORING_OFF_SQES);
    memset(entry, 0, sizeof *entry);
    entry->opcode = IORING_OP_READ;
    entry->flags = IOSQE_ASYNC;
    entry->fd = fd;
    entry->addr = (uintptr_t)byte;
    entry->len = 1;
    *(unsigned *)(queue + params.sq_off.array) = 0;
    __atomic_store_n((unsigned *)(queue + params.sq_off.tail), 1, __ATOMIC_SEQ_CST);
    CHECK(syscall(SYS_io_uring_enter, ring_fd, 1, 0, 0, NULL, 0) >= 0);
    return ring_fd;
}

int main(void)
{
    int ends[2];
    char byte;
    CHECK(pipe(ends) == 0);
    ring(0, ends[0], &byte);
    ring(IORING_SETUP_SQPOLL, ends[0], &byte);
    sleep_ms(50);
    say("ready\n");
    CHECK(read(0, &byte, 1) == 1);
    distinct_1();
    return 6;
}
