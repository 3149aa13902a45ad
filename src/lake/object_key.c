#include "lake/object_key.h"

#include "base/hash.h"
#include "base/utf8.h"
#include "codec/timestamp.h"

#include <inttypes.h>

#define HASH_BYTES 17 /* "-" and 16 hex digits */

static bool is_plain(uint8_t byte)
{
    return (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z') ||
           (byte >= '0' && byte <= '9') || byte == '.' || byte == '_' || byte == '-';
}

enum err object_key_encode_id(struct buf *out, struct bytes id)
{
    bool dots = bytes_equal_text(id, ".") || bytes_equal_text(id, "..");
    size_t start = out->size;
    size_t cut = start; /* the last place where the id can be cut and still take the hash */
    size_t next = 0;    /* where the next character begins: engines decode what stays as UTF-8 */
    for (size_t i = 0; i < id.size; i++) {
        if (i == next) {
            size_t length = utf8_sequence(id.data + i, id.size - i);
            next += length > 0 ? length : 1;
        }
        if (is_plain(id.data[i]) && !dots)
            buf_byte(out, id.data[i]);
        else
            buf_printf(out, "%%%02X", id.data[i]);
        if (i + 1 == next && out->size - start <= OBJECT_KEY_ID_BYTES - HASH_BYTES)
            cut = out->size;
        if (out->size - start > OBJECT_KEY_ID_BYTES)
            break;
    }
    if (out->err == ERR_OK && out->size - start > OBJECT_KEY_ID_BYTES) {
        out->size = cut;
        buf_printf(out, "-%016" PRIx64, hash_bytes(id));
    }
    return out->err;
}

static enum err partition_append(struct buf *out, int64_t instant_us, const char *journal_uuid,
                                 struct position first)
{
    char date[11];
    int hour;
    timestamp_date_hour(instant_us, date, &hour);
    return buf_printf(out, "/date=%s/hour=%02d/part-%s-%016" PRIx64 "-%08" PRIx32 ".parquet", date,
                      hour, journal_uuid, first.block, first.index);
}

enum err object_key_data(struct buf *out, struct bytes id, int64_t instant_us,
                         const char *journal_uuid, struct position first)
{
    buf_text(out, "bronze/ingestion_id=");
    enum err err = object_key_encode_id(out, id);
    return err == ERR_OK ? partition_append(out, instant_us, journal_uuid, first) : err;
}

enum err object_key_dead_letters(struct buf *out, int64_t instant_us, const char *journal_uuid,
                                 struct position first)
{
    buf_text(out, "bronze/_dead_letters");
    return partition_append(out, instant_us, journal_uuid, first);
}
