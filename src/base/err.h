#pragma once
/*
 * Errors as values: one enum for the whole program, returned by value, 0 is success.
 *
 * Callers decide by the class, people read the diag. errno, SQLite, TLS and curl codes are
 * translated in the module that calls them. Any thread.
 */
#include <stdbool.h>
#include <stddef.h>

enum err_class {
    ERR_CLASS_NONE,      /* success */
    ERR_CLASS_RETRY,     /* may succeed later without anybody's doing */
    ERR_CLASS_PERMANENT, /* needs a person or another input */
    ERR_CLASS_CORRUPT,   /* what was read back or received is not what the format allows */
    ERR_CLASS_LIMIT,     /* a bound was reached */
    ERR_CLASS_BUG,       /* our own mistake */
};

/* X(name, class, text) */
#define ERR_MAP(X)                                                                                 \
    X(OK, NONE, "ok")                                                                              \
    X(NO_MEMORY, RETRY, "out of memory")                                                           \
    X(AGAIN, RETRY, "not ready yet")                                                               \
    X(BUSY, RETRY, "busy or locked by another")                                                    \
    X(TIMEOUT, RETRY, "timed out")                                                                 \
    X(IO, RETRY, "input/output error")                                                             \
    X(NO_SPACE, RETRY, "no space left")                                                            \
    X(NETWORK, RETRY, "network error")                                                             \
    X(CLOSED, RETRY, "closed by the other side")                                                   \
    X(REFUSED, PERMANENT, "refused by the other side")                                             \
    X(AUTH, PERMANENT, "credentials refused")                                                      \
    X(PERMISSION, PERMANENT, "permission denied")                                                  \
    X(READ_ONLY, PERMANENT, "read-only")                                                           \
    X(NOT_FOUND, PERMANENT, "not found")                                                           \
    X(NOT_A_FOLDER, PERMANENT, "not a folder")                                                     \
    X(EXISTS, PERMANENT, "already exists")                                                         \
    X(CONFLICT, PERMANENT, "in conflict with what exists")                                         \
    X(INVALID, PERMANENT, "invalid value")                                                         \
    X(UNSUPPORTED, PERMANENT, "not supported")                                                     \
    X(VERSION, PERMANENT, "written by a newer version")                                            \
    X(CORRUPT, CORRUPT, "damaged data")                                                            \
    X(SYNTAX, CORRUPT, "malformed input")                                                          \
    X(PROTOCOL, CORRUPT, "protocol violation")                                                     \
    X(TRUNCATED, CORRUPT, "ends too early")                                                        \
    X(TOO_LARGE, LIMIT, "too large")                                                               \
    X(TOO_DEEP, LIMIT, "nested too deeply")                                                        \
    X(TOO_MANY, LIMIT, "too many")                                                                 \
    X(STOPPED, PERMANENT, "stopped")                                                               \
    X(BUG, BUG, "internal error")

enum err {
#define X(name, class, text) ERR_##name,
    ERR_MAP(X)
#undef X
        ERR_COUNT
};

#define ERR_MUST_USE __attribute__((warn_unused_result))

/* The name without prefix ("NO_SPACE"), its text, its class. Static strings; never NULL. */
const char *err_name(enum err err);
const char *err_text(enum err err);
enum err_class err_class(enum err err);

/* Translates an errno value. Unknown ones become ERR_IO. */
enum err err_from_errno(int error);

/* What an errno value means and, where a person can do something, what: the end of a sentence.
 * A static string; never NULL. */
const char *err_errno_text(int error);

/* Where a person will read it: one sentence with what was expected, what was found, and where.
 * Zero-initialise; the first sentence set stays, so that the cause is not painted over. */
struct diag {
    char text[512];
};

/* Sets the sentence unless one stands. diag may be NULL. Returns err, so that it can end a
 * function: return diag_set(diag, ERR_INVALID, "port %d is not between 1 and 65535", port); */
enum err diag_set(struct diag *diag, enum err err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
