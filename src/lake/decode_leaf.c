/* Which fields and values can have columns at all: asked by the decoder and by what learns. */
#include "lake/decode.h"

#define KEY_BYTES_MAX 256 /* of a column's own name */

bool decode_key_fits(struct bytes key)
{
    return key.size <= KEY_BYTES_MAX;
}

bool decode_has_leaf(struct bytes value, uint32_t levels)
{
    struct json_cursor cursor = {value.data, value.data + value.size, false};
    uint32_t depth = 0;
    while (cursor.at < cursor.end) {
        uint8_t byte = *cursor.at;
        if (byte == '"') {
            struct json_string string;
            if (json_string_scan(&cursor, &string) != ERR_OK)
                return false;
            json_space(&cursor);
            bool is_key = json_take(&cursor, ':');
            if (!is_key && depth <= levels)
                return true;
            continue;
        }
        if (byte == '{' || byte == '[')
            depth++;
        else if (byte == '}' || byte == ']')
            depth--;
        else if (byte == 'n')
            cursor.at += 3;
        else if (byte > ' ' && byte != ',' && depth <= levels)
            return true;
        cursor.at++;
    }
    return false;
}
