/* A program without libc: three calls in all.
 * Kernel path: execve, write and exit, with nothing in between.
 * Pitfall: counting its own calls between loading its filter and execve, or relying on the calls of a loader.
 * Build: -static -nostdlib -fno-stack-protector
 */
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
