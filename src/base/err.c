#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

static const struct {
    const char *name;
    const char *text;
    enum err_class class;
} err_table[ERR_COUNT] = {
#define X(name, class, text) [ERR_##name] = {#name, text, ERR_CLASS_##class},
    ERR_MAP(X)
#undef X
};

const char *err_name(enum err err)
{
    return (unsigned)err < ERR_COUNT ? err_table[err].name : "UNKNOWN";
}

const char *err_text(enum err err)
{
    return (unsigned)err < ERR_COUNT ? err_table[err].text : "unknown error";
}

enum err_class err_class(enum err err)
{
    return (unsigned)err < ERR_COUNT ? err_table[err].class : ERR_CLASS_BUG;
}

enum err err_from_errno(int error)
{
    switch (error) {
    case 0:
        return ERR_OK;
    case ENOMEM:
        return ERR_NO_MEMORY;
    case EAGAIN:
        return ERR_AGAIN;
    case EBUSY:
        return ERR_BUSY;
    case ETIMEDOUT:
        return ERR_TIMEOUT;
    case ENOSPC:
    case EDQUOT:
        return ERR_NO_SPACE;
    case EACCES:
    case EPERM:
        return ERR_PERMISSION;
    case EROFS:
        return ERR_READ_ONLY;
    case ENOENT:
        return ERR_NOT_FOUND;
    case EEXIST:
        return ERR_EXISTS;
    case EFBIG:
    case ENAMETOOLONG:
        return ERR_TOO_LARGE;
    case ECONNREFUSED:
    case ECONNRESET:
    case ENETUNREACH:
    case EHOSTUNREACH:
        return ERR_NETWORK;
    case EPIPE:
        return ERR_CLOSED;
    case EMFILE:
    case ENFILE:
        return ERR_TOO_MANY;
    case EINVAL:
        return ERR_INVALID;
    default:
        return ERR_IO;
    }
}

enum err diag_set(struct diag *diag, enum err err, const char *format, ...)
{
    if (!diag || diag->text[0] != '\0')
        return err;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(diag->text, sizeof(diag->text), format, arguments);
    va_end(arguments);
    return err;
}
