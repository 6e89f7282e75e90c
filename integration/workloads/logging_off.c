/* Disables the kernel's logging for a moment, in which it calls umask: "actions"
 * (/proc/sys/kernel/seccomp/actions_logged), "unaudited" (the same with audit disabled), "audit" (audit itself) or "rule" (an
 * audit rule that excludes seccomp records). With 0 or 1, it only disables or enables audit, and exits with what that was before. Prints nothing.
 * Kernel path: seccomp_log, audit_filter of the exclude list. The kernel records such changes while audit is enabled.
 * Pitfall: checking the settings only at the start and at the end.
 * Build: -static
 */
#include "workload.h"

#include <linux/audit.h>
#include <linux/netlink.h>
#include <sys/socket.h>
#include <sys/stat.h>

static const char *const LOGGED = "/proc/sys/kernel/seccomp/actions_logged";

static void write_to(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY);
    CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
}

/* Sends a request to audit and waits for the answer of this type. */
static void request(int type, const void *data, size_t length, int answer, void *result, size_t size)
{
    struct {
        struct nlmsghdr header;
        char data[2048];
    } message = {.header = {.nlmsg_type = type, .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK}};
    message.header.nlmsg_len = NLMSG_LENGTH(length);
    memcpy(message.data, data, length);
    int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_AUDIT);
    CHECK(fd >= 0 && send(fd, &message, message.header.nlmsg_len, 0) > 0);
    do
        CHECK(recv(fd, &message, sizeof message, 0) > 0);
    while (message.header.nlmsg_type != answer);
    memcpy(result, message.data, size);
    close(fd);
}

static void change(int type, const void *data, size_t length)
{
    int error = 0;
    request(type, data, length, NLMSG_ERROR, &error, sizeof error);
    CHECK(error == 0);
}

static uint32_t set_audit(uint32_t enabled)
{
    struct audit_status status = {0};
    request(AUDIT_GET, NULL, 0, AUDIT_GET, &status, sizeof(uint32_t) * 2);
    struct audit_status wanted = {.mask = AUDIT_STATUS_ENABLED, .enabled = enabled};
    if (status.enabled != enabled)
        change(AUDIT_SET, &wanted, sizeof wanted);
    return status.enabled;
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    if (argv[1][0] <= '1')
        return set_audit(argv[1][0] - '0');
    uint32_t before = set_audit(strcmp(argv[1], "unaudited") != 0);
    if (strcmp(argv[1], "audit") == 0) {
        set_audit(0);
        umask(022);
    } else if (strcmp(argv[1], "rule") != 0) {
        char logged[300] = {0};
        int fd = open(LOGGED, O_RDONLY);
        CHECK(fd >= 0 && read(fd, logged, sizeof logged - 1) > 0);
        close(fd);
        write_to(LOGGED, "kill_process kill_thread");
        umask(022);
        write_to(LOGGED, logged);
    } else {
        struct audit_rule_data rule = {.flags = AUDIT_FILTER_EXCLUDE, .action = AUDIT_NEVER, .field_count = 1};
        rule.fields[0] = AUDIT_MSGTYPE;
        rule.values[0] = AUDIT_SECCOMP;
        rule.fieldflags[0] = AUDIT_EQUAL;
        memset(rule.mask, 0xff, sizeof rule.mask);
        change(AUDIT_ADD_RULE, &rule, sizeof rule);
        umask(022);
        change(AUDIT_DEL_RULE, &rule, sizeof rule);
    }
    set_audit(before);
    return 0;
}
