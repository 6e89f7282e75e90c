/* Stops the ext4 file system of a directory as a loss of power does: what isn't on its disk yet never gets there.
 * Build: -static
 */
#include "workload.h"

#include <sys/ioctl.h>

/* fs/ext4/ext4.h; without flushing the journal. */
#define EXT4_IOC_SHUTDOWN _IOR('X', 125, uint32_t)
#define EXT4_GOING_FLAGS_NOLOGFLUSH 2

int main(int argc, char **argv)
{
    uint32_t flags = EXT4_GOING_FLAGS_NOLOGFLUSH;
    CHECK(argc == 2);
    int fd = open(argv[1], O_RDONLY);
    CHECK(fd >= 0 && ioctl(fd, EXT4_IOC_SHUTDOWN, &flags) == 0);
    return 0;
}
