#pragma once
/* A listening TCP socket, non-blocking. Blocks while a host name is looked up. */
#include "base/err.h"

#include <stdint.h>

/* port 0: any free one. *ret_port is the real one. Errors say what to do. */
enum err listener_open(const char *host, uint16_t port, int *ret_socket, uint16_t *ret_port,
                       struct diag *diag) ERR_MUST_USE;
