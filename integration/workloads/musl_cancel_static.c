/* musl_cancel.c, linked statically.
 * Kernel path: as musl_cancel.c.
 * Pitfall: as musl_cancel.c.
 * Machine: x86_64
 * Compiler: musl-gcc
 * Build: -static -pthread -idirafter /usr/include -idirafter /usr/include/x86_64-linux-gnu
 */
#include "musl_cancel.c"
