#include "os/random.h"

#include <errno.h>
#include <sys/random.h>

enum err random_fill(void *ret_bytes, size_t size_bytes)
{
    unsigned char *at = ret_bytes;
    while (size_bytes > 0) {
        ssize_t got = getrandom(at, size_bytes, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return err_from_errno(errno);
        at += got;
        size_bytes -= (size_t)got;
    }
    return ERR_OK;
}
