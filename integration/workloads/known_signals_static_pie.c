/* known_signals.c as a program without a dynamic linker, at any address.
 * Machine: x86_64
 * Build: -static-pie -pthread
 */
#include "known_signals.c"
