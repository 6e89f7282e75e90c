/* known_signals.c as a program without a dynamic linker, at any address.
 * Build: -static-pie -pthread
 */
#include "known_signals.c"
