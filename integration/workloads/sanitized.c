/* Makes known calls in a program that checks its own memory.
 * Kernel path: any.
 * Pitfall: memory for known calls where the program has its shadow memory.
 * Machine: x86_64
 * Build: -fsanitize=address -pthread
 */
#include "workload.h"

#include <dirent.h>
#include <pthread.h>

/* Leaks are looked for by a tracer, which a traced program can't have. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "detect_leaks=0";
}

/* The sanitizer has threads of its own, which begin at any time. */
static void spin_until_others_sleep(void)
{
    struct dirent *entry;
    DIR *tasks = opendir("/proc/self/task");
    CHECK(tasks != NULL);
    while ((entry = readdir(tasks)) != NULL) {
        pid_t task = atoi(entry->d_name);
        if (task != 0 && task != gettid())
            spin_until_asleep(task);
    }
    closedir(tasks);
}

static void *calls(void *argument)
{
    for (int i = 0; i < 100; i++) {
        CHECK(getppid() >= 0 && getuid() == geteuid());
        CHECK(close(-1) == -1 && errno == EBADF);
    }
    if (argument != NULL)
        spin_until_others_sleep();
    return argument;
}

int main(void)
{
    pthread_t thread;
    calls(NULL);
    pid_t child = fork();
    if (child == 0) {
        calls(NULL);
        _exit(distinct_1() == 99 ? 5 : 6);
    }
    CHECK(exit_status(child) == 5);
    CHECK(pthread_create(&thread, NULL, calls, (void *)1) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(distinct_2() == 1);
    say("sanitized\n");
    return 0;
}
