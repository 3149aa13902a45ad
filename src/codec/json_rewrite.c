/* JSON text to JSON text: without white space, without repeated keys. Input was checked before. */
#include "base/alloc.h"
#include "base/map.h"
#include "codec/json.h"

/* Copies a string with its quotes, and makes escaped lone surrogates \ufffd. */
static void string_compact(struct buf *out, struct bytes raw, bool escaped)
{
    buf_byte(out, '"');
    if (!escaped) {
        buf_append(out, raw.data, raw.size);
        buf_byte(out, '"');
        return;
    }
    size_t start = 0;
    for (size_t i = 0; i < raw.size;) {
        if (raw.data[i] != '\\') {
            i++;
            continue;
        }
        if (raw.data[i + 1] != 'u') {
            i += 2;
            continue;
        }
        uint8_t text[12];
        size_t length =
            i + 12 <= raw.size && raw.data[i + 6] == '\\' && raw.data[i + 7] == 'u' ? 12 : 6;
        bool surrogate = (raw.data[i + 2] | 0x20) == 'd' && raw.data[i + 3] >= '8';
        if (!surrogate) {
            i += 6;
            continue;
        }
        /* A pair unescapes to four bytes; anything else begins with a lone one. */
        if (length == 12 && json_unescape(bytes_from(raw.data + i, 12), text) == 4 &&
            text[0] >= 0xf0) {
            i += 12;
            continue;
        }
        buf_append(out, raw.data + start, i - start);
        buf_text(out, "\\ufffd");
        i += 6;
        start = i;
    }
    buf_append(out, raw.data + start, raw.size - start);
    buf_byte(out, '"');
}

static void nan_append(struct buf *out, struct bytes word, enum json_nan nan)
{
    if (nan == JSON_NAN_NULL) {
        buf_text(out, "null");
        return;
    }
    buf_byte(out, '"');
    buf_append(out, word.data, word.size);
    buf_byte(out, '"');
}

/* The length of NaN, Infinity or -Infinity at text, or 0. */
static size_t nan_bytes(struct bytes text)
{
    static const char *const words[] = {"NaN", "Infinity", "-Infinity"};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        size_t size = strlen(words[i]);
        if (text.size >= size && memcmp(text.data, words[i], size) == 0)
            return size;
    }
    return 0;
}

static bool is_space(uint8_t byte)
{
    return byte == ' ' || byte == '\n' || byte == '\t' || byte == '\r';
}

/* keep_nan: leave NaN as it is. */
static enum err compact(struct buf *out, struct bytes value, enum json_nan nan, bool keep_nan)
{
    struct json_cursor cursor = {value.data, value.data + value.size, false};
    while (cursor.at < cursor.end && out->err == ERR_OK) {
        const uint8_t *start = cursor.at;
        uint8_t byte = *start;
        if (byte == '"') {
            struct json_string string;
            enum err err = json_string_scan(&cursor, &string);
            if (err != ERR_OK)
                return err;
            string_compact(out, string.raw, string.escaped);
            continue;
        }
        if (is_space(byte)) {
            cursor.at++;
            continue;
        }
        struct bytes rest = bytes_from(start, (size_t)(cursor.end - start));
        size_t word =
            !keep_nan && (byte == 'N' || byte == 'I' || byte == '-') ? nan_bytes(rest) : 0;
        if (word > 0) {
            nan_append(out, bytes_from(start, word), nan);
            cursor.at += word;
            continue;
        }
        while (cursor.at < cursor.end && *cursor.at != '"' && !is_space(*cursor.at)) {
            cursor.at++;
            if (!keep_nan && cursor.at < cursor.end &&
                (*cursor.at == 'N' || *cursor.at == 'I' || *cursor.at == '-'))
                break;
        }
        buf_append(out, start, (size_t)(cursor.at - start));
    }
    return out->err;
}

enum err json_compact(struct buf *out, struct bytes value, enum json_nan nan)
{
    return compact(out, value, nan, false);
}

/* A field of the object at hand: where its key and value stand. */
struct field {
    struct json_string key;
    struct bytes value;
    bool replaced;
};

/* As many are compared one by one, which is quicker than to hash them and takes no memory. */
#define FIELDS_FEW 16

struct fields {
    struct field *fields; /* few, or the heap's */
    size_t count;
    size_t capacity;
    bool mapped;     /* there are many, or keys to unescape */
    struct map last; /* key -> index + 1 of its newest field */
    struct buf text; /* an unescaped key */
    struct field few[FIELDS_FEW];
};

static void fields_init(struct fields *fields)
{
    fields->fields = fields->few;
    fields->count = 0;
    fields->capacity = FIELDS_FEW;
    fields->mapped = false;
    map_init(&fields->last);
    buf_init(&fields->text, LIMIT_MESSAGE_BYTES_MAX * 2);
}

static void fields_fini(struct fields *fields)
{
    if (fields->fields != fields->few)
        mem_free(fields->fields);
    map_fini(&fields->last);
    buf_fini(&fields->text);
}

static enum err fields_reserve(struct fields *fields)
{
    if (fields->count < fields->capacity)
        return ERR_OK;
    size_t capacity = fields->capacity * 2;
    struct field *old = fields->fields == fields->few ? NULL : fields->fields;
    struct field *grown = mem_realloc(old, capacity * sizeof(*grown));
    if (!grown)
        return ERR_NO_MEMORY;
    if (!old)
        memcpy(grown, fields->few, sizeof(fields->few));
    fields->fields = grown;
    fields->capacity = capacity;
    return ERR_OK;
}

/* The key becomes that of the field at index; *ret_earlier: whose it was, + 1. */
static enum err key_map(struct fields *fields, const struct json_string *key, size_t index,
                        uintptr_t *ret_earlier)
{
    buf_clear(&fields->text);
    enum err err = buf_reserve(&fields->text, key->raw.size + 1);
    if (err != ERR_OK)
        return err;
    struct bytes text = {fields->text.data, json_unescape(key->raw, fields->text.data)};
    *ret_earlier = (uintptr_t)map_get(&fields->last, text);
    return map_put(&fields->last, text, (void *)(uintptr_t)(index + 1));
}

static enum err fields_map(struct fields *fields)
{
    enum err err = ERR_OK;
    uintptr_t earlier;
    for (size_t i = 0; i < fields->count && err == ERR_OK; i++)
        err = key_map(fields, &fields->fields[i].key, i, &earlier);
    fields->mapped = true;
    return err;
}

static uintptr_t few_find(const struct fields *fields, struct bytes key)
{
    for (size_t i = fields->count; i > 0; i--)
        if (bytes_equal(fields->fields[i - 1].key.raw, key))
            return i;
    return 0;
}

static enum err fields_add(struct fields *fields, const struct field *field, bool *repeated)
{
    enum err err = fields_reserve(fields);
    if (err == ERR_OK && !fields->mapped && (field->key.escaped || fields->count == FIELDS_FEW))
        err = fields_map(fields);
    if (err != ERR_OK)
        return err;
    uintptr_t earlier = 0;
    if (fields->mapped)
        err = key_map(fields, &field->key, fields->count, &earlier);
    else
        earlier = few_find(fields, field->key.raw);
    if (err != ERR_OK)
        return err;
    if (earlier > 0) {
        fields->fields[earlier - 1].replaced = true;
        *repeated = true;
    }
    fields->fields[fields->count++] = *field;
    return ERR_OK;
}

static enum err unique(struct buf *out, struct bytes value, uint32_t levels, bool *repeated);

static enum err fields_read(struct json_cursor *cursor, struct fields *fields, bool *repeated)
{
    json_space(cursor);
    while (json_peek(cursor) == '"') {
        struct field field = {0};
        enum err err = json_string_scan(cursor, &field.key);
        if (err != ERR_OK)
            return err;
        json_space(cursor);
        if (!json_take(cursor, ':'))
            return ERR_SYNTAX;
        err = json_skip(cursor, LIMIT_JSON_DEPTH, &field.value);
        if (err == ERR_OK)
            err = fields_add(fields, &field, repeated);
        if (err != ERR_OK)
            return err;
        json_space(cursor);
        json_take(cursor, ',');
        json_space(cursor);
    }
    return json_take(cursor, '}') ? ERR_OK : ERR_SYNTAX;
}

static enum err object_unique(struct buf *out, struct json_cursor *cursor, uint32_t levels,
                              bool *repeated)
{
    struct fields fields;
    fields_init(&fields);
    enum err err = fields_read(cursor, &fields, repeated);
    buf_byte(out, '{');
    bool first = true;
    for (size_t i = 0; i < fields.count && err == ERR_OK; i++) {
        const struct field *field = &fields.fields[i];
        if (field->replaced)
            continue;
        if (!first)
            buf_byte(out, ',');
        first = false;
        string_compact(out, field->key.raw, field->key.escaped);
        buf_byte(out, ':');
        err = unique(out, field->value, levels - 1, repeated);
    }
    buf_byte(out, '}');
    fields_fini(&fields);
    return err != ERR_OK ? err : out->err;
}

static enum err array_unique(struct buf *out, struct json_cursor *cursor, uint32_t levels,
                             bool *repeated)
{
    buf_byte(out, '[');
    json_space(cursor);
    bool first = true;
    while (json_peek(cursor) != ']') {
        struct bytes element;
        enum err err = json_skip(cursor, LIMIT_JSON_DEPTH, &element);
        if (err != ERR_OK)
            return err;
        if (!first)
            buf_byte(out, ',');
        first = false;
        err = unique(out, element, levels - 1, repeated);
        if (err != ERR_OK)
            return err;
        json_space(cursor);
        json_take(cursor, ',');
        json_space(cursor);
    }
    return buf_byte(out, ']');
}

static enum err unique(struct buf *out, struct bytes value, uint32_t levels, bool *repeated)
{
    struct json_cursor cursor = {value.data, value.data + value.size, false};
    json_space(&cursor);
    if (levels > 0 && json_take(&cursor, '{'))
        return object_unique(out, &cursor, levels, repeated);
    if (levels > 0 && json_take(&cursor, '['))
        return array_unique(out, &cursor, levels, repeated);
    return compact(out, value, JSON_NAN_TEXT, true);
}

enum err json_unique(struct buf *out, struct bytes value, uint32_t levels, bool *ret_repeated)
{
    *ret_repeated = false;
    return unique(out, value, levels, ret_repeated);
}
