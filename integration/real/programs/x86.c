// A 32-bit program: features that the i386 ABI has in its own form (64-bit time, 64-bit file offsets, sockets, threads, children).
#define _GNU_SOURCE
#define _FILE_OFFSET_BITS 64
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void check(const char *what, int good)
{
    printf("%s: %s\n", what, good ? "ok" : strerror(errno));
    fflush(stdout);
    if (!good)
        exit(1);
}

static void files(const char *dir)
{
    char path[4096];
    struct stat status;
    snprintf(path, sizeof path, "%s/x86", dir);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    check("open", fd >= 0);
    // Beyond 32 bits.
    off_t far = (off_t)5 << 30;
    check("pwrite", pwrite(fd, "end", 3, far) == 3);
    check("lseek", lseek(fd, 0, SEEK_END) == far + 3);
    check("ftruncate", ftruncate(fd, 8192) == 0);
    check("fstat", fstat(fd, &status) == 0 && status.st_size == 8192);
    char *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 4096);
    check("mmap", map != MAP_FAILED);
    map[0] = 'x';
    check("msync", msync(map, 4096, MS_SYNC) == 0);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    check("fcntl", fcntl(fd, F_SETLK, &lock) == 0);
    check("posix_fallocate", posix_fallocate(fd, 0, 16384) == 0);
    struct timespec times[2] = {{.tv_sec = 1}, {.tv_sec = 2}};
    check("futimens", futimens(fd, times) == 0);
    check("close", close(fd) == 0 && unlink(path) == 0);
}

static void *add(void *arg)
{
    // Long enough to make the others wait.
    usleep(10000);
    ++*(int *)arg;
    return NULL;
}

static void threads(void)
{
    pthread_t threads[4];
    int n[4] = {0};
    for (int i = 0; i < 4; i++)
        check("pthread_create", (errno = pthread_create(&threads[i], NULL, add, &n[i])) == 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    check("threads", n[0] + n[1] + n[2] + n[3] == 4);
}

static void sockets(void)
{
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof here;
    int listener = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    check("setsockopt", setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0);
    check("bind", bind(listener, (struct sockaddr *)&here, sizeof here) == 0);
    check("listen", listen(listener, 1) == 0);
    check("getsockname", getsockname(listener, (struct sockaddr *)&here, &length) == 0);
    check("connect", connect(client, (struct sockaddr *)&here, sizeof here) == 0);
    int server = accept(listener, NULL, NULL);
    check("accept", server >= 0);
    char buffer[8] = "";
    check("send", send(client, "hello", 5, 0) == 5);
    struct pollfd ready = {.fd = server, .events = POLLIN};
    check("poll", poll(&ready, 1, 1000) == 1);
    check("recv", recv(server, buffer, sizeof buffer, 0) == 5 && !strcmp(buffer, "hello"));
    struct iovec part = {.iov_base = "back", .iov_len = 4};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    check("sendmsg", sendmsg(server, &message, 0) == 4);
    fd_set set;
    FD_ZERO(&set);
    FD_SET(client, &set);
    check("select", select(client + 1, &set, NULL, NULL, &(struct timeval){.tv_sec = 1}) == 1);
    int epoll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN};
    check("epoll_ctl", epoll_ctl(epoll, EPOLL_CTL_ADD, client, &event) == 0);
    check("epoll_wait", epoll_wait(epoll, &event, 1, 1000) == 1);
    check("shutdown", shutdown(client, SHUT_RDWR) == 0);
}

static volatile sig_atomic_t caught;

static void count(int signal)
{
    (void)signal;
    caught++;
}

static void signals(void)
{
    struct sigaction action = {.sa_handler = count};
    check("sigaction", sigaction(SIGALRM, &action, NULL) == 0);
    struct itimerval soon = {.it_value.tv_usec = 10000};
    check("setitimer", setitimer(ITIMER_REAL, &soon, NULL) == 0);
    check("a call that a signal ends", nanosleep(&(struct timespec){.tv_sec = 10}, NULL) == -1 && errno == EINTR);
    check("raise", raise(SIGALRM) == 0 && caught == 2);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    check("sigprocmask", sigprocmask(SIG_BLOCK, &set, NULL) == 0);
    check("kill", kill(getpid(), SIGUSR1) == 0);
    check("sigtimedwait", sigtimedwait(&set, NULL, &(struct timespec){.tv_sec = 1}) == SIGUSR1);
}

static void children(void)
{
    int status;
    pid_t child = fork();
    if (child == 0)
        _exit(7);
    check("fork", child > 0 && waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 7);
    // Into the 64-bit ABI and back.
    check("system", system("/bin/true") == 0);
}

int main(int argc, char **argv)
{
    struct utsname name;
    struct timespec now;
    struct rlimit limit;
    check("arguments", argc == 2);
    check("32 bits", sizeof(void *) == 4);
    check("uname", uname(&name) == 0);
    check("clock_gettime", clock_gettime(CLOCK_MONOTONIC, &now) == 0 && clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now) == 0);
    check("getrlimit", getrlimit(RLIMIT_NOFILE, &limit) == 0);
    check("getgroups", getgroups(0, NULL) >= 0 && setuid(getuid()) == 0 && setgid(getgid()) == 0);
    files(argv[1]);
    threads();
    sockets();
    signals();
    children();
    int shm = shmget(IPC_PRIVATE, 4096, 0600);
    void *attached = shmat(shm, NULL, 0);
    check("shmget, shmat", shm >= 0 && attached != (void *)-1);
    check("shmdt, shmctl", shmdt(attached) == 0 && shmctl(shm, IPC_RMID, NULL) == 0);
    return 9;
}
