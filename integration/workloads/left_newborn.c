/* A process is killed while it makes a child, which exists then but runs only when the socket at descriptor 0 is closed at its
 * other end: until then, a page to which the kernel writes the child's id, for both, is missing.
 * Kernel path: clone(2) writes to parent_tid before it wakes the child, the child writes to child_tid before its first stop;
 * both wait for userfaultfd(2). No PTRACE_EVENT_CLONE, since the parent has a fatal signal.
 * Pitfall: a recorder that takes the tasks that stopped at least once for all that there are.
 * Build: -static -pthread
 */
#include "workload.h"
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#define PAGE 4096

static int faults;
static volatile int polls;
static char stack[16 * PAGE] __attribute__((aligned(16)));

static int goes_on(void *argument)
{
    (void)argument;
    syscall(SYS_write, 1, "went on\n", 8);
    syscall(SYS_exit, 0);
    return 0;
}

/* Kills the process as soon as it waits in clone(2). The child must not get a copy of the descriptor. */
static void *kills(void *argument)
{
    struct pollfd fault = {faults, POLLIN, 0};
    CHECK(unshare(CLONE_FILES) == 0);
    polls = 1;
    CHECK(poll(&fault, 1, -1) == 1);
    kill(getpid(), SIGKILL);
    return argument;
}

/* As long as the other end of the socket isn't closed, neither is the descriptor. */
static void send_away(int fd)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof fd)];
    } control;
    char byte = 0;
    struct iovec data = {&byte, 1};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    control.header = (struct cmsghdr){CMSG_LEN(sizeof fd), SOL_SOCKET, SCM_RIGHTS};
    memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
    CHECK(sendmsg(0, &message, 0) == 1);
}

int main(void)
{
    pthread_t thread;
    faults = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
    if (faults < 0) {
        say("no userfaultfd\n");
        return 0;
    }
    struct uffdio_api api = {.api = UFFD_API};
    CHECK(ioctl(faults, UFFDIO_API, &api) == 0);
    char *missing = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(missing != MAP_FAILED);
    struct uffdio_register area = {{(uintptr_t)missing, PAGE}, UFFDIO_REGISTER_MODE_MISSING, 0};
    CHECK(ioctl(faults, UFFDIO_REGISTER, &area) == 0);
    send_away(faults);
    CHECK(pthread_create(&thread, NULL, kills, NULL) == 0);
    spin_until(&polls, 1);
    CHECK(close(faults) == 0);
    int flags = CLONE_VM | CLONE_PARENT_SETTID | CLONE_CHILD_SETTID | SIGCHLD;
    clone(goes_on, stack + sizeof stack, flags, NULL, missing, NULL, missing + 8);
    fail("clone returned\n");
}
