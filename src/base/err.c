#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

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
    case ENOTDIR:
        return ERR_NOT_A_FOLDER;
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
    case ELOOP:
    case EINVAL:
        return ERR_INVALID;
    default:
        return ERR_IO;
    }
}

const char *err_errno_text(int error)
{
    switch (error) {
    case ENOSPC:
        return "no space left on the disk; free some, or name a folder on a larger one";
    case EDQUOT:
        return "the disk quota is used up; free some space or raise the quota";
    case EACCES:
        return "permission denied; allow it to the user that the service runs as";
    case EPERM:
        return "not permitted; see whether the file is immutable or a sandbox forbids it";
    case EROFS:
        return "the file system is read-only; mount it writable or name a folder elsewhere";
    case ENOTDIR:
        return "a part of the path is not a folder; move it away or name another folder";
    case EISDIR:
        return "it is a folder where a file should be; move it away or name another file";
    case ELOOP:
        return "its symbolic links go round in a circle; mend them or name another path";
    case ENAMETOOLONG:
        return "the path or a name in it is too long; name a shorter one";
    case EFBIG:
        return "larger than the file system or the process's limit (ulimit -f) allows";
    case EMFILE:
        return "too many open files in this process; raise its limit (ulimit -n, LimitNOFILE=)";
    case ENFILE:
        return "too many open files on this machine; raise its limit (sysctl fs.file-max)";
    case EIO:
        return "the disk gives an input/output error; see the system's log whether it fails";
    default:
        break;
    }
    const char *text = strerrordesc_np(error);
    return text ? text : "unknown error";
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
