/* sanitized.c with the checks for races between threads.
 * Machine: x86_64
 * Build: -fsanitize=thread -pthread
 */
#include "sanitized.c"
