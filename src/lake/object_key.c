#include "lake/object_key.h"

#include "base/hash.h"
#include "base/utf8.h"
#include "codec/timestamp.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define HASH_BYTES      17 /* "-" and 16 hex digits */
#define POSITION_PLACE  66 /* in what stands behind the dataset's folder */
#define PARTITION_BYTES (POSITION_PLACE + 25 + 8)

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

static void partition_print(char ret_text[PARTITION_BYTES + 1], int64_t instant_us,
                            const char *journal_uuid, struct position first)
{
    char date[11];
    int hour;
    timestamp_date_hour(instant_us, date, &hour);
    snprintf(ret_text, PARTITION_BYTES + 1,
             "date=%s/hour=%02d/part-%.36s-%016" PRIx64 "-%08" PRIx32 ".parquet", date, hour,
             journal_uuid, first.block, first.index);
}

enum err object_key_partition(struct buf *out, int64_t instant_us, const char *journal_uuid,
                              struct position first)
{
    char text[PARTITION_BYTES + 1];
    partition_print(text, instant_us, journal_uuid, first);
    return buf_text(out, text);
}

enum err object_key_data(struct buf *out, struct bytes id, int64_t instant_us,
                         const char *journal_uuid, struct position first)
{
    buf_text(out, "bronze/ingestion_id=");
    enum err err = object_key_encode_id(out, id);
    buf_byte(out, '/');
    return err == ERR_OK ? object_key_partition(out, instant_us, journal_uuid, first) : err;
}

/* "date=2026-01-31/hour=07/part-<36>-<16>-<8>.parquet": read by its places, then held against what
 * would be written. */
bool object_key_partition_read(struct bytes key, const char *journal_uuid, int64_t *ret_instant_us,
                               struct position *ret_first)
{
    char text[PARTITION_BYTES + 1];
    char again[PARTITION_BYTES + 1];
    char moment[24];
    if (key.size != PARTITION_BYTES)
        return false;
    memcpy(text, key.data, key.size);
    text[key.size] = 0;
    snprintf(moment, sizeof(moment), "%.10sT%.2s:00:00Z", text + 5, text + 21);
    ret_first->block = strtoull(text + POSITION_PLACE, NULL, 16);
    ret_first->index = (uint32_t)strtoul(text + POSITION_PLACE + 17, NULL, 16);
    if (!timestamp_parse(bytes_from_text(moment), ret_instant_us))
        return false;
    partition_print(again, *ret_instant_us, journal_uuid, *ret_first);
    return strcmp(again, text) == 0;
}

enum err object_key_dead_letters(struct buf *out, int64_t instant_us, const char *journal_uuid,
                                 struct position first)
{
    buf_text(out, "bronze/_dead_letters/");
    return object_key_partition(out, instant_us, journal_uuid, first);
}
