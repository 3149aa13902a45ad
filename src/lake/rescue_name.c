#include "lake/rescue_name.h"

#define QUOTED_BYTES_MAX (7 * LIMIT_MESSAGE_BYTES_MAX)

static bool needs_pointer(struct bytes name, uint32_t depth)
{
    return name.size > 0 &&
           ((depth == 1 && name.data[0] == '/') || memchr(name.data, '.', name.size));
}

/* A column's name as JSON, without quotes. */
static struct bytes name_of(const struct column *column)
{
    return bytes_from(column->quoted.data + 1, column->quoted.size - 2);
}

static bool path_needs_pointer(const struct column *column)
{
    for (; column->depth > 0; column = column->parent)
        if (column->quoted.size > 2 && needs_pointer(name_of(column), column->depth))
            return true;
    return false;
}

static enum err segment_append(struct buf *out, struct bytes name, uint32_t depth, bool pointer)
{
    if (!pointer) {
        if (depth > 1)
            buf_byte(out, '.');
        return buf_append(out, name.data, name.size);
    }
    buf_byte(out, '/');
    for (size_t i = 0; i < name.size; i++) {
        if (name.data[i] == '~')
            buf_text(out, "~0");
        else if (name.data[i] == '/')
            buf_text(out, "~1");
        else
            buf_byte(out, name.data[i]);
    }
    return out->err;
}

static enum err path_append(struct buf *out, const struct column *column, bool pointer)
{
    if (column->depth == 0)
        return out->err;
    path_append(out, column->parent, pointer);
    return segment_append(out, name_of(column), column->depth, pointer);
}

enum err rescue_name_column(struct buf *out, const struct column *column)
{
    return path_append(out, column, path_needs_pointer(column));
}

enum err rescue_name_field(struct buf *out, const struct column *parent, struct bytes name)
{
    struct buf quoted;
    buf_init(&quoted, QUOTED_BYTES_MAX);
    enum err err = buf_json_string(&quoted, name);
    if (err == ERR_OK) {
        struct bytes json = {quoted.data + 1, quoted.size - 2};
        uint32_t depth = parent->depth + 1u;
        bool pointer = needs_pointer(json, depth) || path_needs_pointer(parent);
        path_append(out, parent, pointer);
        err = segment_append(out, json, depth, pointer);
    }
    buf_fini(&quoted);
    return err;
}
