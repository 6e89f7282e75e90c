/* execve(2) that fails: no file, a directory, no permission, no format, a script without its interpreter, a loop of
 * links; and one that fails half-way, when the old program is already gone. The argument is an empty directory.
 * Kernel path: before begin_new_exec() it returns an errno; after the point of no return the task is killed with
 * SIGSEGV.
 * Pitfall: taking the call for success; waiting for PTRACE_EVENT_EXEC.
 * Build: -static
 */
#include "workload.h"
#include <elf.h>
#include <sys/stat.h>

static void file(const char *path, const void *bytes, size_t length, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    CHECK(fd >= 0 && write(fd, bytes, length) == (ssize_t)length);
    CHECK(fchmod(fd, mode) == 0 && close(fd) == 0);
}

static int error_of(const char *path)
{
    char *arguments[] = {(char *)path, NULL}, *environment[] = {NULL};
    CHECK(execve(path, arguments, environment) == -1);
    return errno;
}

int main(int argc, char **argv)
{
    CHECK(argc == 2 && chdir(argv[1]) == 0);
    file("plain", "echo no", 7, 0600);
    file("garbage", "\1\2\3\4garbage", 11, 0700);
    file("script", "#!/nonexistent/interpreter\n", 27, 0700);
    unlink("loop");
    CHECK(symlink("loop", "loop") == 0);
    say("missing %d directory %d permission %d format %d interpreter %d loop %d\n", error_of("missing"), error_of("."),
        error_of("plain"), error_of("garbage"), error_of("script"), error_of("loop"));

    /* A segment above user space: the kernel notices when it maps it. */
    struct {
        Elf64_Ehdr header;
        Elf64_Phdr segment;
    } elf = {
        .header = {
            .e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
            .e_type = ET_EXEC,
            .e_machine = EM_X86_64,
            .e_version = EV_CURRENT,
            .e_entry = 0x400000,
            .e_phoff = sizeof elf.header,
            .e_ehsize = sizeof elf.header,
            .e_phentsize = sizeof elf.segment,
            .e_phnum = 1,
        },
        .segment = {.p_type = PT_LOAD, .p_flags = PF_R | PF_X, .p_vaddr = 0xffff800000000000, .p_filesz = sizeof elf,
            .p_memsz = sizeof elf, .p_align = 4096},
    };
    file("half", &elf, sizeof elf, 0700);
    pid_t pid = vfork();
    if (pid == 0) {
        execl("half", "half", NULL);
        _exit(90);
    }
    CHECK(pid > 0);
    int vforked = exit_status(pid);
    pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        execl("half", "half", NULL);
        _exit(90);
    }
    say("half-way: killed by %d and %d\n", vforked - 128, exit_status(pid) - 128);
    return 0;
}
