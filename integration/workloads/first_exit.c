/* A program whose first call is exit_group(2).
 * Kernel path: execve and exit_group.
 * Pitfall: a task that is gone before the tracer has handled its exec stop.
 * Build: -static -nostdlib -fno-stack-protector
 */
#ifdef __aarch64__
__asm__(".globl _start\n"
        "_start:\n\t"
        "mov x8, 94\n\t"
        "mov x0, 42\n\t"
        "svc 0");
#else
__asm__(".globl _start\n"
        "_start:\n\t"
        "mov $231, %eax\n\t"
        "mov $42, %edi\n\t"
        "syscall");
#endif
