// A 64-bit program that also makes calls of the i386 ABI, with its numbers, by int 0x80.
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

// The numbers of arch/x86/entry/syscalls/syscall_32.tbl.
enum { X86_READ = 3, X86_WRITE = 4, X86_OPEN = 5, X86_CLOSE = 6, X86_GETPID = 20, X86_MKDIR = 39, X86_RMDIR = 40, X86_GETUID32 = 199 };

static int int80(int number, unsigned first, unsigned second, unsigned third)
{
    int result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(first), "c"(second), "d"(third) : "memory", "r8", "r9", "r10", "r11");
    return result;
}

int main(void)
{
    // Pointers have 32 bits.
    char *low = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    if (low == MAP_FAILED)
        return 1;
    unsigned address = (unsigned)(unsigned long)low;

    printf("getpid: %s\n", int80(X86_GETPID, 0, 0, 0) == getpid() ? "the same in both" : "differs");
    printf("getuid32: %s\n", int80(X86_GETUID32, 0, 0, 0) == (int)getuid() ? "the same in both" : "differs");
    strcpy(low, "/dev/zero");
    int fd = int80(X86_OPEN, address, 0, 0);
    printf("read: %d\n", int80(X86_READ, fd, address, 100));
    printf("close: %d\n", int80(X86_CLOSE, fd, 0, 0));
    printf("close again: %d\n", int80(X86_CLOSE, fd, 0, 0));
    strcpy(low, "int80.dir");
    printf("mkdir: %d\n", int80(X86_MKDIR, address, 0700, 0));
    printf("rmdir: %d\n", int80(X86_RMDIR, address, 0, 0));
    fflush(stdout);
    strcpy(low, "written through int 0x80\n");
    return int80(X86_WRITE, 1, address, strlen(low));
}
