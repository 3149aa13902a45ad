#include "lake/schema_name.h"

#include "base/limits.h"
#include "codec/case_fold.h"

#define NAME_BYTES_MAX (LIMIT_MESSAGE_BYTES_MAX * 2)

static uint8_t lower(uint8_t byte)
{
    return byte >= 'A' && byte <= 'Z' ? (uint8_t)(byte | 0x20) : byte;
}

/* What engines fold beyond ASCII differs from one to the next: all that any of them does. */
static enum err name_fold(struct buf *out, struct bytes name)
{
    buf_init(out, NAME_BYTES_MAX);
    enum err err = buf_reserve(out, name.size + 1);
    return err == ERR_OK ? case_fold(out, name) : err;
}

static enum err is_taken(const struct map *taken, const struct map *also_taken, struct bytes name,
                         bool *ret_taken)
{
    struct buf folded;
    enum err err = name_fold(&folded, name);
    if (err == ERR_OK)
        *ret_taken = map_get(taken, buf_bytes(&folded)) ||
                     (also_taken && map_get(also_taken, buf_bytes(&folded)));
    buf_fini(&folded);
    return err;
}

static bool is_folded(struct bytes name, const char *word)
{
    for (size_t i = 0; i < name.size; i++)
        if (word[i] == '\0' || lower(name.data[i]) != (uint8_t)word[i])
            return false;
    return word[name.size] == '\0';
}

static void sanitise(struct buf *out, struct bytes key)
{
    for (size_t i = 0; i < key.size; i++) {
        uint8_t byte = key.data[i];
        bool bad = byte < 0x20 || byte == 0x7f || strchr(" ,;{}()=", byte);
        buf_byte(out, bad ? '_' : byte);
    }
    if (key.size == 0)
        buf_byte(out, '_');
}

enum err schema_name_make(struct buf *out, const struct map *taken, const struct map *also_taken,
                          const char *parent_name, struct bytes key, bool ours)
{
    size_t start = out->size;
    buf_text(out, parent_name);
    if (parent_name[0] != '\0')
        buf_byte(out, '.');
    sanitise(out, key);
    bool path_column = is_folded(key, "date") || is_folded(key, "hour");
    if (parent_name[0] == '\0' && path_column && !ours)
        buf_byte(out, '_');
    size_t plain_end = out->size;
    for (unsigned suffix = 2; out->err == ERR_OK; suffix++) {
        bool name_taken;
        struct bytes name = {out->data + start, out->size - start};
        enum err err = is_taken(taken, also_taken, name, &name_taken);
        if (err != ERR_OK)
            return err;
        if (!name_taken)
            return ERR_OK;
        out->size = plain_end;
        buf_printf(out, "_%u", suffix);
    }
    return out->err;
}

enum err schema_name_take(struct map *names, struct bytes name)
{
    struct buf folded;
    enum err err = name_fold(&folded, name);
    if (err == ERR_OK)
        err = map_put(names, buf_bytes(&folded), names);
    buf_fini(&folded);
    return err;
}

enum err schema_name_path(struct buf *out, const char *parent_path, struct bytes key, bool element)
{
    buf_text(out, parent_path);
    buf_byte(out, '/');
    if (element)
        return buf_byte(out, '-');
    for (size_t i = 0; i < key.size; i++) {
        if (key.data[i] == '~')
            buf_text(out, "~0");
        else if (key.data[i] == '/')
            buf_text(out, "~1");
        else if (key.data[i] == '\0')
            buf_text(out, "~2"); /* ours: no database holds a text with U+0000 */
        else
            buf_byte(out, key.data[i]);
    }
    return out->err;
}

enum err schema_name_from_path(struct buf *out, struct bytes path)
{
    size_t from = path.size;
    while (from > 0 && path.data[from - 1] != '/')
        from--;
    for (size_t i = from; i < path.size; i++) {
        bool escape = path.data[i] == '~' && i + 1 < path.size;
        if (!escape) {
            buf_byte(out, path.data[i]);
            continue;
        }
        i++;
        buf_byte(out, path.data[i] == '0' ? '~' : path.data[i] == '1' ? '/' : '\0');
    }
    return out->err;
}
