#include "connectors/coap/coap_socket.h"

#include <linux/sock_diag.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

/* "tfd:        7 events: …", a line for each descriptor watched (proc(5)). */
int coap_socket_of(int epoll_fd)
{
    char line[256];
    int found = -1;
    snprintf(line, sizeof(line), "/proc/self/fdinfo/%d", epoll_fd);
    FILE *info = fopen(line, "re");
    while (info && found < 0 && fgets(line, sizeof(line), info)) {
        struct stat status;
        int fd = strncmp(line, "tfd:", 4) == 0 ? (int)strtol(line + 4, NULL, 10) : -1;
        if (fd >= 0 && fstat(fd, &status) == 0 && S_ISSOCK(status.st_mode))
            found = fd;
    }
    if (info)
        (void)fclose(info);
    return found;
}

void coap_socket_enlarge(int fd)
{
    int size = COAP_SOCKET_BYTES;
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) != 0)
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)); /* else as it is */
}

uint32_t coap_socket_dropped(int fd)
{
    uint32_t info[SK_MEMINFO_VARS] = {0};
    socklen_t size = sizeof(info);
    if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &size) != 0)
        return 0;
    return info[SK_MEMINFO_DROPS];
}
