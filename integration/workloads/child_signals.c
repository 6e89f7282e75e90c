/*
 * Makes calls without a pause while 200 children exit, one after the other. The handler of SIGCHLD lacks SA_RESTART. Prints
 * how many of the calls failed, which getppid(2) never does.
 *
 * Build: -static
 */
#include "workload.h"

static volatile sig_atomic_t signals;

static void count(int signal)
{
	(void)signal;
	signals++;
}

int main(void)
{
	struct sigaction action = {.sa_handler = count};
	int failed = 0;

	sigaction(SIGCHLD, &action, NULL);
	for (int i = 0; i < 200; i++) {
		int before = signals;
		pid_t child;

		do
			child = fork();
		while (child < 0);
		if (child == 0)
			_exit(0);
		while (signals == before)
			failed += syscall(SYS_getppid) < 0;
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
	}
	printf("%d\n", failed);
}
