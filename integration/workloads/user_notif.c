/* A process supervises its child through SECCOMP_RET_USER_NOTIF: it answers one call itself and continues another.
 * Kernel path: the child sleeps in the call until the listener answers; the listener's fd travels over a socket.
 * Pitfall: USER_NOTIF outranks TRACE, so there is no stop; a listener of the recorder makes this one fail with EBUSY.
 * Build: -static
 */
#include "workload.h"
#include <sys/ioctl.h>
#include <sys/socket.h>

static int listener(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sched_get_priority_max, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sched_get_priority_min, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {5, code};
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
}

union control {
    struct cmsghdr header;
    char space[CMSG_SPACE(sizeof(int))];
};

static void send_fd(int socket, int fd)
{
    union control control = {.header = {.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof fd)}};
    struct iovec byte = {"f", 1};
    struct msghdr message = {.msg_iov = &byte, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
    CHECK(sendmsg(socket, &message, 0) == 1);
}

static int receive_fd(int socket)
{
    union control control;
    char buffer;
    int fd;
    struct iovec byte = {&buffer, 1};
    struct msghdr message = {.msg_iov = &byte, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    CHECK(recvmsg(socket, &message, 0) == 1);
    memcpy(&fd, CMSG_DATA(&control.header), sizeof fd);
    return fd;
}

int main(void)
{
    int sockets[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) == 0);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        int fd = listener();
        CHECK(fd >= 0);
        send_fd(sockets[1], fd);
        CHECK(close(fd) == 0);
        long answered = distinct_1(), continued = distinct_2();
        long refused = distinct_1();
        say("answered %ld continued %ld refused %ld errno %d\n", answered, continued, refused, errno);
        _exit(6);
    }
    /* A child that fails leaves no end to wait for. */
    CHECK(close(sockets[1]) == 0);
    int fd = receive_fd(sockets[0]);
    for (int i = 0; i < 3;) {
        struct seccomp_notif request;
        struct seccomp_notif_resp response;
        memset(&request, 0, sizeof request);
        memset(&response, 0, sizeof response);
        /* A tracer that attaches or detaches interrupts the call, which is then notified again (seccomp_unotify(2)). */
        if (ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &request) != 0) {
            CHECK(errno == ENOENT || errno == EINTR);
            continue;
        }
        CHECK(request.pid == (unsigned)pid);
        CHECK(request.data.nr == (i == 1 ? SYS_sched_get_priority_min : SYS_sched_get_priority_max));
        response.id = request.id;
        if (i == 0)
            response.val = 4242;
        else if (i == 1)
            response.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
        else
            response.error = -EDOM;
        if (ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, &response) == 0)
            i++;
        else
            CHECK(errno == ENOENT);
    }
    say("child %d\n", exit_status(pid));
    return 0;
}
