#include "connectors/rest/rest_cursor.h"

#include "base/hash.h"
#include "codec/json.h"
#include "codec/timestamp.h"

static bool is_digits(struct bytes text)
{
    for (size_t i = 0; i < text.size; i++)
        if (text.data[i] < '0' || text.data[i] > '9')
            return false;
    return text.size > 0;
}

static int compare_bytes(struct bytes a, struct bytes b)
{
    int order = memcmp(a.data, b.data, a.size < b.size ? a.size : b.size);
    return order != 0 ? order : (a.size > b.size) - (a.size < b.size);
}

static int compare_digits(struct bytes a, struct bytes b)
{
    for (; a.size > 1 && *a.data == '0'; a.size--)
        a.data++;
    for (; b.size > 1 && *b.data == '0'; b.size--)
        b.data++;
    return a.size != b.size ? (a.size > b.size) - (a.size < b.size) : compare_bytes(a, b);
}

static double number_of(struct bytes json)
{
    struct json_cursor cursor = {json.data, json.data + json.size, false};
    enum json_number_kind kind;
    double value = 0;
    if (json_number_scan(&cursor, &kind, &value) != ERR_OK)
        value = 0;
    return value;
}

static int compare_numbers(struct bytes a, struct bytes b)
{
    if (is_digits(a) && is_digits(b))
        return compare_digits(a, b);
    double x = number_of(a), y = number_of(b);
    return (x > y) - (x < y);
}

static int compare_texts(struct bytes a, struct bytes b)
{
    uint8_t room_a[REST_CURSOR_BYTES_MAX], room_b[REST_CURSOR_BYTES_MAX];
    a = bytes_from(room_a, json_unescape(bytes_from(a.data + 1, a.size - 2), room_a));
    b = bytes_from(room_b, json_unescape(bytes_from(b.data + 1, b.size - 2), room_b));
    int64_t at_a, at_b;
    if (is_digits(a) && is_digits(b))
        return compare_digits(a, b);
    if (timestamp_parse(a, &at_a) && timestamp_parse(b, &at_b) && at_a != at_b)
        return (at_a > at_b) - (at_a < at_b);
    return compare_bytes(a, b);
}

int rest_cursor_compare(struct bytes a, struct bytes b)
{
    bool text_a = a.data[0] == '"', text_b = b.data[0] == '"';
    if (text_a != text_b)
        return 1; /* the field has changed its kind: the newer one counts */
    return text_a ? compare_texts(a, b) : compare_numbers(a, b);
}

static bool is_cursor(struct bytes json)
{
    if (json.size == 0 || json.size > REST_CURSOR_BYTES_MAX)
        return false;
    bool is_number = json.data[0] == '-' || (json.data[0] >= '0' && json.data[0] <= '9');
    return is_number || (json.data[0] == '"' && json.size > 2);
}

static bool edge_has(const struct rest_cursor *cursor, uint64_t hash)
{
    for (uint32_t i = 0; i < cursor->edge_count; i++)
        if (cursor->edge[i] == hash)
            return true;
    return false;
}

static struct bytes value_of(const struct rest_cursor *cursor)
{
    return bytes_from(cursor->json, cursor->size);
}

void rest_cursor_offer(struct rest_cursor *cursor, struct bytes json, struct bytes record)
{
    if (!is_cursor(json))
        return;
    int order = cursor->size > 0 ? rest_cursor_compare(json, value_of(cursor)) : 1;
    if (order < 0)
        return;
    if (order > 0) {
        memcpy(cursor->json, json.data, json.size);
        cursor->size = json.size;
        cursor->edge_count = 0;
    }
    uint64_t hash = hash_bytes(record);
    if (cursor->edge_count < REST_CURSOR_EDGE_MAX && !edge_has(cursor, hash))
        cursor->edge[cursor->edge_count++] = hash;
}

bool rest_cursor_knows(const struct rest_cursor *cursor, struct bytes json, struct bytes record)
{
    return cursor->size > 0 && is_cursor(json) &&
           rest_cursor_compare(json, value_of(cursor)) == 0 && edge_has(cursor, hash_bytes(record));
}

enum err rest_cursor_text(struct bytes json, struct buf *out)
{
    if (json.size < 2 || json.data[0] != '"')
        return buf_append(out, json.data, json.size);
    enum err err = buf_reserve(out, json.size);
    if (err == ERR_OK)
        out->size += json_unescape(bytes_from(json.data + 1, json.size - 2), out->data + out->size);
    return err;
}
