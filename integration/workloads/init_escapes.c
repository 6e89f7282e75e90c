/* Inits of pid namespaces run into an invalid instruction, which another thread of theirs replaces again and again. Prints how
 * many of them went on and made a call.
 * Kernel path: a tracer has to let go of a crashing init, since the kernel doesn't end one that is traced.
 * Pitfall: it doesn't crash a second time, and calls unseen.
 * Machine: x86_64
 * Build: -static -pthread
 */
#include "workload.h"
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>

enum { INITS = 30 };

static volatile unsigned char *code;
static volatile int *went_on;

static void *replaces(void *argument)
{
    for (;;)
        for (int bad = 0; bad < 2; bad++) {
            /* ud2, or nop of two bytes */
            *(volatile uint16_t *)code = bad ? 0x0b0f : 0x9066;
            for (int i = 0; i < 200; i++)
                __asm__ volatile("pause");
        }
    return argument;
}

static void run(void)
{
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, replaces, NULL) == 0);
    while (*(volatile uint16_t *)code != 0x0b0f)
        ;
    ((void (*)(void))code)();
    distinct_1();
    add_one(went_on);
    _exit(0);
}

int main(void)
{
    const struct rlimit none = {0, 0};
    CHECK(setrlimit(RLIMIT_CORE, &none) == 0);
    went_on = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(went_on != MAP_FAILED && code != MAP_FAILED);
    code[2] = 0xc3; /* ret */
    for (int i = 0; i < INITS; i++) {
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            CHECK(unshare(CLONE_NEWPID) == 0);
            pid_t init = fork();
            CHECK(init >= 0);
            if (init == 0)
                run();
            CHECK(waitpid(init, NULL, 0) == init);
            _exit(0);
        }
        CHECK(waitpid(pid, NULL, 0) == pid);
    }
    say("%d\n", *went_on);
    return 0;
}
