/* timed_calls.c as a 32-bit program: timeouts of 32 bits, and results in half a register.
 * Build: -static -m32
 */
#include "timed_calls.c"
