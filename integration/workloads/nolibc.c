/* A program without libc: three calls in all.
 * Kernel path: execve, write and exit, with nothing in between.
 * Pitfall: counting its own calls between loading its filter and execve, or relying on the calls of a loader.
 * Build: -static -nostdlib -fno-stack-protector
 */
#ifdef __aarch64__
__asm__(".globl _start\n"
        "_start:\n\t"
        "mov x8, 64\n\t"
        "mov x0, 1\n\t"
        "adr x1, message\n\t"
        "mov x2, 8\n\t"
        "svc 0\n\t"
        "mov x8, 93\n\t"
        "mov x0, 33\n\t"
        "svc 0\n"
        "message: .ascii \"no libc\\n\"");
#else
__asm__(".globl _start\n"
        "_start:\n\t"
        "mov $1, %eax\n\t"
        "mov $1, %edi\n\t"
        "lea message(%rip), %rsi\n\t"
        "mov $8, %edx\n\t"
        "syscall\n\t"
        "mov $60, %eax\n\t"
        "mov $33, %edi\n\t"
        "syscall\n"
        "message: .ascii \"no libc\\n\"");
#endif
