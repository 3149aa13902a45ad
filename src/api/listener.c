#include "api/listener.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int socket_listen(const struct addrinfo *address)
{
    int handle = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (handle < 0)
        return -1;
    const int on = 1;
    setsockopt(handle, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(handle, address->ai_addr, address->ai_addrlen) == 0 && listen(handle, SOMAXCONN) == 0)
        return handle;
    int error = errno;
    close(handle);
    errno = error;
    return -1;
}

static uint16_t socket_port(int handle)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } address = {.v6 = {0}};
    socklen_t size = sizeof(address);
    if (getsockname(handle, &address.any, &size) != 0)
        return 0;
    return ntohs(address.any.sa_family == AF_INET6 ? address.v6.sin6_port : address.v4.sin_port);
}

static enum err listen_failed(const char *host, uint16_t port, struct diag *diag)
{
    int error = errno;
    const char *why = err_errno_text(error);
    if (error == EADDRINUSE)
        return diag_set(diag, ERR_BUSY,
                        "cannot listen on %s port %u: another process does; stop it or choose "
                        "another PORT",
                        host, port);
    if (error == EADDRNOTAVAIL)
        why = "no network interface of this machine has that address; choose another HOST";
    if (error == EACCES)
        why = "permission denied; choose a PORT above 1023, or allow it (CAP_NET_BIND_SERVICE)";
    return diag_set(diag, err_from_errno(error), "cannot listen on %s port %u: %s", host, port,
                    why);
}

enum err listener_open(const char *host, uint16_t port, int *ret_socket, uint16_t *ret_port,
                       struct diag *diag)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *addresses;
    char service[8];
    snprintf(service, sizeof(service), "%u", port);
    int result = getaddrinfo(host, service, &hints, &addresses);
    if (result != 0)
        return diag_set(diag, ERR_INVALID, "cannot listen on HOST '%s': %s", host,
                        gai_strerror(result));
    int handle = -1;
    for (const struct addrinfo *a = addresses; a && handle < 0; a = a->ai_next)
        handle = socket_listen(a);
    enum err err = handle < 0 ? listen_failed(host, port, diag) : ERR_OK;
    freeaddrinfo(addresses);
    if (err != ERR_OK)
        return err;
    *ret_socket = handle;
    *ret_port = socket_port(handle);
    return ERR_OK;
}
