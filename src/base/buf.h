#pragma once
/*
 * A growing byte buffer with a maximum demanded at birth. Owned by one thread. Appends fail with
 * ERR_NO_MEMORY or ERR_TOO_LARGE and then leave the buffer as it was; the failure also sticks
 * (buf->err), so that a run of appends may be checked once at the end.
 */
#include "base/bytes.h"
#include "base/err.h"

#include <stdarg.h>

struct buf {
    uint8_t *data;
    size_t size;
    size_t capacity;
    size_t size_max;
    enum err err; /* the first failure; appends after it do nothing */
};

void buf_init(struct buf *buf, size_t size_max);
void buf_fini(struct buf *buf);
/* Empties it, keeps the memory, forgets a failure. */
void buf_clear(struct buf *buf);

/* Makes room for size more bytes, to be written at buf->data + buf->size. */
enum err buf_reserve(struct buf *buf, size_t size);
enum err buf_append(struct buf *buf, const void *data, size_t size);
enum err buf_text(struct buf *buf, const char *text);
enum err buf_byte(struct buf *buf, uint8_t byte);
enum err buf_u16(struct buf *buf, uint16_t value);
enum err buf_u32(struct buf *buf, uint32_t value);
enum err buf_u64(struct buf *buf, uint64_t value);
enum err buf_printf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
enum err buf_vprintf(struct buf *buf, const char *format, va_list arguments)
    __attribute__((format(printf, 2, 0)));
/* A JSON string with quotes: escapes what RFC 8259 §7 demands; input must be UTF-8, bytes that
 * are not become U+FFFD. */
enum err buf_json_string(struct buf *buf, struct bytes text);

static inline struct bytes buf_bytes(const struct buf *buf)
{
    return (struct bytes){buf->data, buf->size};
}

/* The bytes as a C string (a NUL is put after them, not counted); NULL when there is no memory. */
const char *buf_cstr(struct buf *buf);
