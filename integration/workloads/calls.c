/* Makes the calls that its arguments name, one after another, and prints the outcome of each on a line. It tests the
 * filter of a profile. An argument is [int80:]NUMBER[,ARGUMENT]...; "handle" installs a handler for SIGSYS first, and
 * "thread" makes the rest of the calls in a second thread.
 * Kernel path: every action of a filter.
 * Pitfall: none: it runs under profiles, and is not recorded for its calls.
 * Build: -static -no-pie -pthread
 */
#include "workload.h"

#include <pthread.h>

static char **calls;
static volatile int trapped;

static void on_sys(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    (void)context;
    trapped = info->si_syscall;
}

#ifdef __x86_64__
static long int80(const unsigned long *v)
{
    long result;
    __asm__ volatile("int $0x80"
                     : "=a"(result)
                     : "a"(v[0]), "b"(v[1]), "c"(v[2]), "d"(v[3]), "S"(v[4]), "D"(v[5])
                     : "memory", "r8", "r9", "r10", "r11");
    return result;
}
#endif

static void *make_calls(void *unused)
{
    for (; *calls; calls++) {
        unsigned long v[7] = {0};
        int by_int80 = strncmp(*calls, "int80:", 6) == 0;
        char *text = *calls + (by_int80 ? 6 : 0);
        for (int i = 0; i < 7; i++) {
            v[i] = strtoul(text, &text, 0);
            if (*text++ != ',')
                break;
        }
        long result;
        trapped = -1;
        errno = 0;
#ifdef __x86_64__
        if (by_int80) {
            result = int80(v);
            if (result < 0 && result >= -4095) {
                errno = -result;
                result = -1;
            }
        } else
#endif
            result = syscall(v[0], v[1], v[2], v[3], v[4], v[5], v[6]);
        if (trapped != -1)
            say("%s trapped %d\n", *calls, trapped);
        else if (result == -1)
            say("%s errno %d\n", *calls, errno);
        else
            say("%s done\n", *calls);
    }
    return unused;
}

int main(int argc, char **argv)
{
    CHECK(argc > 1);
    calls = argv + 1;
    if (strcmp(*calls, "handle") == 0) {
        struct sigaction action = {.sa_sigaction = on_sys, .sa_flags = SA_SIGINFO};
        CHECK(sigaction(SIGSYS, &action, NULL) == 0);
        calls++;
    }
    if (*calls && strcmp(*calls, "thread") == 0) {
        pthread_t thread;
        calls++;
        CHECK(pthread_create(&thread, NULL, make_calls, NULL) == 0);
        CHECK(pthread_join(thread, NULL) == 0);
        say("the first thread lives\n");
    } else {
        make_calls(NULL);
    }
    return 0;
}
