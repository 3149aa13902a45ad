/* The sentences of json_schema: what is wrong where, for people. Everything is cut: a name at 100
 * bytes, a text at 80, a list after some 400, so that a message stays a message whatever the value
 * is. */
#include "base/utf8.h"
#include "codec/json_schema_node.h"

#define NAME_BYTES  100
#define VALUE_BYTES 80
#define LIST_BYTES  400

static const char *const type_words[JSON_SCHEMA_TYPE_COUNT] = {
    "null", "boolean", "object", "array", "number", "string", "integer"};
static const char *const type_nouns[JSON_SCHEMA_TYPE_COUNT] = {
    "null", "true or false", "an object", "an array", "a number", "a string", "an integer"};

const char *json_schema_type_word(unsigned bit)
{
    return bit < JSON_SCHEMA_TYPE_COUNT ? type_words[bit] : NULL;
}

struct bytes json_schema_cut(struct bytes text, size_t size_max)
{
    size_t size = 0;
    while (size < text.size) {
        size_t length = utf8_sequence(text.data + size, text.size - size);
        length = length ? length : 1;
        if (size + length > size_max)
            break;
        size += length;
    }
    return bytes_from(text.data, size);
}

static void name_text(struct buf *out, const char *name, bool pointer)
{
    struct bytes all = bytes_from_text(name);
    struct bytes part = json_schema_cut(all, NAME_BYTES);
    for (size_t i = 0; i < part.size; i++) {
        if (pointer && part.data[i] == '~')
            buf_text(out, "~0");
        else if (pointer && part.data[i] == '/')
            buf_text(out, "~1");
        else
            buf_byte(out, part.data[i] < 0x20 ? ' ' : part.data[i]);
    }
    if (part.size < all.size)
        buf_text(out, "…");
}

void json_schema_name_text(struct buf *out, const char *name)
{
    name_text(out, name, false);
}

void json_schema_pointer(struct buf *out, const struct json_schema_place *place)
{
    if (!place->parent)
        return;
    json_schema_pointer(out, place->parent);
    buf_byte(out, '/');
    if (place->name)
        name_text(out, place->name, true);
    else
        buf_printf(out, "%zu", place->index);
}

static void subject_text(struct buf *out, const struct json_schema_place *place)
{
    if (!place->parent)
        return;
    subject_text(out, place->parent);
    if (!place->name) {
        buf_printf(out, "[%zu]", place->index);
        return;
    }
    if (place->parent->parent)
        buf_byte(out, '.');
    name_text(out, place->name, false);
}

void json_schema_subject(struct buf *out, const struct json_schema_place *place)
{
    if (place->parent)
        subject_text(out, place);
    else
        buf_text(out, "the value");
}

/* ", " or " or " before the index-th of count. */
static void comma_or(struct buf *out, size_t index, size_t count)
{
    if (index > 0)
        buf_text(out, index + 1 == count ? " or " : ", ");
}

void json_schema_types_text(struct buf *out, unsigned types)
{
    if (types & JSON_SCHEMA_NUMBER)
        types &= ~(unsigned)JSON_SCHEMA_INTEGER;
    /* null last, as people say it */
    static const unsigned char order[JSON_SCHEMA_TYPE_COUNT] = {1, 2, 3, 4, 6, 5, 0};
    size_t count = (size_t)__builtin_popcount(types);
    size_t index = 0;
    for (size_t i = 0; i < JSON_SCHEMA_TYPE_COUNT; i++) {
        if (!(types & (1U << order[i])))
            continue;
        comma_or(out, index++, count);
        buf_text(out, type_nouns[order[i]]);
    }
}

/* What may stand in an address and is a secret: user information and query, both taken wide, as
 * whoever reads this knows that the address is none. false: text is no address. */
static bool address_text(struct buf *out, struct bytes text)
{
    const uint8_t *end = text.data + text.size;
    const uint8_t *host = text.size > 0 ? memmem(text.data, text.size, "://", 3) : NULL;
    if (!host)
        return false;
    host += 3;
    const uint8_t *at = memrchr(host, '@', (size_t)(end - host));
    const uint8_t *rest = at ? at : host;
    const uint8_t *query = memchr(rest, '?', (size_t)(end - rest));
    if (!at && !query)
        return false;
    struct buf shown;
    buf_init(&shown, text.size + 2 * sizeof("…"));
    buf_append(&shown, text.data, (size_t)(host - text.data));
    if (at)
        buf_text(&shown, "…");
    buf_append(&shown, rest, (size_t)((query ? query + 1 : end) - rest));
    if (query)
        buf_text(&shown, "…");
    struct bytes part = json_schema_cut(buf_bytes(&shown), VALUE_BYTES);
    if (shown.err != ERR_OK)
        out->err = shown.err;
    buf_json_string(out, part);
    if (part.size < shown.size)
        buf_text(out, "…");
    buf_fini(&shown);
    return true;
}

static void string_text(struct buf *out, const json_t *value)
{
    struct bytes all = bytes_from(json_string_value(value), json_string_length(value));
    if (address_text(out, all))
        return;
    struct bytes part = json_schema_cut(all, VALUE_BYTES);
    buf_json_string(out, part);
    if (part.size < all.size)
        buf_text(out, "…");
}

void json_schema_value_text(struct buf *out, const json_t *value)
{
    if (json_is_string(value))
        string_text(out, value);
    else if (json_is_integer(value))
        buf_printf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (json_is_real(value))
        buf_printf(out, "%.15g", json_real_value(value));
    else if (json_is_boolean(value))
        buf_text(out, json_is_true(value) ? "true" : "false");
    else
        json_schema_types_text(out, json_schema_types_of(value));
}

void json_schema_values_text(struct buf *out, const json_t *array)
{
    size_t count = json_array_size(array);
    size_t start = out->size;
    for (size_t i = 0; i < count; i++) {
        if (out->size - start > LIST_BYTES) {
            buf_printf(out, " or %zu more", count - i);
            return;
        }
        comma_or(out, i, count);
        json_schema_value_text(out, json_array_get(array, i));
    }
}

/* "an object with kind \"page\" and url" */
static void object_wish(struct buf *out, const struct json_schema_node *node)
{
    size_t count = json_array_size(node->required);
    size_t start = out->size;
    buf_text(out, "an object");
    for (size_t i = 0; i < count && out->size - start < LIST_BYTES; i++) {
        const char *name = json_string_value(json_array_get(node->required, i));
        const struct json_schema_node *member = map_get(&node->properties, bytes_from_text(name));
        buf_text(out, i == 0 ? " with " : i + 1 == count ? " and " : ", ");
        name_text(out, name, false);
        if (member && member->const_value) {
            buf_byte(out, ' ');
            json_schema_value_text(out, member->const_value);
        }
    }
}

void json_schema_wish_text(struct buf *out, const struct json_schema_node *node)
{
    if (node->const_value) {
        json_schema_value_text(out, node->const_value);
    } else if (node->enum_values) {
        json_schema_values_text(out, node->enum_values);
    } else if (node->required && (node->types & ~(unsigned)JSON_SCHEMA_OBJECT) == 0) {
        object_wish(out, node);
    } else if (node->types == JSON_SCHEMA_ARRAY && node->items) {
        buf_text(out, "an array, each item ");
        json_schema_wish_text(out, node->items);
    } else if (node->types) {
        json_schema_types_text(out, node->types);
    } else {
        buf_text(out, "what the schema says");
    }
}

void json_schema_wishes_text(struct buf *out, const struct json_schema_list *list)
{
    size_t start = out->size;
    for (size_t i = 0; i < list->count && out->size - start < LIST_BYTES; i++) {
        comma_or(out, i, list->count);
        json_schema_wish_text(out, list->nodes[i]);
    }
}
