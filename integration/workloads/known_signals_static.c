/* known_signals.c as a program without a dynamic linker, at fixed addresses.
 * Build: -static -pthread
 */
#include "known_signals.c"
