/* sanitized.c with the checks for races between threads.
 * Build: -fsanitize=thread -pthread
 */
#include "sanitized.c"
