// getppid CALLS [THREADS]: makes this many calls in each of this many threads. They only enter the kernel.
#include <pthread.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static void *storm(void *calls)
{
    for (long n = *(long *)calls; n > 0; n--)
        syscall(SYS_getppid);
    return NULL;
}

int main(int argc, char **argv)
{
    long calls = argc > 1 ? atol(argv[1]) : 1;
    int threads = argc > 2 ? atoi(argv[2]) : 1;
    pthread_t others[64];
    if (threads < 1 || threads > 64)
        return 2;
    for (int n = 1; n < threads; n++)
        if (pthread_create(&others[n], NULL, storm, &calls))
            return 1;
    storm(&calls);
    for (int n = 1; n < threads; n++)
        pthread_join(others[n], NULL);
    return 0;
}
