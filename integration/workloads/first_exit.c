/* A program whose first act is exit_group(2).
 * Kernel path: execve and exit_group.
 * A tracer gets wrong: a task that is gone before its exec stop was handled.
 * Build: -static -nostdlib -fno-stack-protector
 */
__asm__(".globl _start\n"
        "_start:\n\t"
        "mov $231, %eax\n\t"
        "mov $42, %edi\n\t"
        "syscall");
