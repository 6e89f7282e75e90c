/* known_signals.c as a program without a dynamic linker, at fixed addresses.
 * Machine: x86_64
 * Build: -static -pthread
 */
#include "known_signals.c"
