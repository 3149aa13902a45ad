#include "connectors/coap/coap_socket.h"

#include "base/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sock_diag.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define DATAGRAM_BYTES 1472 /* as much as libcoap reads */
#define HEADER_BYTES   4

/* The socket that an epoll descriptor watches, and how. */
struct watched {
    int fd;
    struct epoll_event event;
};

/* "tfd:        7 events:       19 data:     55d0c0de  …" (proc(5)); 0: no such number. */
static unsigned long long number_in(const char *line, const char *name, int base)
{
    const char *found = strstr(line, name);
    return found ? strtoull(found + strlen(name), NULL, base) : 0;
}

static struct watched watched_of(int epoll_fd)
{
    char line[256];
    struct watched found = {.fd = -1};
    snprintf(line, sizeof(line), "/proc/self/fdinfo/%d", epoll_fd);
    FILE *info = fopen(line, "re");
    while (info && found.fd < 0 && fgets(line, sizeof(line), info)) {
        struct stat status;
        int fd = strncmp(line, "tfd:", 4) == 0 ? (int)number_in(line, "tfd:", 10) : -1;
        if (fd < 0 || fstat(fd, &status) != 0 || !S_ISSOCK(status.st_mode))
            continue;
        found.fd = fd;
        found.event.events = (uint32_t)number_in(line, " events:", 16);
        found.event.data.u64 = number_in(line, " data:", 16);
    }
    if (info)
        (void)fclose(info);
    return found;
}

int coap_socket_of(int epoll_fd)
{
    return watched_of(epoll_fd).fd;
}

enum err coap_socket_exchange(int epoll_fd, int other, int *ret_fd)
{
    struct watched watched = watched_of(epoll_fd);
    if (watched.fd < 0 || watched.event.data.u64 == 0)
        return ERR_UNSUPPORTED;
    int fd = fcntl(watched.fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0)
        return err_from_errno(errno);
    /* epoll knows it by the number and the socket both */
    if (epoll_ctl(epoll_fd, EPOLL_CTL_DEL, watched.fd, NULL) != 0 ||
        dup3(other, watched.fd, O_CLOEXEC) < 0 ||
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, watched.fd, &watched.event) != 0) {
        enum err err = err_from_errno(errno);
        (void)close(fd);
        return err;
    }
    *ret_fd = fd;
    return ERR_OK;
}

void coap_socket_enlarge(int fd)
{
    int size = COAP_SOCKET_BYTES;
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) != 0)
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)); /* else as it is */
}

bool coap_socket_peek(int fd, struct coap_datagram *ret_datagram, bool *ret_refused)
{
    uint8_t bytes[DATAGRAM_BYTES];
    ssize_t size = fd < 0 ? -1 : recv(fd, bytes, sizeof(bytes), MSG_PEEK | MSG_DONTWAIT);
    *ret_refused = fd >= 0 && size < 0 && errno == ECONNREFUSED;
    if (size < HEADER_BYTES)
        return false;
    *ret_datagram = (struct coap_datagram){
        .is_con = (bytes[0] >> 4 & 3) == 0 && bytes[1] >> 5 >= 2,
        .message_id = (uint16_t)(bytes[2] << 8 | bytes[3]),
        .hash = hash_bytes(bytes_from(bytes, (size_t)size)),
    };
    return true;
}

uint32_t coap_socket_dropped(int fd)
{
    uint32_t info[SK_MEMINFO_VARS] = {0};
    socklen_t size = sizeof(info);
    if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &size) != 0)
        return 0;
    return info[SK_MEMINFO_DROPS];
}
