/* A C++ exception leaves a handler and the known call that it interrupted.
 * Kernel path: setup_rt_frame(): unwinding goes on at the address in the frame.
 * Pitfall: an address without unwind data, where the program is terminated.
 * Machine: x86_64
 * Compiler: g++
 * Build: -fnon-call-exceptions -Wno-narrowing
 */
#include "workload.h"

static int ends[2], left;

static void throw_signal(int signal)
{
    throw signal;
}

struct Leaves {
    ~Leaves() { left++; }
};

static void waits(void)
{
    Leaves leaves;
    char byte;
    CHECK(read(ends[0], &byte, 1) == 1);
}

int main(void)
{
    struct sigaction action = {};
    char byte = 'b';
    int caught = 0;
    action.sa_handler = throw_signal;
    action.sa_flags = SA_NODEFER | SA_RESTART;
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0 && pipe(ends) == 0);
    for (int i = 0; i < 100; i++)
        CHECK(write(ends[1], &byte, 1) == 1 && read(ends[0], &byte, 1) == 1);
    pid_t parent = getpid();
    for (int i = 0; i < 10; i++) {
        pid_t child = fork();
        if (child == 0) {
            spin_until_asleep(parent);
            CHECK(kill(parent, SIGUSR1) == 0);
            _exit(0);
        }
        try {
            waits();
        } catch (int signal) {
            caught += signal == SIGUSR1;
        }
        CHECK(exit_status(child) == 0);
    }
    say("caught %d, left %d\n", caught, left);
    return 0;
}
