#include "base/buf.h"

#include "base/alloc.h"
#include "base/utf8.h"

#include <stdio.h>

void buf_init(struct buf *buf, size_t size_max)
{
    *buf = (struct buf){.size_max = size_max};
}

void buf_fini(struct buf *buf)
{
    mem_free(buf->data);
    *buf = (struct buf){.size_max = buf->size_max};
}

void buf_clear(struct buf *buf)
{
    buf->size = 0;
    buf->err = ERR_OK;
}

static enum err buf_fail(struct buf *buf, enum err err)
{
    buf->err = err;
    return err;
}

enum err buf_reserve(struct buf *buf, size_t size)
{
    if (buf->err != ERR_OK)
        return buf->err;
    if (size <= buf->capacity - buf->size)
        return ERR_OK;
    if (size > buf->size_max - buf->size)
        return buf_fail(buf, ERR_TOO_LARGE);
    size_t capacity = buf->capacity ? buf->capacity : 64;
    while (capacity < buf->size + size)
        capacity *= 2;
    if (capacity > buf->size_max)
        capacity = buf->size_max;
    uint8_t *data = mem_realloc(buf->data, capacity);
    if (!data)
        return buf_fail(buf, ERR_NO_MEMORY);
    buf->data = data;
    buf->capacity = capacity;
    return ERR_OK;
}

enum err buf_append(struct buf *buf, const void *data, size_t size)
{
    enum err err = buf_reserve(buf, size);
    if (err != ERR_OK)
        return err;
    if (size > 0)
        memcpy(buf->data + buf->size, data, size);
    buf->size += size;
    return ERR_OK;
}

enum err buf_text(struct buf *buf, const char *text)
{
    return buf_append(buf, text, strlen(text));
}

enum err buf_byte(struct buf *buf, uint8_t byte)
{
    return buf_append(buf, &byte, 1);
}

enum err buf_u16(struct buf *buf, uint16_t value)
{
    return buf_append(buf, &value, sizeof(value));
}

enum err buf_u32(struct buf *buf, uint32_t value)
{
    return buf_append(buf, &value, sizeof(value));
}

enum err buf_u64(struct buf *buf, uint64_t value)
{
    return buf_append(buf, &value, sizeof(value));
}

enum err buf_vprintf(struct buf *buf, const char *format, va_list arguments)
{
    va_list again;
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, again);
    va_end(again);
    if (length < 0)
        return buf_fail(buf, ERR_BUG);
    enum err err = buf_reserve(buf, (size_t)length + 1);
    if (err != ERR_OK)
        return err;
    vsnprintf((char *)buf->data + buf->size, (size_t)length + 1, format, arguments);
    buf->size += (size_t)length;
    return ERR_OK;
}

enum err buf_printf(struct buf *buf, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    enum err err = buf_vprintf(buf, format, arguments);
    va_end(arguments);
    return err;
}

enum err buf_json_string(struct buf *buf, struct bytes text)
{
    buf_byte(buf, '"');
    size_t i = 0;
    while (i < text.size) {
        size_t start = i;
        size_t length = 1;
        while (i < text.size && text.data[i] >= 0x20 && text.data[i] != '"' &&
               text.data[i] != '\\' && (length = utf8_sequence(text.data + i, text.size - i)) > 0)
            i += length;
        buf_append(buf, text.data + start, i - start);
        if (i == text.size)
            break;
        uint8_t byte = text.data[i++];
        if (length == 0)
            buf_text(buf, "\xef\xbf\xbd");
        else if (byte == '"' || byte == '\\')
            buf_printf(buf, "\\%c", byte);
        else if (byte == '\n')
            buf_text(buf, "\\n");
        else if (byte == '\t')
            buf_text(buf, "\\t");
        else if (byte == '\r')
            buf_text(buf, "\\r");
        else
            buf_printf(buf, "\\u%04x", byte);
    }
    return buf_byte(buf, '"');
}

const char *buf_cstr(struct buf *buf)
{
    if (buf_reserve(buf, 1) != ERR_OK)
        return NULL;
    buf->data[buf->size] = 0;
    return (const char *)buf->data;
}
