/* Kinds of exec: by execveat(2) on a descriptor, from a memfd, from a deleted file, a script whose interpreter is this
 * program, and with an empty argv. The argument is an empty directory.
 * Kernel path: bprm; /proc/PID/exe is "memfd:... (deleted)" or "... (deleted)".
 * Pitfall: assuming that the path of the executable is a file.
 * Build: -static
 */
#include "workload.h"
#include <sys/sendfile.h>
#include <sys/mman.h>
#include <sys/stat.h>

extern char **environ;

int main(int argc, char **argv)
{
    /* execve with an empty argv gets one empty string (5.18). */
    if (argc == 0 || argv[0][0] == 0 || (argc > 1 && strcmp(argv[1], "child") == 0)) {
        distinct_1();
        return 5;
    }
    CHECK(argc == 2 && chdir(argv[1]) == 0);
    struct stat status;
    char *arguments[] = {argv[0], "child", NULL};
    int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), memory = memfd_create("code", MFD_CLOEXEC);
    CHECK(self >= 0 && memory >= 0 && fstat(self, &status) == 0);
    CHECK(sendfile(memory, self, NULL, status.st_size) == status.st_size && lseek(self, 0, SEEK_SET) == 0);
    int copy = open("copy", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);
    CHECK(copy >= 0 && sendfile(copy, self, NULL, status.st_size) == status.st_size && close(copy) == 0);
    char line[4096];
    int script = open("script", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);
    int length = snprintf(line, sizeof line, "#!%s/copy child\n", argv[1]);
    CHECK(script >= 0 && write(script, line, length) == length && close(script) == 0);

    int sum = 0;
    for (int kind = 0; kind < 5; kind++) {
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            switch (kind) {
            case 0:
                syscall(SYS_execveat, self, "", arguments, environ, AT_EMPTY_PATH);
                break;
            case 1:
                syscall(SYS_execveat, memory, "", arguments, environ, AT_EMPTY_PATH);
                break;
            case 2:
                execv("./script", arguments);
                break;
            case 3:
                syscall(SYS_execve, "copy", NULL, environ);
                break;
            case 4:
                /* The program deletes its own file first and execs itself through /proc. */
                CHECK(unlink("copy") == 0);
                syscall(SYS_execveat, self, "", NULL, NULL, AT_EMPTY_PATH);
                break;
            }
            _exit(90);
        }
        sum = sum * 10 + exit_status(pid);
    }
    say("statuses %d\n", sum);
    return 0;
}
