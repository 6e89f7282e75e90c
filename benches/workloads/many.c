// many PROCESSES CALLS: creates this many processes one after the other, then makes this many calls, to measure the recorder's memory.
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    long processes = argc > 1 ? atol(argv[1]) : 1, calls = argc > 2 ? atol(argv[2]) : 1;
    for (long n = 0; n < processes; n++) {
        pid_t child = fork();
        if (child < 0)
            return 1;
        if (child == 0)
            _exit(0);
        waitpid(child, NULL, 0);
    }
    for (long n = 0; n < calls; n++)
        syscall(SYS_getppid);
    return 0;
}
